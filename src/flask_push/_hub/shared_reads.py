"""Reads pages of the store for streams that need rows which the log does not have.

All streams that need the same rows share one read, and those that come meanwhile share it
or the next one. The log keeps what was read if its budget allows it, and most streams find
their rows there.

Thousands of streams may need the same rows. So at most fifty of them continue in one pass
of the loop. The others are in the queue, and continue in the next passes.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t
from functools import partial
from itertools import islice

from .._delivery.readers import Readers
from .._delivery.subscription import ReaderGroup
from .._event import Page
from ..brokers import ItemsPage
from .connection import Connection
from .failstop import FailStop
from .feeding import Feeding

# How many streams continue with a page in one pass of the loop.
_READERS_PER_PASS = 50
#: How many pages are asked for at the same time. Each takes memory until its streams have
#: continued.
MAX_READS = 16

Key = t.TypeVar("Key", bound=cabc.Hashable)
Rows = t.TypeVar("Rows")


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


class SharedReads(t.Generic[Key, Rows]):
    """Streams with the same key share their reads."""

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
        # By key, streams for which no page is asked yet; and pages that were asked for.
        self._wanting: dict[Key, dict[Connection, None]] = {}
        self._reads: dict[Key, _Read] = {}
        # Streams that continue in a later pass of the loop, with a page if they have one.
        self._queue: dict[Connection, Rows | None] = {}
        # Streams that asked whether they may continue in this pass of the loop, and may.
        self._admitted: set[Connection] = set()
        self._scheduled = False

    def __repr__(self) -> str:
        waiting = len(self._wanting) + len(self._reads)
        return (
            f"<{type(self).__name__} [{waiting} reads, {len(self._queue)} readers queued]>"
        )

    # What each kind of reads has of its own.

    def _key(self, connection: Connection) -> Key:
        raise NotImplementedError

    def _after(self, connection: Connection) -> int:
        """The number after which a page has to begin that the stream can use."""
        raise NotImplementedError

    def _request(
        self, key: Key, together: cabc.Iterable[Connection]
    ) -> tuple[cabc.Collection[str], int | None]:
        """The channels of which a page has rows, and the number up to which it has them.
        ``None`` for all."""
        raise NotImplementedError

    def _encode(self, group: ReaderGroup, page: ItemsPage) -> Rows:
        """The page as streams are given it.

        :param group: That of one of them.
        """
        raise NotImplementedError

    # What all have in common.

    def forget(self, connection: Connection) -> None:
        """Do not continue with a stream that has ended."""
        self._queue.pop(connection, None)
        self._admitted.discard(connection)
        key = self._key(connection)
        if key in self._reads:
            self._reads[key].readers.pop(connection, None)
        if (wanting := self._wanting.get(key)) is not None:
            wanting.pop(connection, None)
            if not wanting:
                del self._wanting[key]

    def _share(self, connection: Connection) -> None:
        """Have the stream wait for a page: one that was asked for, or the next one."""
        key = self._key(connection)
        read = self._reads.get(key)
        self.torn = True
        if read is not None and read.after <= self._after(connection):
            read.readers[connection] = None
        else:
            self._wanting.setdefault(key, {})[connection] = None
        self.torn = False
        self._ask()

    def _ask(self) -> None:
        """Ask for the pages for which streams have waited for longest."""
        while len(self._reads) < MAX_READS and len(self._queue) < _READERS_PER_PASS:
            wanting = (key for key in self._wanting if key not in self._reads)
            if (key := next(wanting, None)) is None:
                return
            self.torn = True
            together = self._wanting.pop(key)
            after = min(map(self._after, together))
            self._reads[key] = _Read(after, together)
            channels, upto = self._request(key, together)
            answer = partial(self._take, key)
            self._feed.read_items(channels, answer, after=after, upto=upto)
            self.torn = False

    def _take(self, key: Key, page: ItemsPage) -> None:
        together = self._reads.pop(key).readers
        if together:
            rows = self._encode(next(iter(together)).group, page)
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

    @property
    def _free(self) -> int:
        """How many more streams may continue in this pass of the loop."""
        return _READERS_PER_PASS - len(self._admitted)

    def _continue(self) -> None:
        """Continue with as many streams of the queue as this pass allows."""
        for connection, rows in list(islice(self._queue.items(), self._free)):
            self._queue.pop(connection, None)
            self._alone(connection, self._pump.pump_out, None, rows)
        if self._queue:
            self._schedule()
