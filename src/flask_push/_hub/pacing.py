"""When paced groups are written to: at most once in their pause (law 35).

A group that was not written to for longer than its pause is written to at once. Then
everything waits until its pause is over. Groups that are due together have one timer,
because most of them share a busy channel.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import math
import typing as t
from functools import partial

from .._delivery.channel import Frame
from .._delivery.paced import PacedGroup
from .._event import Page
from .connection import Connection
from .failstop import FailStop
from .feeding import Feeding

# Times in a second at which groups are due. So there are not too many timers.
_TIMES_PER_SECOND = 100

_Send = cabc.Callable[[PacedGroup, list[Frame], int], None]


class Pump(t.Protocol):
    """Writes to connections, and ends all streams if something fails."""

    failstop: FailStop

    def pump(self, connection: Connection, page: Page | None = None) -> None: ...


class Pacing:
    """
    :param send: Writes frames to the live members of a group, which have everything up to a
        number.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, streams: Pump, feed: Feeding, send: _Send
    ) -> None:
        self._loop = loop
        self._guard = streams.failstop.guard
        self._pump = streams.pump
        self._feed = feed
        self._send = send
        # By the time at which they are due, groups for which something waits.
        self._waiting: dict[float, dict[PacedGroup, None]] = {}
        self._timers: dict[float, asyncio.TimerHandle] = {}

    def __repr__(self) -> str:
        return f"<Pacing [{sum(map(len, self._waiting.values()))} groups wait]>"

    def wait(self, group: PacedGroup, start: int) -> None:
        """Have what a turn has brought wait until the group is due.

        :param start: The log's end before the turn.
        """
        group.wait(start)
        if group.among is not None:
            return
        due = group.written + group.every
        # All that are due at once share a timer, which is in the past.
        due = max(0, math.ceil(due * _TIMES_PER_SECOND) / _TIMES_PER_SECOND)
        due = due if due > self._loop.time() else 0
        group.among = self._waiting.get(due)
        if group.among is None:
            group.among = self._waiting[due] = {}
            self._timers[due] = self._loop.call_at(due, self._guard, self._write, due)
        group.among[group] = None

    def flush(self) -> None:
        """Write to all groups for which something waits, before another hub takes over.
        There, each of their readers would need a page of the store."""
        while self._waiting:
            due = next(iter(self._waiting))
            self._timers[due].cancel()
            self._write(due)

    def cancel(self) -> None:
        for timer in self._timers.values():
            timer.cancel()

    def _write(self, due: float) -> None:
        del self._timers[due]
        groups, now = list(self._waiting.pop(due)), self._loop.time()
        for group in groups:
            group.among, group.written = None, now
            start, frames, late = group.take()
            if frames is None:
                self._read_on(list(group.live.values()), start)
            elif frames:
                self._send(group, frames, start)
            for connection in late:
                self._pump(connection)

    def _read_on(self, connections: list[Connection], start: int) -> None:
        """Have members of a group read on by themselves, which all are at one number."""
        for connection in connections:
            connection.leave_live(start)
        if connections and not connections[0].group.reaches(start):
            # They share a page, because the log has dropped what they need.
            names, answer = connections[0].group.names, partial(self._pump_all, connections)
            self._feed.read(names, answer, after=start)
        else:
            for connection in connections:
                self._pump(connection)

    def _pump_all(self, connections: list[Connection], page: Page) -> None:
        for connection in connections:
            self._pump(connection, page)
