"""The pages *The hub* and *Commands*: what they tell an operator to do is done."""

from __future__ import annotations

import collections.abc as cabc
import configparser
import contextlib
import grp
import json
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

import click
import pytest
import yaml  # type: ignore[import-untyped]
from support.pages import blocks
from support.pages import commands
from support.pages import DOCS
from support.pages import hello
from support.reader import HttpReader
from support.servers import end_hubs
from support.servers import hubs
from support.servers import serve
from support.servers import Server
from support.servers import until

from flask_push._cli import push
from flask_push._config import Config
from flask_push._hub import main

PAGE = DOCS["hub"]

# All that the pages say to type. Each is run below, or named where it can't be.
HUB_PAGE = [command for block in commands(PAGE) for command in block]
SEE, STOP, INSTALL, RELOAD, RUN, MAKE, ENABLE, REPLACE = HUB_PAGE
CLI_PAGE = [command for block in commands(DOCS["cli"]) for command in block]
STATUS, _, STOP_IT, PUBLISH, TAIL, _, RUN_IT = CLI_PAGE

(CONFIG,) = blocks(PAGE, "python")
SOCKET_UNIT, SERVICE_UNIT = blocks(PAGE, "ini")
(COMPOSE,) = blocks(PAGE, "yaml")
SHOWN, PROCFILE = blocks(PAGE, "text")

#: Where the page has the hub, and where a test has it.
DIRECTORY = "/var/lib/shop/push"
ENV = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def here(text: str, directory: Path) -> str:
    return text.replace(DIRECTORY, str(directory / "push"))


def sh(command: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        here(command, directory),
        shell=True,
        cwd=directory,
        env={**os.environ, **ENV},
        capture_output=True,
        text=True,
        timeout=30,
    )


def said(command: str, directory: Path) -> str:
    done = sh(command, directory)
    assert done.returncode == 0, done.stderr
    return done.stdout


def serve_hello(
    directory: Path, command: str = "gunicorn -w 2 hello:app", **env: str
) -> contextlib.AbstractContextManager[Server]:
    """The app of the page *Start*, as a line of a page starts it."""

    def words(_: str, port: int) -> list[str]:
        words = shlex.split(command.replace("0.0.0.0:8000", f"127.0.0.1:{port}"))
        bound = [] if "-b" in words else ["-b", f"127.0.0.1:{port}"]
        return [*words, *bound, "--no-control-socket"]

    return serve(words, directory, env={**ENV, **env}, cwd=directory)


def say(server: Server, text: str) -> None:
    form: t.Any = {"Content-Type": "application/x-www-form-urlencoded"}
    status, *_ = server.request("POST", "/say", f"text={text}".encode(), **form)
    assert status == 204


def heard(reader: HttpReader, count: int) -> list[str]:
    return [json.loads(data)["text"] for data in reader.read_data(count)]


def lines(text: str) -> list[str]:
    """The names at the beginnings of what ``status`` shows."""
    return re.findall(r"^(\w+(?: \w+)*)  +\S", text, re.M)


# The hub that starts by itself.


def test_the_hub_is_seen_and_stopped_as_the_page_says(tmp_path: Path) -> None:
    hello(tmp_path)
    with serve_hello(tmp_path) as server:
        assert sh(SEE, tmp_path).returncode == 1, "before its first stream"
        reader = server.stream().opened()
        shown = said(SEE, tmp_path)
        assert re.search(r"^streams +1$", shown, re.M)
        assert lines(shown) == lines(SHOWN)
        told = json.loads(said(f"{SEE} --json", tmp_path))
        assert [name.replace("_", " ") for name in told] == lines(SHOWN)
        (section,) = re.findall(r"^## See it\n(.*?)^## ", PAGE, re.M | re.S)
        explained = re.findall(r"^`(\w+)`\n: ", section, re.M)
        assert {*explained} <= told.keys()
        door = told["socket"]
        assert said(f"flask push status --socket {door}", tmp_path) != ""
        assert said(PUBLISH, tmp_path).endswith(".chat\n")
        assert heard(reader, 1) == ["The shop closes in an hour"]
        assert said(STOP, tmp_path) == ""
        assert hubs(tmp_path) == []
        reader.read_to_end()
        assert re.search(rb"\nretry: \d+\n\Z", reader.body)
        assert sh(SEE, tmp_path).returncode == 1
        server.stream().opened()
        assert re.search(r"^streams +1$", said(SEE, tmp_path), re.M)


def test_the_files_of_the_hub_are_those_of_the_page(tmp_path: Path) -> None:
    hello(tmp_path)
    with serve_hello(tmp_path) as server:
        server.stream().opened()
        run = tmp_path / "instance" / "push-hello"
        files = sorted(path.name for path in run.iterdir() if path.name.startswith("hub"))
        assert sorted(re.findall(r"^\| `(hub\..*?)` \|", PAGE, re.M)) == files
        assert run.stat().st_mode & 0o777 == 0o700
        for name in files:
            assert (run / name).stat().st_mode & 0o777 == 0o600
        for name in "hub.lock", "hub.ties":
            assert (run / name).read_bytes() == b""
    assert main._LOG_BYTES == 1_000_000


def test_no_stream_ends_when_a_new_version_is_installed(tmp_path: Path) -> None:
    """The same code, which calls itself another version."""
    assert INSTALL == "pip install -U Flask-Push"
    hello(tmp_path)
    metadata = tmp_path / "installed" / "flask_push-0.0.1.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Name: Flask-Push\nVersion: 0.0.1\n")
    start = "gunicorn -w 2 -p gunicorn.pid hello:app"
    with serve_hello(tmp_path, start, PYTHONPATH=str(tmp_path / "installed")) as server:
        reader = server.stream().opened()
        (old,) = hubs(tmp_path)
        assert re.search(r"^version +0\.0\.1$", said(SEE, tmp_path), re.M)
        say(server, "before")
        metadata.write_text("Name: Flask-Push\nVersion: 99\n")
        said(RELOAD, tmp_path)
        until(lambda: server.log.count("Booting worker") == 4)

        def is_replaced() -> bool:
            server.stream().opened().close()
            return "version      99\n" in sh(SEE, tmp_path).stdout

        until(is_replaced)
        until(lambda: old not in hubs(tmp_path))
        assert len(hubs(tmp_path)) == 1
        say(server, "after")
        assert heard(reader, 2) == ["before", "after"]


# The hub that is run by hand.


@contextlib.contextmanager
def run(command: str, directory: Path) -> cabc.Iterator[subprocess.Popen[bytes]]:
    with (directory / "hub.err").open("a") as log:
        process = subprocess.Popen(
            shlex.split(here(command, directory)),
            cwd="/",
            env={**os.environ, **ENV},
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        end_hubs(directory)


def app_with(config: str, directory: Path) -> None:
    """The app of the page *Start*, with more configuration."""
    path = hello(directory)
    code = path.read_text()
    assert code.count("push = Push(app)\n") == 1
    config = here(config, directory)
    path.write_text(code.replace("push = Push(app)\n", f"{config}push = Push(app)\n"))


def ways() -> dict[str, tuple[str, str, str, dict[str, str]]]:
    """How the hub and the app are started, by what the page shows for it; and the app's
    configuration and environment."""
    services = yaml.safe_load(COMPOSE)["services"]
    assert {*services["web"]["volumes"]} == {*services["hub"]["volumes"]}
    assert services["web"]["volumes"][0].endswith(f":{DIRECTORY}")
    procfile = dict(line.split(": ", 1) for line in PROCFILE.splitlines())
    from_env = "app.config.from_prefixed_env()\n"
    assert f"`{from_env.strip()}`" in PAGE
    return {
        "by hand": (RUN, "gunicorn -w 4 hello:app", CONFIG, {}),
        "Procfile": (procfile["hub"], procfile["web"], CONFIG, {}),
        "containers": (
            *(services["hub"]["command"], services["web"]["command"]),
            *(from_env, services["web"]["environment"]),
        ),
    }


@pytest.mark.parametrize("way", ways())
def test_a_hub_that_is_run_by_hand_outlives_the_server(way: str, tmp_path: Path) -> None:
    command, web, config, env = ways()[way]
    app_with(config, tmp_path)
    (tmp_path / "push").mkdir(0o700)
    env = {name: here(value, tmp_path) for name, value in env.items()}
    with run(command, tmp_path) as first:
        until((tmp_path / "push" / "hub.sock").exists)
        with serve_hello(tmp_path, web, **env) as server:
            reader = server.stream().opened()
            assert hubs(tmp_path) == [first.pid]
            server.stop()
            server.start()
            say(server, "still here")
            assert heard(reader, 1) == ["still here"]
            with run(REPLACE, tmp_path) as second:
                assert first.wait(20) == 0
                say(server, "and here")
                assert heard(reader, 2) == ["still here", "and here"]
                assert hubs(tmp_path) == [second.pid]


def test_the_directory_is_made_as_the_page_says(tmp_path: Path) -> None:
    assert MAKE.count(" shop ") == 2
    user = pwd.getpwuid(os.geteuid()).pw_name
    group = grp.getgrgid(os.getegid()).gr_name
    said(MAKE.replace("-o shop -g shop", f"-o {user} -g {group}"), tmp_path)
    assert (tmp_path / "push").stat().st_mode & 0o777 == 0o700


# systemd.


def unit(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text)
    return parser


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
    assert f'"{path}"' in CONFIG and path in COMPOSE
    assert service["Service"]["User"] == door["Socket"]["SocketUser"]
    assert f"/{ENABLE.split()[-1]}`" in PAGE
    assert int(service["Service"]["LimitNOFILE"]) > Config().max_streams


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    # Where there is no systemd, the test above is all.
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return
    user = pwd.getpwuid(os.geteuid()).pw_name
    flask = Path(sys.executable).with_name("flask")
    paths = []
    for name, text in ("socket", SOCKET_UNIT), ("service", SERVICE_UNIT):
        text = text.replace("=shop\n", f"={user}\n")
        text = text.replace(START.partition(" ")[0], str(flask))
        paths.append(tmp_path / f"shop-hub.{name}")
        paths[-1].write_text(text)
    done = subprocess.run(
        [analyze, "verify", "--man=no", *map(str, paths)], capture_output=True, text=True
    )
    problems = [line for line in done.stderr.splitlines() if "shop-hub" in line]
    assert problems == []


# The commands.

SECTIONS = dict(
    re.findall(r"^## flask push (\w+)\n(.*?)(?=^## |\Z)", DOCS["cli"], re.M | re.S)
)


def test_every_command_has_its_section_and_no_other() -> None:
    assert sorted(SECTIONS) == sorted(push.commands)
    assert [SEE, STOP, RUN] == [STATUS, STOP_IT, RUN_IT]


@pytest.mark.parametrize("name", push.commands)
def test_every_option_of_a_command_is_explained(name: str) -> None:
    command, section = push.commands[name], SECTIONS[name]
    explained = dict(re.findall(r"^`(.*?)`\n: ((?:.*\n)+?)(?:\n|\Z)", section, re.M))
    assert [*explained] == [spelled(parameter) for parameter in command.params]
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            required = explained[spelled(parameter)].rstrip().endswith("Required.")
            assert required == parameter.required


def spelled(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Argument):
        return parameter.human_readable_name
    assert isinstance(parameter, click.Option)
    (long,) = parameter.opts
    return long if parameter.is_flag else f"{long} {parameter.type.name.upper()}"


@pytest.mark.parametrize("name", push.commands)
def test_a_command_is_told_of_as_it_tells_of_itself(name: str) -> None:
    text = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", " ".join(SECTIONS[name].split()))
    sentence, _, _ = " ".join((push.commands[name].help or "").split()).partition(". ")
    assert sentence and sentence.rstrip(".") in text
