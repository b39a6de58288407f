"""The page *systemd*: its units are correct, and do to the streams what the page says."""

from __future__ import annotations

import collections.abc as cabc
import configparser
import contextlib
import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from support.doc_hubs import app_with
from support.doc_hubs import DIRECTORY
from support.doc_hubs import heard
from support.doc_hubs import here
from support.doc_hubs import said
from support.doc_hubs import say
from support.doc_hubs import serve_hello
from support.pages import blocks
from support.pages import commands
from support.pages import DOCS
from support.servers import hubs
from support.servers import Server
from support.servers import the_hub
from support.servers import until

from flask_push._config import Config

PAGE = DOCS["systemd"]
APP_UNIT, SOCKET_UNIT, SERVICE_UNIT, MORE = blocks(PAGE, "ini")
ENABLE_APP, MAKE, ENABLE = [command for block in commands(PAGE) for command in block]
(CONFIG,) = blocks(DOCS["hub"], "python")
RUN = next(c for block in commands(DOCS["hub"]) for c in block if "push hub" in c)
FROM_ENV = "app.config.from_prefixed_env()\n"
UNITS = {
    "shop.service": APP_UNIT,
    "shop-hub.socket": SOCKET_UNIT,
    "shop-hub.service": SERVICE_UNIT,
}


def unit(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text)
    return parser


def environment(text: str) -> dict[str, str]:
    name, _, value = unit(text)["Service"]["Environment"].partition("=")
    return {name: value}


def on_this_machine(text: str, directory: Path) -> str:
    """A unit for this user, with these tests' programs and the app in a directory."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    text = re.sub(r"(User=|-o |-g )shop\b", rf"\g<1>{user}", text)
    text = text.replace("/srv/shop/.venv/bin", str(Path(sys.executable).parent))
    return text.replace("=/srv/shop\n", f"={directory}\n")


START = unit(SERVICE_UNIT)["Service"]["ExecStart"]
# As systemd does it: the socket is descriptor 3, and the environment names the process.
LAUNCHER = """\
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


@contextlib.contextmanager
def launched(door: socket.socket, directory: Path) -> cabc.Iterator[t.Any]:
    flask, *words = shlex.split(here(START, directory))
    program = [str(Path(sys.executable).with_name(Path(flask).name)), *words]
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(door.fileno()), *program],
        cwd="/",
        pass_fds=[door.fileno()],
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGKILL])
def test_the_socket_that_systemd_opens_is_the_door(
    with_signal: signal.Signals, tmp_path: Path
) -> None:
    app_with(CONFIG, tmp_path)
    (tmp_path / "push").mkdir(0o700)
    path = here(unit(SOCKET_UNIT)["Socket"]["ListenStream"], tmp_path)
    with socket.socket(socket.AF_UNIX) as door, serve_hello(tmp_path) as server:
        door.bind(path)
        door.listen()
        reader = server.stream()
        with launched(door, tmp_path) as process:
            # It has waited at the door.
            reader.opened()
            assert hubs(tmp_path) == [process.pid]
            say(server, "a")
            assert heard(reader, 1) == ["a"]
            process.send_signal(with_signal)
            process.wait(20)
        reader.read_to_end()
        say(server, "b")
        again = server.stream(last_id=reader.last_id)
        with launched(door, tmp_path):
            assert heard(again, 1) == ["b"]


def test_the_units_are_of_one_hub() -> None:
    door, service = unit(SOCKET_UNIT), unit(SERVICE_UNIT)
    path = door["Socket"]["ListenStream"]
    assert START.partition(" ")[2] == RUN.partition(" ")[2]
    assert path == f"{DIRECTORY}/hub.sock" and RUN.endswith(path)
    assert f'"{path}"' in CONFIG
    assert path == environment(MORE)["FLASK_PUSH_HUB"]
    assert service["Service"]["User"] == door["Socket"]["SocketUser"]
    for command in ENABLE, ENABLE_APP:
        assert f"/{command.split()[-1]}`" in PAGE
    assert int(service["Service"]["LimitNOFILE"]) > Config().max_streams


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    # Where there is no systemd, the test above is all.
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return
    paths = []
    for name, text in UNITS.items():
        paths.append(tmp_path / name)
        paths[-1].write_text(on_this_machine(text, tmp_path))
    done = subprocess.run(
        [analyze, "verify", "--man=no", *map(str, paths)], capture_output=True, text=True
    )
    problems = [line for line in done.stderr.splitlines() if "shop" in line]
    assert problems == []


def test_the_directory_is_made_as_the_page_says(tmp_path: Path) -> None:
    assert MAKE.count(" shop ") == 2
    said(on_this_machine(MAKE, tmp_path), tmp_path)
    assert (tmp_path / "push").stat().st_mode & 0o777 == 0o700


# What systemd does at a restart, done by the tests: a systemd of their own would clear
# the machine's /tmp.

MODES = dict(re.findall(r"^\| `([\w-]+)`.*? \| .*? \| (.*?) \|$", PAGE, re.M))


def stop(server: Server, hub: int, mode: str) -> None:
    """Send the signals that systemd sends when it stops a unit of this mode."""
    if mode == "control-group":
        os.kill(hub, signal.SIGTERM)
    server.stop()
    if mode == "mixed":
        os.kill(hub, signal.SIGKILL)


def test_the_page_has_a_row_for_each_mode() -> None:
    assert [*MODES] == ["mixed", "control-group", "process"]
    assert unit(APP_UNIT)["Service"]["KillMode"] == "mixed"


@pytest.mark.parametrize("mode", MODES)
def test_a_restart_does_to_the_streams_what_the_page_says(
    mode: str, tmp_path: Path
) -> None:
    app_with(FROM_ENV, tmp_path)
    _, _, command = unit(APP_UNIT)["Service"]["ExecStart"].rpartition("/")
    env = {name: here(value, tmp_path) for name, value in environment(APP_UNIT).items()}
    with serve_hello(tmp_path, command, **env) as server:
        reader = server.stream().opened()
        hub = the_hub(tmp_path)
        server.process.send_signal(signal.SIGHUP)
        until(lambda: server.log.count("Booting worker") == 8)
        say(server, "reloaded")
        assert heard(reader, 1) == ["reloaded"]
        stop(server, hub, mode)
        server.start()
        say(server, "restarted")
        if "stay open" in MODES[mode]:
            assert heard(reader, 2) == ["reloaded", "restarted"]
            assert hubs(tmp_path) == [hub]
            return
        reader.read_to_end()
        is_told = re.search(rb"\nretry: \d+\n\Z", reader.body) is not None
        assert is_told == ("tells each browser" in MODES[mode])
        assert is_told != ("They break" in MODES[mode])
        again = server.stream(last_id=reader.last_id)
        assert heard(again, 1) == ["restarted"]
        assert again.gaps == []
