"""The commands say in one line what is wrong, and print nothing that a terminal obeys."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import typing as t
from pathlib import Path

import click.testing
import pytest
from flask import Flask
from support.scripted import Scripted
from support.scripted import status
from support.scripted import STREAM
from support.servers import free_port
from support.servers import gunicorn
from support.servers import program
from support.servers import serve
from support.servers import TESTS
from support.servers import until

from flask_push import _cli
from flask_push import NotPublished
from flask_push import Push
from flask_push._cli import push as commands
from flask_push._ipc.files import HubFiles
from flask_push._ipc.messages import Messages
from flask_push.brokers.sqlite import SqliteBroker

Run = cabc.Callable[..., click.testing.Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command in an app with this configuration."""

    def run(
        *words: object, input: bytes | None = None, **config: t.Any
    ) -> click.testing.Result:
        app = Flask("basic", instance_path=str(tmp_path))
        app.config.update(config)
        Push(app)
        done = app.test_cli_runner().invoke(commands, [*map(str, words)], input=input)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.output
        return done

    return run


def flask(*words: str) -> list[str]:
    return [sys.executable, "-m", "flask", *words]


@contextlib.contextmanager
def started(
    directory: Path, *words: str, env: dict[str, str] | None = None, **options: t.Any
) -> cabc.Iterator[subprocess.Popen[t.Any]]:
    """The same as a program of its own, in the app of the servers."""
    env = {**os.environ, "INSTANCE": str(directory), **(env or {})}
    command = flask("--app", "apps.basic", "push", *words)
    with program(command, stderr=subprocess.PIPE, cwd=TESTS, env=env, **options) as process:
        yield process


def failed(done: click.testing.Result) -> str:
    """The one line of a command that fails."""
    assert done.exit_code == 1, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    return line


class FakeHub:
    """Answers each message with the next of its answers."""

    def __init__(self, files: HubFiles, *answers: dict[str, t.Any]) -> None:
        self.files, self.answers = files, answers
        self.door = files.listen()
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        with contextlib.suppress(OSError):
            for answer in self.answers:
                sock, _ = self.door.accept()
                with contextlib.closing(Messages(sock)) as messages:
                    # Some only look whether anybody is there.
                    with contextlib.suppress(EOFError):
                        messages.receive()
                        if answer:
                            messages.send(answer)

    def __enter__(self) -> FakeHub:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Wake its accept(), if it waits.
        with contextlib.suppress(OSError):
            self.door.shutdown(2)
        self.thread.join()
        self.door.close()


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


def test_a_socket_without_permission_is_named() -> None:
    error = PermissionError(errno.EACCES, "Permission denied")
    said = _cli._no_hub(HubFiles(Path("/x.sock")), error)
    assert said == (
        "The hub at /x.sock may not be used: Permission denied. Run this command as the"
        " user who runs the app."
    )


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


# The app.


def test_an_app_without_push_is_named() -> None:
    app = Flask("x\x1b")
    done = app.test_cli_runner().invoke(commands, ["status"])
    assert failed(done).endswith(r" has no Push. Call 'push.init_app(app)'.")
    assert "\x1b" not in done.output


@pytest.mark.parametrize("words", [["status"], ["stop"], ["publish", "a", "b"]])
def test_an_invalid_configuration_is_one_line(words: list[str], tmp_path: Path) -> None:
    env = {"FLASK_PUSH_BROKER_URL": "redis://:s3cret@h/0?nonsense=1"}
    with started(tmp_path, *words, text=True, env=env) as process:
        _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert said.startswith("Error: PUSH_BROKER_URL = 'redis://***@h/0?nonsense=1': ")
    assert said.count("\n") == 1 and "s3cret" not in said


def test_an_error_of_the_app_itself_has_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise ValueError('mine')")
    done = subprocess.run(
        flask("--app", "broken", "push", "status"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "ValueError: mine" in done.stderr


def test_invalid_arguments_have_the_status_2(run: Run) -> None:
    for words in ["nonsense"], ["status", "--nonsense"], ["publish", "a"], ["hub"]:
        assert run(*words).exit_code == 2


# The terminal.


@contextlib.contextmanager
def events(*data: bytes) -> cabc.Iterator[str]:
    """The URL of a stream with these events, which does not end."""
    stream = b"".join(b"data: %b\n\n" % line for line in data)
    with Scripted([STREAM + b"\r\n", stream, 60.0]) as server:
        yield server.url


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


@pytest.mark.parametrize("command", ["tail", "doctor", "publish"])
def test_a_closed_pipe_ends_a_command_silently(command: str, tmp_path: Path) -> None:
    """As with ``| head -1``."""
    read, write = os.pipe()
    os.close(read)
    with events(b"a", b"b") as url:
        words = {"tail": [url], "doctor": [], "publish": ["a", "b"]}[command]
        env = {**os.environ, "INSTANCE": str(tmp_path)}
        done = subprocess.run(
            flask("--app", "apps.basic", "push", command, *words),
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            cwd=TESTS,
            env=env,
            timeout=30,
        )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        env = {**os.environ, "INSTANCE": str(tmp_path)}
        done = subprocess.run(
            flask("--app", "apps.basic", "push", "doctor"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=TESTS,
            env=env,
            timeout=30,
        )
    assert done.returncode == 1
    assert done.stderr == "Error: No space left on device.\n"


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


def test_status_and_stop_work_for_a_hub_that_runs(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path) as server:
        server.stream("a").opened()
        for command, pattern in ("status", r"pid +\d+\n.*"), ("stop", ""):
            with started(tmp_path, command, text=True) as process:
                said, problem = process.communicate(timeout=20)
            assert process.returncode == 0, problem
            assert re.fullmatch(pattern, said, re.S)
