"""The command that shows the hubs of this machine live."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import heapq
import socket
import time
import typing as t
from functools import partial
from pathlib import Path

import click

from ._cli_hubs import ask
from ._cli_hubs import find_hubs
from ._cli_hubs import of_socket
from ._command import load
from ._command import why
from ._delivery.figure_rows import FIGURES_OF_HUBS
from ._delivery.figure_rows import HubFigures
from ._ipc.files import HubFiles
from ._ipc.listing_protocol import ListChannels
from ._ipc.status import channels_of
from ._ipc.status import status_of
from ._ipc.status import TooOld
from ._system.screen import full_screen
from ._system.screen import is_terminal
from ._top_screen import lines
from ._top_screen import Look
from ._top_screen import rates_of
from ._top_screen import Stored
from .brokers import Broker
from .brokers import KeepsItems
from .brokers import NotRead
from .brokers.due_items import NO_LIMIT

_SECONDS = 1.0
# Channels that are shown.
_MOST = 20
_ENDS = "q", "Q", "\x03", "\x04"


@click.command()
@of_socket
@click.pass_context
def top(context: click.Context, path: Path | None) -> None:
    """Show the hubs of this machine live, until you press q.

    Without a terminal, it prints once. The status of the command is 1 if no hub is running.
    """
    broker: Broker | None = None
    if path is None:
        app, extension = load(context)
        services = extension._states[app].services()
        broker = services.broker if services.config.metrics else None
    look = partial(_look, context, path, broker)
    now, measures = look(), broker is not None
    if not now.hubs:
        # It raises an error with the remedy.
        ask(find_hubs(context, path)[0])
    if not is_terminal():
        for line in lines(now, None, {}, 1000, measures):
            click.echo(line)
        click.echo("This is no terminal, so it was printed once.", err=True)
        return
    with contextlib.suppress(KeyboardInterrupt), full_screen() as screen:
        before: Look | None = None
        base, rates = now, dict[str, float]()
        while True:
            width, _ = screen.size
            screen.draw(lines(now, before, rates, width, measures))
            if screen.key(_SECONDS) in _ENDS:
                return
            before, now = now, look()
            if found := rates_of(now, base):
                base, rates = now, found


def _look(context: click.Context, path: Path | None, broker: Broker | None) -> Look:
    hubs, found, problems = list[HubFiles](), list[dict[str, t.Any]](), list[str]()
    # Hubs come and go, as at a deploy. One that does not answer must not hide the others.
    for files in find_hubs(context, path):
        try:
            found.append(status_of(files))
            hubs.append(files)
        except OSError as error:
            problems.append(f"{files.sock.name} does not answer: {why(error)}")
    channels: dict[str, int] = {}
    for files in hubs:
        for name, readers in _channels(files):
            channels[name] = channels.get(name, 0) + readers
    most = heapq.nlargest(_MOST, channels.items(), key=lambda pair: pair[1])
    stored = _stored(broker) if broker is not None else {}
    pids = {hub["pid"] for hub in found}
    mine = {pid: each for pid, each in stored.items() if pid in pids}
    return Look(found, most, mine, time.monotonic(), problems)


def _channels(files: HubFiles) -> cabc.Iterator[tuple[str, int]]:
    """The channels of a hub with the most readers, over all pages."""
    after: int | None = 0
    with contextlib.suppress(TooOld, OSError):
        while after is not None:
            page = channels_of(files, ListChannels(after, _MOST))
            yield from ((name, readers) for name, readers in page.channels)
            after = page.next


def _stored(broker: Broker) -> dict[int, Stored]:
    """By process id, what the hubs of this machine have stored of their figures."""
    if not isinstance(broker, KeepsItems):
        return {}
    try:
        rows = broker.read_items([FIGURES_OF_HUBS], limit=NO_LIMIT).rows
    except NotRead:
        return {}
    found = [(HubFigures.of(row), row.position.number) for row in rows]
    here = socket.gethostname()
    # If a process id was used twice lately, the newer row counts.
    found.sort(key=lambda pair: pair[1])
    return {hub.pid: Stored(hub.figures, n) for hub, n in found if hub.host == here}
