"""The pages *The hub* and *Commands*: what they tell an operator to do is done."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import click
import pytest
import yaml  # type: ignore[import-untyped]
from support.doc_hubs import app_with
from support.doc_hubs import DIRECTORY
from support.doc_hubs import heard
from support.doc_hubs import here
from support.doc_hubs import run
from support.doc_hubs import said
from support.doc_hubs import say
from support.doc_hubs import serve_hello
from support.doc_hubs import sh
from support.pages import blocks
from support.pages import commands
from support.pages import DOCS
from support.pages import hello
from support.servers import hubs
from support.servers import ROOT
from support.servers import until

from flask_push import Position
from flask_push._cli import push
from flask_push._hub import main

PAGE = DOCS["hub"]

# All that the pages say to type. Each is run below, or named where it can't be.
HUB_PAGE = [command for block in commands(PAGE) for command in block]
SEE, STOP, INSTALL, RELOAD, RUN, MAKE, REPLACE = HUB_PAGE
CLI_PAGE = [command for block in commands(DOCS["cli"]) for command in block]


def typed(name: str) -> str:
    """The first line on the page of commands that types this one."""
    return next(line for line in CLI_PAGE if f" push {name}" in line)


STATUS, STOP_IT, PUBLISH = typed("status"), typed("stop"), typed("publish")
DISCONNECT, PRESENT, RELAY = typed("disconnect"), typed("presence"), typed("relay")
RUN_IT = typed("hub")

(CONFIG,) = blocks(PAGE, "python")
(COMPOSE,) = [text for text in blocks(DOCS["docker"], "yaml") if "  hub:\n" in text]
SHOWN, PROCFILE = blocks(PAGE, "text")


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
        assert Position.parse(said(DISCONNECT, tmp_path).strip()).epoch
        assert said(PRESENT, tmp_path) == "0 present.\n"
        # It has no outbox. `tests/app/test_cli_relay.py` relays one.
        assert sh(RELAY, tmp_path).returncode == 1
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
        # Without metrics, nothing is counted.
        named = {*re.findall(r"^\| `(hub\..*?)` \|", PAGE, re.M)} - {"hub.figures"}
        assert sorted(named) == files
        assert run.stat().st_mode & 0o777 == 0o700
        for name in files:
            assert (run / name).stat().st_mode & 0o777 == 0o600
        for name in "hub.lock", "hub.ties":
            assert (run / name).read_bytes() == b""
    assert main._LOG_BYTES == 1_000_000


def install(package: Path, version: str) -> None:
    path = package / "_ipc" / "version.py"
    text, count = re.subn('_VERSION = ".*"', f'_VERSION = "{version}"', path.read_text())
    assert count == 1
    path.write_text(text)


def test_no_stream_ends_when_a_new_version_is_installed(tmp_path: Path) -> None:
    """The same code, which calls itself another version."""
    assert INSTALL == "pip install -U Flask-Push"
    hello(tmp_path)
    installed = tmp_path / "installed"
    package = shutil.copytree(ROOT / "src" / "flask_push", installed / "flask_push")
    install(package, "0.0.1")
    start = "gunicorn -w 2 -p gunicorn.pid hello:app"
    with serve_hello(tmp_path, start, PYTHONPATH=str(installed)) as server:
        reader = server.stream().opened()
        (old,) = hubs(tmp_path)
        assert re.search(r"^version +0\.0\.1$", said(SEE, tmp_path), re.M)
        say(server, "before")
        install(package, "99")
        said(RELOAD, tmp_path)
        until(lambda: server.log.count("Booting worker") == 4)

        def is_replaced() -> bool:
            server.stream().opened().close()
            return bool(re.search(r"^version +99$", sh(SEE, tmp_path).stdout, re.M))

        until(is_replaced)
        until(lambda: old not in hubs(tmp_path))
        assert len(hubs(tmp_path)) == 1
        say(server, "after")
        assert heard(reader, 2) == ["before", "after"]


# The hub that is run by hand.


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
    # What a command shows stands before its options, in lower case.
    options = [name for name in explained if name.startswith("--") or name.isupper()]
    assert options == [spelled(parameter) for parameter in command.params]
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            required = explained[spelled(parameter)].rstrip().endswith("Required.")
            assert required == parameter.required


def spelled(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Argument):
        return parameter.human_readable_name
    assert isinstance(parameter, click.Option)
    (long,) = parameter.opts
    kind = parameter.type.name.removesuffix(" range").upper()
    return long if parameter.is_flag else f"{long} {kind}"


@pytest.mark.parametrize("name", push.commands)
def test_a_command_is_told_of_as_it_tells_of_itself(name: str) -> None:
    text = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", " ".join(SECTIONS[name].split()))
    sentence, _, _ = " ".join((push.commands[name].help or "").split()).partition(". ")
    assert sentence and sentence.rstrip(".") in text
