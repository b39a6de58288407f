"""Reads the rows of runs from the store, for streams that follow a run and need rows that
the log no longer has.

All streams that follow the same run in the same format share one read, and those that come
meanwhile share the next one. The log keeps what was read if its budget allows it, and most
streams find their rows there.

Thousands of streams may follow one run. So at most fifty of them continue in one pass of
the loop.
"""

from __future__ import annotations

import asyncio
import typing as t
from functools import partial
from itertools import islice

from .._delivery.followed import RunGroup
from .._delivery.followed import RunPieces
from .._delivery.readers import Readers
from .._event import Page
from ..brokers import ItemsPage
from .connection import Connection
from .failstop import FailStop
from .feeding import Feeding

# How many streams continue with a page in one pass of the loop.
_READERS_PER_PASS = 50
# How many pages are asked for at the same time. Each takes memory until its streams have
# continued.
_MAX_READS = 16


class Pump(t.Protocol):
    """Writes to connections that have begun."""

    def pump_out(
        self, connection: Connection, page: Page | None = None, rows: t.Any = None
    ) -> None: ...

    def wait_for_turn(self, connection: Connection) -> None: ...


class _Read(t.NamedTuple):
    """A page that was asked for."""

    after: int
    #: Those that wait for it.
    readers: dict[Connection, None]


class RunReads:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        readers: Readers,
        feed: Feeding,
        failstop: FailStop,
        pump: Pump,
    ) -> None:
        self._loop = loop
        self._readers = readers
        self._feed = feed
        self._guard = failstop.guard
        self._alone = failstop.alone
        self._pump = pump
        #: True while one stream changes it. An exception then concerns all streams.
        self.torn = False
        # By group, streams for which no page is asked yet; and pages that were asked for.
        self._wanting: dict[RunGroup, dict[Connection, None]] = {}
        self._reads: dict[RunGroup, _Read] = {}
        # Streams that continue in a later pass of the loop, with their page.
        self._queue: dict[Connection, RunPieces] = {}
        self._scheduled = False

    def __repr__(self) -> str:
        waiting = len(self._wanting) + len(self._reads)
        return f"<RunReads [{waiting} reads, {len(self._queue)} readers queued]>"

    def wait(self, connection: Connection, rows: RunPieces | None) -> None:
        """Continue with a stream when it can be sent more of its run.

        :param rows: The page that it has just been given, if any.
        """
        group, log = connection.group, self._readers.log
        assert isinstance(group, RunGroup)
        begin = group.begin_page(connection)
        # It needs the same page again, so that page did not help.
        again = rows is not None and (rows.epoch, rows.after) == (log.epoch, begin)
        if again or connection.cursor >= log.end:
            # The log is too far behind the store.
            self._pump.wait_for_turn(connection)
            return
        read = self._reads.get(group)
        self.torn = True
        if read is not None and read.after <= begin:
            read.readers[connection] = None
        else:
            self._wanting.setdefault(group, {})[connection] = None
        self.torn = False
        self._ask()

    def forget(self, connection: Connection) -> None:
        """Do not continue with a stream that has ended."""
        if not isinstance(group := connection.group, RunGroup):
            return
        self._queue.pop(connection, None)
        if group in self._reads:
            self._reads[group].readers.pop(connection, None)
        if (wanting := self._wanting.get(group)) is not None:
            wanting.pop(connection, None)
            if not wanting:
                del self._wanting[group]

    def _ask(self) -> None:
        """Ask for the pages for which streams have waited for longest."""
        while len(self._reads) < _MAX_READS and len(self._queue) < _READERS_PER_PASS:
            wanting = (group for group in self._wanting if group not in self._reads)
            if (group := next(wanting, None)) is None:
                return
            self.torn = True
            together = self._wanting.pop(group)
            after = min(group.begin_page(connection) for connection in together)
            self._reads[group] = _Read(after, together)
            answer = partial(self._take, group)
            self._feed.read_items([group.own], answer, after=after)
            self.torn = False

    def _take(self, group: RunGroup, page: ItemsPage) -> None:
        together = self._reads.pop(group).readers
        if together:
            rows = self._readers.following.take(group, page)
            self._queue.update(dict.fromkeys(together, rows))
            self._continue()
        self._ask()

    def _next_pass(self) -> None:
        self._scheduled = False
        self._continue()
        self._ask()

    def _continue(self) -> None:
        """Continue with as many streams as one pass of the loop allows."""
        for connection, rows in list(islice(self._queue.items(), _READERS_PER_PASS)):
            self._queue.pop(connection, None)
            self._alone(connection, self._pump.pump_out, None, rows)
        if self._queue and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._guard, self._next_pass)
