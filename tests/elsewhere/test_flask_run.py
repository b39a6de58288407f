"""``flask run`` and its commands, in processes that lack what Windows or macOS lacks."""

from __future__ import annotations

import collections.abc as cabc
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.elsewhere import elsewhere as elsewhere
from support.elsewhere import lacking
from support.elsewhere import run
from support.pages import hello
from support.servers import free_port
from support.servers import program
from support.servers import ROOT
from support.servers import Server
from support.servers import until

Start = cabc.Callable[..., Server]

DEVELOPMENT = "The hub is a thread of this process, for development, because this system "
# The reloader of Werkzeug closes the socket for which its server's thread waits. On Windows
# this is an error in that thread.
SERVING = r"^Exception in thread Thread-1 \(serve_forever\):\n(Traceback.*\n)?"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def start(elsewhere: str, tmp_path: Path) -> cabc.Iterator[Start]:
    """Starts an app there with ``flask run``."""
    servers = []

    def start(app: str, *options: str) -> Server:
        port = free_port()
        command = [sys.executable, "-m", "flask", "--app", app, *options]
        command += ["run", "-p", str(port)]
        log = tmp_path / "server.log"
        env = {**lacking(elsewhere), "TMPDIR": str(tmp_path)}
        servers.append(Server(command, port, log, env, tmp_path))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()
        log = re.sub(SERVING, "", server.log, flags=re.M)
        assert "Traceback" not in log and "Warning" not in log, log


def say(server: Server, text: str) -> None:
    status, _, _ = server.request("POST", "/say", f"text={text}".encode(), **FORM)
    assert status == 204, server.log


def texts(data: list[str]) -> list[str]:
    return [json.loads(text)["text"] for text in data]


def test_the_app_of_the_first_page_pushes_to_each_window(
    start: Start, tmp_path: Path
) -> None:
    hello(tmp_path)
    server = start("hello")
    readers = [server.stream().opened() for _ in range(5)]
    say(server, "one")
    say(server, "two")
    for reader in readers:
        assert texts(reader.read_data(2)) == ["one", "two"]
    assert server.log.count(DEVELOPMENT) == 1


def test_a_server_that_was_killed_continues_its_streams(
    start: Start, tmp_path: Path
) -> None:
    hello(tmp_path)
    server = start("hello")
    reader = server.stream().opened()
    say(server, "one")
    assert texts(reader.read_data(1)) == ["one"]
    server.kill()
    server.start()
    say(server, "two")
    resumed = server.stream(last_id=reader.last_id).opened()
    assert texts(resumed.read_data(1)) == ["two"] and not resumed.gaps


def test_the_reloader_restarts_the_app_and_its_streams_resume(
    start: Start, tmp_path: Path
) -> None:
    path = hello(tmp_path)
    path.write_text(f'{path.read_text()}\n\n@app.get("/v")\ndef v():\n    return "1"\n')
    server = start("hello", "--debug")
    reader = server.stream().opened()
    say(server, "one")
    reader.read_data(1)
    path.write_text(path.read_text().replace('"1"', '"2"'))
    reader.read_to_end(30)
    until(lambda: server.answers() and server.get("/v") == "2")
    say(server, "two")
    resumed = server.stream(last_id=reader.last_id).opened()
    assert texts(resumed.read_data(1)) == ["two"] and not resumed.gaps
    assert server.log.count(DEVELOPMENT) == 2, "one line for each process with a hub"


def test_the_debugger_shows_an_error_of_a_view(start: Start, tmp_path: Path) -> None:
    path = hello(tmp_path)
    path.write_text(f'{path.read_text()}\n\n@app.get("/bad")\ndef bad():\n    push.x\n')
    server = start("hello", "--debug")
    reader = server.stream().opened()
    status, _, page = server.request("GET", "/bad")
    assert status == 500 and b"Werkzeug Debugger" in page and b"push.x" in page
    say(server, "one")
    assert texts(reader.read_data(1)) == ["one"]
    # That error is in the log.
    server.log_path.write_text(re.sub(r"(?s)Traceback.*?\n\S*Error: .*?\n", "", server.log))


def test_the_clock_shows_each_second_once(start: Start) -> None:
    server = start(str(ROOT / "examples/clock/app"))
    for reader in [server.stream().opened() for _ in range(3)]:
        shown = reader.read_data(2)
        assert len(set(shown)) == len(shown)


def test_the_frontends_get_what_is_said(start: Start) -> None:
    server = start(str(ROOT / "examples/frontends/app"))
    names = ["html", "turbo", "datastar", "json"]
    readers = [server.stream(path=f"/stream/{name}").opened() for name in names]
    say(server, "one")
    for reader in readers:
        assert "one" in reader.read_data(1)[0]
    for page in "htmx2", "htmx4", "turbo", "alpine", "datastar":
        assert "<script" in server.get(f"/{page}")


class Commands:
    """``flask push`` there."""

    def __init__(self, system: str, directory: Path) -> None:
        self._system = system
        self._directory = directory

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = ["-m", "flask", "--app", "hello", "push", *words]
        return run(self._system, *command, cwd=self._directory)


@pytest.fixture
def push(elsewhere: str, tmp_path: Path) -> Commands:
    hello(tmp_path)
    return Commands(elsewhere, tmp_path)


def test_a_command_publishes_to_the_streams_of_a_server(
    start: Start, push: Commands
) -> None:
    server = start("hello")
    reader = server.stream().opened()
    done = push("publish", "chat", '{"text": "from a shell"}')
    assert (done.returncode, done.stderr) == (0, "")
    assert texts(reader.read_data(1)) == ["from a shell"]
    assert reader.last_id == done.stdout.strip()


def test_a_command_prints_the_events_of_a_stream(
    elsewhere: str, start: Start, push: Commands, tmp_path: Path
) -> None:
    server = start("hello")
    (before,) = push("publish", "chat", "before").stdout.split()
    push("publish", "chat", "after")
    tail = ["-m", "flask", "--app", "hello", "push", "tail", f"{server.url}/stream"]
    command = [sys.executable, *tail, "--last-id", before]
    env = {**os.environ, **lacking(elsewhere), "PYTHONUNBUFFERED": "1"}
    with program(command, cwd=tmp_path, env=env) as process:
        assert process.stdout
        assert any(b"after" in line for line in process.stdout)


def test_the_doctor_says_what_differs_from_linux(start: Start, push: Commands) -> None:
    server = start("hello")
    done = push("doctor", "--quick", f"{server.url}/stream")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    found = re.findall(r"^(ok|warn|error) +(\w+): ", done.stdout, re.M)
    assert ("warn", "development") in found, done.stdout
    assert not [name for kind, name in found if kind == "error"], done.stdout
    assert {"store", "stream", "events", "resume"} <= {n for k, n in found if k == "ok"}


@pytest.mark.parametrize("command", [["status"], ["hub", "--socket", "hub.sock"]])
def test_what_needs_a_process_says_what_to_do(command: list[str], push: Commands) -> None:
    done = push(*command)
    assert done.returncode == 1 and not done.stdout
    assert re.match(r"Error: .* because this system has no .*\n$", done.stderr), done.stderr
