"""The commands that request a stream."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from support.commands import events
from support.commands import started
from support.scripted import Scripted
from support.scripted import status
from support.scripted import STREAM
from support.servers import free_port
from support.servers import gunicorn
from support.servers import program
from support.servers import serve
from support.servers import until


def tail(*words: str) -> t.ContextManager[subprocess.Popen[str]]:
    flask = [sys.executable, "-m", "flask", "push", "tail"]
    return program([*flask, *words], stderr=subprocess.PIPE, text=True)


def test_tail_prints_events_until_it_is_interrupted(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path) as server:
        url = f"{server.url}/stream"
        first = server.publish("ü", "old")
        server.publish("ü", '{"n": 1}', type="said")
        words = [url, "--channel", "ü", "--channel", "b", "--last-id", first]
        with tail(*words) as plain, tail(*words, "--json") as exact:
            assert plain.stdout is not None and exact.stdout is not None
            assert plain.stdout.readline() == 'ü said {"n": 1}\n'
            assert json.loads(exact.stdout.readline())["type"] == "said"
            id = server.publish("b", "two\nlines")
            # In one line, or it would look like two events.
            assert plain.stdout.readline() == "b message two\\nlines\n"
            assert json.loads(exact.stdout.readline()) == {
                **{"id": id, "channel": "b", "item": ""},
                **{"type": "message", "data": "two\nlines"},
            }
            for process in plain, exact:
                process.send_signal(signal.SIGINT)
                assert process.communicate(timeout=20) == ("", "")
                assert process.returncode == 0


@pytest.mark.parametrize(
    ("words", "status", "problem"),
    [
        (["{url}?status=403"], 1, "Error: {url}?status=403 answers 403 FORBIDDEN.\n"),
        (["{url}", "--header", "nonsense"], 2, "'nonsense' is not a header"),
        (["stream"], 2, "begins with http://"),
    ],
)
def test_tail_prints_the_reason_of_a_refusal(
    words: list[str], status: int, problem: str, tmp_path: Path
) -> None:
    with serve(gunicorn, tmp_path) as server:
        url = f"{server.url}/stream"
        with tail(*(word.format(url=url) for word in words)) as process:
            _, said = process.communicate(timeout=20)
        assert process.returncode == status
        assert problem.format(url=url) in said


def test_tail_prints_all_items_and_then_what_changes() -> None:
    stream = (
        b'event: push:items\ndata: {"channels":["p"]}\n\n'
        b"id: aaaaa-5.p.a~2eb.3\ndata: 1\n\n"
        b'id: aaaaa-6\nevent: push:whole\ndata: {"channels":["p"],"holds":"5f"}\n\n'
        b"id: aaaaa-7.p.~0ac\nevent: set\ndata: 2\n\n"
        b"id: aaaaa-8.p\ndata: said\n\n"
        b'id: aaaaa-9.p.a~2eb\nevent: push:unset\ndata: {"channel":"p","item":"a.b"}\n\n'
    )
    expected = [
        'push:items {"channels":["p"]}',
        "p[a.b] message 1",
        'push:whole {"channels":["p"],"holds":"5f"}',
        # No name of an item looks like another line.
        "p[\\nc] set 2",
        "p message said",
        "p[a.b] push:unset",
    ]
    for words in ([], ["--json"]):
        with Scripted([STREAM + b"\r\n", stream], [status(204)]) as server:
            with tail(server.url, *words) as process:
                said, problem = process.communicate(timeout=20)
        assert process.returncode == 0, problem
        if not words:
            assert said.splitlines() == expected
    found = [json.loads(line) for line in said.splitlines()]
    assert [event["item"] for event in found] == ["", "a.b", "", "\nc", "", "a.b"]
    assert json.loads(found[-1]["data"]) == {"channel": "p", "item": "a.b"}


def test_tail_prints_who_joins_and_leaves() -> None:
    stream = (
        b"id: aaaaa-5.r.7.3\nevent: push:joined\n"
        b'data: {"channel":"r","user":"7","info":"Ann"}\n\n'
        b'id: aaaaa-5.r.-.4\nevent: push:count\ndata: {"channel":"r","count":5}\n\n'
        b'id: aaaaa-7.r.7\nevent: push:left\ndata: {"channel":"r","user":"7"}\n\n'
    )
    with Scripted([STREAM + b"\r\n", stream], [status(204)]) as server:
        with tail(server.url) as process:
            said, problem = process.communicate(timeout=20)
    assert process.returncode == 0, problem
    assert said.splitlines() == [
        'r[7] push:joined {"channel":"r","user":"7","info":"Ann"}',
        'r[-] push:count {"channel":"r","count":5}',
        "r[7] push:left",
    ]


def test_tail_goes_on_with_the_items_of_a_hub(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path) as server:
        for item in "a", "b":
            server.publish("p", item, item=item)
        with tail(f"{server.url}/stream", "--channel", "p") as process:
            assert process.stdout is not None
            lines = [process.stdout.readline().split(" {")[0].strip() for _ in range(4)]
            assert lines == ["push:items", "p[a] message a", "p[b] message b", "push:whole"]
            server.publish("p", "2", item="a")
            assert process.stdout.readline() == "p[a] message 2\n"


def test_the_data_of_an_event_is_escaped(tmp_path: Path) -> None:
    """No event can write to the terminal's title, clear it, or look like two events."""
    hostile = "\x1b]0;x\x07\x1b[2J\rchat message forged\x9b\u202e ü"
    stream = "".join(f"{name}: {hostile}\n" for name in ("data", "event", "data"))
    answer = [STREAM + b"\r\n", stream.encode().replace(b"\r", b"") + b"\n"]
    with Scripted(answer, [status(204)]) as server:
        with started(tmp_path, "tail", server.url, text=True) as process:
            said, problem = process.communicate(timeout=20)
    line = r"\x1b]0;x\x07\x1b[2Jchat message forged\x9b\u202e ü"
    assert said == f"{line} {line}\\n{line}\n"
    assert process.returncode == 0, problem


@pytest.mark.parametrize(
    ("encoding", "line"),
    [
        # Click takes ASCII for a terminal that was not asked, and writes UTF-8.
        ("ascii", "message ü…\n".encode()),
        ("latin-1", b"message \xfc\\u2026\n"),
        ("utf-8", "message ü…\n".encode()),
    ],
)
def test_characters_that_the_terminal_lacks_are_escaped(
    encoding: str, line: bytes, tmp_path: Path
) -> None:
    env = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    with events("ü…".encode()) as url:
        with started(tmp_path, "tail", url, env=env) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == line
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=20) == (b"", b"")


def test_ctrl_c_ends_the_doctor(tmp_path: Path) -> None:
    with Scripted([60.0]) as server:
        with started(tmp_path, "doctor", server.url, text=True) as process:
            until(lambda: server.requests)
            process.send_signal(signal.SIGINT)
            said, problem = process.communicate(timeout=20)
    assert (process.returncode, problem.strip()) == (1, "Aborted!")


def test_tail_retries_while_there_is_no_server(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/"
    with started(tmp_path, "tail", url, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        assert said.startswith(f"Could not read <Source {url}: away>, and retries: ")
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20) == ("", "")
        assert process.returncode == 0
