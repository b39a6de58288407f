"""The commands say in one line what is wrong, and print nothing that a terminal obeys."""

from __future__ import annotations

import json
import os
import re
import subprocess
import typing as t
from pathlib import Path

import pytest
from support.commands import failed
from support.commands import flask
from support.commands import Run
from support.commands import run as run
from support.commands import started
from support.hub_files import FakeHub
from support.servers import gunicorn
from support.servers import serve
from support.servers import TESTS

from flask_push import _cli
from flask_push import NotPublished
from flask_push import Position
from flask_push._ipc.files import HubFiles
from flask_push.brokers.sqlite import SqliteBroker

# The hub.


@pytest.mark.parametrize("command", ["status", "stop"])
def test_commands_report_that_no_hub_runs_and_create_nothing(
    command: str, run: Run, tmp_path: Path
) -> None:
    said = failed(run(command))
    assert f"No hub is running at {tmp_path}/push-basic/hub.sock. The app's" in said
    said = failed(run(command, "--socket", tmp_path / "x.sock"))
    assert f"No hub is running at {tmp_path}/x.sock." in said
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("config", [{"PUSH_HUB": "thread"}, {"TESTING": True}])
def test_a_hub_in_a_thread_has_no_status(run: Run, config: dict[str, t.Any]) -> None:
    assert "hub is a thread" in failed(run("status", **config))


def test_the_answer_of_a_hub_is_escaped(run: Run, tmp_path: Path) -> None:
    files = HubFiles(tmp_path / "x.sock")
    answer = {"status": {"pid": 1, "version": "\x1b[2J\n9", "\x9b": "\u202e"}}
    with FakeHub(files, answer, answer):
        done = run("status", "--socket", files.sock)
        assert (
            done.stdout
            == r"""pid      1
version  \x1b[2J\n9
\x9b     \u202e
"""
        )
        found = run("status", "--json", "--socket", files.sock).stdout
        assert json.loads(found) == answer["status"] and found.isascii()


def test_a_program_that_is_not_a_hub_is_reported_with_its_socket(
    run: Run, tmp_path: Path
) -> None:
    files = HubFiles(tmp_path / "x.sock")
    answers: list[dict[str, t.Any]] = [{}, {"status": {}}, {"status": []}]
    for answer in answers:
        with FakeHub(files, answer):
            said = failed(run("status", "--socket", files.sock))
            assert "does not answer: " in said


def test_a_hub_that_does_not_end_is_an_error(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_cli, "_END_SECONDS", 0.1)
    files = HubFiles(tmp_path / "x.sock")
    lock = files.try_lock()
    assert lock is not None
    here: dict[str, t.Any] = {"status": {"pid": 4, "version": "0"}}
    with FakeHub(files, here, {}, *[here] * 100):
        said = failed(run("stop", "--socket", files.sock))
    os.close(lock)
    assert "The hub, process 4, has not ended within 0.1 seconds." in said


def test_a_hub_has_ended_when_the_next_one_is_there(run: Run, tmp_path: Path) -> None:
    """The next hub holds the lock already, so it is never free."""
    files = HubFiles(tmp_path / "x.sock")
    lock = files.try_lock()
    assert lock is not None
    here: list[dict[str, t.Any]] = [
        {"status": {"pid": pid, "version": "0"}} for pid in (4, 5)
    ]
    with FakeHub(files, here[0], {}, here[1]):
        assert run("stop", "--socket", files.sock).exit_code == 0
    os.close(lock)


def test_a_hub_that_can_not_run_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path, why in {
        "file": "not a socket|no socket",
        "file/x.sock": "(Not a directory|File exists)",
    }.items():
        with started(
            tmp_path, "hub", "--socket", str(tmp_path / path), text=True
        ) as process:
            _, said = process.communicate(timeout=20)
        assert process.returncode == 1
        assert re.match(rf"Error: The hub can't run at {tmp_path}/{path}: .*{why}", said)
        assert said.count("\n") == 1, said
    assert (tmp_path / "file").read_text() == "mine"


def test_a_hub_that_can_not_be_replaced_says_why(tmp_path: Path) -> None:
    files = HubFiles(tmp_path / "x.sock")
    with FakeHub(files, {}, {"refused": "No \x1b reason."}):
        words = "hub", "--replace", "--socket", str(files.sock)
        with started(tmp_path, *words, text=True) as process:
            _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert said == (
        f"Error: The hub at {files.sock} can't be replaced, and keeps its streams:"
        " No \\x1b reason.\n"
    )


def test_two_hubs_at_one_socket_are_refused(run: Run, tmp_path: Path) -> None:
    lock = HubFiles(tmp_path / "x.sock").try_lock()
    assert lock is not None
    words = "hub", "--socket", str(tmp_path / "x.sock")
    with started(tmp_path, *words, text=True) as process:
        _, said = process.communicate(timeout=20)
    os.close(lock)
    assert process.returncode == 1
    assert f"There is a hub at {tmp_path}/x.sock already. Use --replace" in said


# Publishing.


def test_publishing_prints_the_id_or_says_why_not(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert re.fullmatch(r"[\w~-]+\.chat\n", run("publish", "chat", "hi").stdout)
    assert "takes 65 bytes of an event's id" in failed(run("publish", "x" * 65, "hi"))
    assert "fires 'open' itself" in failed(run("publish", "chat", "hi", "--type", "open"))

    def refuse(*_: object) -> t.NoReturn:
        raise NotPublished("The store is \x1b[2J full.")

    monkeypatch.setattr(SqliteBroker, "publish", refuse)
    assert failed(run("publish", "a", "b")) == r"Error: The store is \x1b[2J full."


def test_an_event_published_without_a_hub_is_stored_with_a_note(
    run: Run, tmp_path: Path
) -> None:
    done = run("publish", "chat", "hi")
    assert done.exit_code == 0 and done.stdout.endswith(".chat\n")
    assert done.stderr.startswith("No hub of this app is running, so no stream gets")
    with serve(gunicorn, tmp_path) as server:
        reader = server.stream("chat", last=10).opened()
        done = run("publish", "chat", "ho")
        assert (done.exit_code, done.stderr) == (0, "")
        assert reader.read_data(2) == ["hi", "ho"]


def test_data_is_read_from_the_standard_input(run: Run, tmp_path: Path) -> None:
    assert run("publish", "chat", "-", input="ü".encode()).exit_code == 0
    said = failed(run("publish", "chat", "-", input=b"\xff"))
    assert said == "Error: The standard input is not text in UTF-8."
    closed = 'exec "$0" "$@" <&-'
    command = flask("--app", "apps.basic", "push", "publish", "chat", "-")
    done = subprocess.run(
        ["sh", "-c", closed, *command],
        cwd=TESTS,
        env={**os.environ, "INSTANCE": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == "Error: There is no standard input to read DATA from.\n"


def test_the_command_publish_refuses_a_store_in_memory(run: Run) -> None:
    for config in {"PUSH_BROKER_URL": "memory:"}, {"TESTING": True}:
        said = failed(run("publish", "chat", "hi", **config))
        assert "memory" in said and "PUSH_BROKER_URL" in said


def test_the_command_disconnect_prints_the_position_or_says_why_not(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run("publish", "chat", "hi").stdout.partition(".")[0]
    given = {"user": "7", "session": "s", "channel": "chat", "reason": "why"}
    options = [word for name, value in given.items() for word in (f"--{name}", value)]
    done = run("disconnect", *options)
    assert (done.exit_code, done.stderr) == (0, "")
    assert Position.parse(done.stdout.strip()) > Position.parse(before)
    assert Position.parse(done.stdout.strip()).epoch == Position.parse(before).epoch
    for wrong in [], ["--reason", "why"]:
        done = run("disconnect", *wrong)
        assert done.exit_code == 2
        assert "Name a --user, a --session or a --channel." in done.stderr
    assert "user is empty" in failed(run("disconnect", "--user", ""))
    assert "takes 65 bytes" in failed(run("disconnect", "--channel", "x" * 65))
    off = failed(run("disconnect", "--user", "7", PUSH_DISCONNECT=False))
    assert "PUSH_DISCONNECT is False" in off
    in_memory = failed(run("disconnect", "--user", "7", PUSH_BROKER_URL="memory:"))
    assert "no stream would end" in in_memory

    def refuse(*_: object) -> t.NoReturn:
        raise NotPublished("The store is \x1b[2J full.")

    monkeypatch.setattr(SqliteBroker, "append", refuse)
    said = failed(run("disconnect", "--user", "7"))
    assert said == r"Error: The store is \x1b[2J full."


def test_status_and_stop_work_for_a_hub_that_runs(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path) as server:
        server.stream("a").opened()
        for command, pattern in ("status", r"pid +\d+\n.*"), ("stop", ""):
            with started(tmp_path, command, text=True) as process:
                said, problem = process.communicate(timeout=20)
            assert process.returncode == 0, problem
            assert re.fullmatch(pattern, said, re.S)
