"""The commands ``flask push …``."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import sys
import time
from pathlib import Path

import click
from flask import Flask

from ._app_hub import choose
from ._app_hub import files_of
from ._cli_hubs import ask
from ._cli_hubs import find_hubs
from ._cli_hubs import no_hub
from ._cli_hubs import of_socket
from ._cli_presence import presence
from ._cli_relay import relay
from ._cli_streams import streams
from ._cli_top import top
from ._cli_url import doctor
from ._cli_url import tail
from ._command import check_reach
from ._command import Commands
from ._command import failure
from ._command import load
from ._command import why
from ._config import Config
from ._hub import main
from ._hub.process import HubProcess
from ._ipc.files import HubFiles
from ._ipc.messages import Messages
from ._ipc.protocol import Stop
from ._ipc.status import status_of
from ._ipc.status import trouble_in
from ._system.abilities import why_no_hub_process
from ._system.inodes import check_socket
from ._system.terminal import shown

# Seconds that a hub may take to end.
_END_SECONDS = 10.0


@click.group(cls=Commands)
def push() -> None:
    """Publish, listen, run the hub, and find out what is wrong."""


push.add_command(doctor)
push.add_command(presence)
push.add_command(relay)
push.add_command(streams)
push.add_command(tail)
push.add_command(top)


@push.command()
@click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path, resolve_path=True),
    required=True,
    help="Where workers find the hub. Set PUSH_HUB to the same path.",
)
@click.option(
    "--replace",
    is_flag=True,
    help="If a hub runs there, take its place with all its streams.",
)
def hub(path: Path, replace: bool) -> None:
    """Run a hub in the foreground, until a signal ends it.

    So does 'flask push stop'. It loads no app: the first worker that connects names the
    store. With systemd's socket activation, the hub uses the socket that systemd passes.
    """
    if reason := why_no_hub_process():
        raise failure(
            f"The hub can't be a process of its own here, because {reason}. It runs in the"
            " app's process, without this command."
        )
    files = HubFiles(path)
    main.set_up(files, logging.StreamHandler())
    if replace and files.is_open():
        try:
            main.replace(files, stays=True, forced=True)
        except OSError as error:
            text = f"The hub at {path} can't be replaced, and keeps its streams:"
            raise failure(f"{text} {why(error)}") from error
        return
    try:
        # Check this before creating files beside it.
        check_socket(path)
        files.sock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = files.try_lock()
        if lock is None:
            raise failure(
                f"There is a hub at {path} already. Use --replace to take its place."
            )
        main.go(HubProcess(files, _listener(files), lock, stays=True))
    except OSError as error:
        raise failure(
            f"The hub can't run at {path}: {why(error)} Choose a socket in a directory"
            " that this user may write."
        ) from error


def _listener(files: HubFiles) -> socket.socket:
    """The socket that systemd passes, or a new one."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        return socket.socket(fileno=3)
    return files.listen()


@push.command()
@of_socket
@click.option(
    "--json", "as_json", is_flag=True, help="Print one line of JSON for each hub."
)
@click.option(
    "--store",
    is_flag=True,
    help="Fail, too, if a hub can't read its store. Not for a probe that restarts the hub.",
)
@click.pass_context
def status(context: click.Context, path: Path | None, as_json: bool, store: bool) -> None:
    """Show the hub of this app, or each of its hubs.

    The status of the command is 1 if no hub is running.
    """
    waiting = []
    for number, files in enumerate(find_hubs(context, path)):
        found = ask(files)
        if trouble := trouble_in(found):
            waiting.append(f"The hub at {files.sock} waits for its store: {shown(trouble)}")
        if as_json:
            click.echo(json.dumps(found))
            continue
        if number:
            click.echo()
        width = max(map(len, found))
        for name, value in found.items():
            click.echo(f"{shown(name).replace('_', ' '):{width}}  {shown(value)}")
    if store and waiting:
        raise failure("\n".join(waiting))


@push.command()
@of_socket
@click.pass_context
def stop(context: click.Context, path: Path | None) -> None:
    """End the hub of this app. The workers then start the next one.

    Browsers reconnect. The status of the command is 1 if no hub is running, or if it
    does not end.
    """
    for files in find_hubs(context, path):
        _stop(files, ask(files)["pid"])


def _stop(files: HubFiles, pid: int) -> None:
    try:
        messages = Messages(files.connect())
    except OSError as error:
        raise failure(no_hub(files, error)) from error
    with contextlib.suppress(EOFError, OSError), contextlib.closing(messages):
        messages.send(Stop().to_json())
        while True:
            messages.receive()
    deadline = time.monotonic() + _END_SECONDS
    while not _has_ended(files, pid):
        if time.monotonic() > deadline:
            raise failure(
                f"The hub, process {pid}, has not ended within {_END_SECONDS:g} seconds."
                " Its log says what it does; 'kill' ends it."
            )
        time.sleep(0.01)


def _has_ended(files: HubFiles, pid: int) -> bool:
    """A hub holds its lock until it ends. The next hub may hold it already."""
    if not files.is_locked():
        return True
    with contextlib.suppress(OSError):
        return bool(status_of(files)["pid"] != pid)
    return False


@push.command()
@click.argument("channel")
@click.argument("data")
@click.option("--type", default="message", help="The event's type.")
@click.option("--key", help="Store nothing if an event with this key was published.")
@click.pass_context
def publish(
    context: click.Context, channel: str, data: str, type: str, key: str | None
) -> None:
    """Publish an event, and print its id.

    DATA is sent as it is; '-' reads it from the standard input. The status of the
    command is 1 if the event was not published.
    """
    app, extension = load(context)
    check_reach(app, extension, "no stream would receive it")
    text = _read_input() if data == "-" else data
    with app.app_context():
        try:
            id = extension.publish(channel, text, type=type, key=key)
        except Exception as error:
            raise failure(error) from error
    click.echo(id)
    if _lacks_hub(app):
        click.echo(
            "No hub of this app is running, so no stream gets the event now. Streams that"
            " reconnect get it for as long as it is kept.",
            err=True,
        )


@push.command()
@click.option("--user", help="End the streams of this user.")
@click.option("--session", help="End the streams of this session.")
@click.option("--channel", help="End the streams that have this channel.")
@click.option("--reason", default="", help="Text for the page.")
@click.pass_context
def disconnect(context: click.Context, /, reason: str, **selectors: str | None) -> None:
    """End streams, and print the position of the disconnect.

    With several options, only streams that match all of them end. Their browsers ask
    their views again. The status of the command is 1 if nothing was stored.
    """
    given = {name: value for name, value in selectors.items() if value is not None}
    if not given:
        raise click.UsageError("Name a --user, a --session or a --channel.")
    app, extension = load(context)
    check_reach(app, extension, "no stream would end")
    with app.app_context():
        try:
            click.echo(extension.disconnect(**given, reason=reason))
        except Exception as error:
            raise failure(error) from error


def _lacks_hub(app: Flask) -> bool:
    """Whether the app has a store of its own, and no hub that reads it."""
    config = Config.read(app.config)
    all_files = files_of(app, config) if choose(app, config)[0] == "sqlite:" else []
    return bool(all_files) and not any(files.is_open() for files in all_files)


def _read_input() -> str:
    if sys.stdin is None:
        raise failure("There is no standard input to read DATA from.")
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise failure("The standard input is not text in UTF-8.") from error
