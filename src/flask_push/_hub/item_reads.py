"""Reads all items from the store, for readers that begin with them.

All readers of the same channels share one read, and those that join during it, too. The log
keeps what was read if its budget allows it, and most readers find their items there.

After a new epoch, all readers are sent all items. So at most fifty of them are sent items
in one pass of the loop (law 33). The others are in the queue, and continue in the next
passes.
"""

from __future__ import annotations

import asyncio
import typing as t
from functools import partial
from itertools import islice

from .._delivery.all_items import LivingPieces
from .._delivery.all_items import take_rows
from .._delivery.readers import Readers
from .._event import Page
from ..brokers import ItemsPage
from .connection import Connection
from .failstop import FailStop
from .feeding import Feeding

# How many readers are sent items in one pass of the loop.
_READERS_PER_PASS = 50
# How many pages are asked for at the same time. Each takes memory until its readers have
# continued.
_MAX_READS = 16


_Names = tuple[str, ...]


class Pump(t.Protocol):
    """Writes to connections that have begun."""

    def pump_out(
        self,
        connection: Connection,
        page: Page | None = None,
        rows: LivingPieces | None = None,
    ) -> None: ...

    def wait_for_turn(self, connection: Connection) -> None: ...


class _Read(t.NamedTuple):
    """A page that was asked for."""

    after: int
    #: Those that wait for it.
    readers: dict[Connection, None]


class ItemReads:
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
        #: True while one reader changes it. An exception then concerns all readers.
        self.torn = False
        # By their channels, readers for which no page is asked yet; and pages that were.
        self._wanting: dict[_Names, dict[Connection, None]] = {}
        self._reads: dict[_Names, _Read] = {}
        # Readers that are sent items in this pass of the loop; and those that continue in a
        # later one, with a page if they have got one.
        self._admitted: set[Connection] = set()
        self._queue: dict[Connection, LivingPieces | None] = {}
        self._scheduled = False

    def __repr__(self) -> str:
        waiting = len(self._wanting) + len(self._reads)
        return f"<ItemReads [{waiting} reads, {len(self._queue)} readers queued]>"

    def admits(self, connection: Connection) -> bool:
        """Whether a reader may be sent more in this pass of the loop. If all items are
        next, and it may not, it continues in a later one."""
        if not connection.is_sent_items or connection in self._admitted:
            return True
        self._schedule()
        if len(self._admitted) >= _READERS_PER_PASS:
            self._queue.setdefault(connection)
            return False
        self._admitted.add(connection)
        return True

    def wait(self, connection: Connection, rows: LivingPieces | None) -> None:
        """Continue with a reader when it can be sent more items.

        :param rows: A page that it has got.
        """
        place, log = connection.items, self._readers.log
        assert place is not None
        if connection.group.lacks_rosters:
            self._pump.wait_for_turn(connection)
            return
        if rows is not None and rows.epoch == log.epoch:
            if rows.after == connection.cursor and rows.end >= place.base:
                # The page was in vain: the log is too far behind the store.
                self._pump.wait_for_turn(connection)
                return
        names = connection.group.names
        read = self._reads.get(names)
        if read is not None and read.after <= connection.cursor:
            read.readers[connection] = None
        else:
            self._wanting.setdefault(names, {})[connection] = None
            self._ask()

    def forget(self, connection: Connection) -> None:
        """Do not continue with a stream that has ended."""
        self._queue.pop(connection, None)
        self._admitted.discard(connection)
        names = connection.group.names
        if names in self._reads:
            self._reads[names].readers.pop(connection, None)
        if (wanting := self._wanting.get(names)) is not None:
            wanting.pop(connection, None)
            if not wanting:
                del self._wanting[names]

    def _ask(self) -> None:
        """Ask for the pages for which readers have waited for longest."""
        while len(self._reads) < _MAX_READS and len(self._queue) < _READERS_PER_PASS:
            wanting = (names for names in self._wanting if names not in self._reads)
            if (names := next(wanting, None)) is None:
                return
            self.torn = True
            together = self._wanting.pop(names)
            # Some may have got all items meanwhile, which had waited for a page before.
            places = [c.items.position for c in together if c.items is not None]
            after = min(connection.cursor for connection in together)
            self._reads[names] = _Read(after, together)
            self._feed.read_items(
                names,
                partial(self._take, names),
                after=after,
                upto=max([self._readers.log.end, *places]),
            )
            self.torn = False

    def _take(self, names: _Names, page: ItemsPage) -> None:
        together = self._reads.pop(names).readers
        if together:
            group = next(iter(together)).group
            rows = take_rows(group, page, self._readers.log)
            self._queue.update(dict.fromkeys(together, rows))
            self._continue()
        self._ask()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._loop.call_soon(self._guard, self._next_pass)
            self._scheduled = True

    def _next_pass(self) -> None:
        self._scheduled = False
        self._admitted.clear()
        self._continue()
        self._ask()

    def _continue(self) -> None:
        """Continue with as many readers of the queue as this pass allows."""
        free = _READERS_PER_PASS - len(self._admitted)
        for connection, rows in list(islice(self._queue.items(), free)):
            self._queue.pop(connection, None)
            self._alone(connection, self._pump.pump_out, None, rows)
        if self._queue:
            self._schedule()
