"""Two event loops. The default one can't watch the sockets of others."""

from __future__ import annotations

import asyncio
import selectors
import sys
import time
import typing as t
from asyncio import selector_events
from asyncio import unix_events

from .windows_sockets import limited_select

_Loop: t.Any = selector_events.BaseSelectorEventLoop

# Seconds between two ticks of the clock, before Python 3.13.
_TICK = 1 / 64
_TICK_NS = 15_625_000


class SelectorEventLoop(_Loop):  # type: ignore[misc]
    """It has no signal handlers, no Unix sockets, no pipes and no processes."""


class ProactorEventLoop(_Loop):  # type: ignore[misc]
    """It watches its own sockets only."""

    def _refuse(self, *args: t.Any) -> t.NoReturn:
        raise NotImplementedError

    add_reader = add_writer = remove_reader = remove_writer = _refuse


def _select(
    self: t.Any, readers: t.Any, writers: t.Any, _: t.Any, timeout: float | None = None
) -> tuple[list[int], list[int], list[int]]:
    # A connection that was refused is in the third list.
    found = limited_select(readers, writers, writers, timeout)
    return found[0], found[1] + found[2], []


def _make_coarse() -> None:
    monotonic, nanoseconds, info = time.monotonic, time.monotonic_ns, time.get_clock_info

    def get_clock_info(name: t.Any) -> t.Any:
        found = info(name)
        if name == "monotonic":
            found.resolution = _TICK
        return found

    time.monotonic = lambda: monotonic() // _TICK * _TICK
    time.monotonic_ns = lambda: nanoseconds() // _TICK_NS * _TICK_NS
    time.get_clock_info = get_clock_info


def pretend() -> None:
    selecting: t.Any = selectors
    selecting.DefaultSelector = selecting.SelectSelector
    selecting.SelectSelector._select = _select
    places: list[t.Any] = [asyncio, unix_events]
    for place in places:
        place.SelectorEventLoop = SelectorEventLoop
        if hasattr(place, "EventLoop"):
            place.EventLoop = ProactorEventLoop
    places[0].ProactorEventLoop = ProactorEventLoop
    for name in "open_unix_connection", "start_unix_server":
        delattr(asyncio, name)
    places[1]._UnixDefaultEventLoopPolicy._loop_factory = ProactorEventLoop
    if sys.version_info < (3, 13):
        _make_coarse()
