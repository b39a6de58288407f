"""How a hub receives what is new in memory."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t
from contextvars import Context
from heapq import merge

from ..._event import Entry
from ..._event import Page
from ..._event import Position
from .._items import as_watched
from .._items import Horizons
from .._items import one_kind
from .._items import Timed
from ..base import Sink
from ..items import ItemsPage
from ..own import OWN_LOGS
from ..own import OwnPage
from ..own import OwnPages
from .items import Items


class _Store(t.Protocol):
    """What a feed needs of its broker."""

    @property
    def retention(self) -> int: ...

    def unread(self, after: int) -> tuple[str, list[Entry], int, bool]: ...

    def read(
        self,
        channels: cabc.Collection[str],
        *,
        after: int | None = None,
        last: int = 0,
        items: bool = False,
    ) -> Page: ...

    def items(self) -> t.ContextManager[Items]: ...

    def read_items(
        self,
        channels: cabc.Collection[str],
        *,
        after: int = 0,
        upto: int | None = None,
        kind: str = "",
        due: bool = False,
    ) -> ItemsPage: ...

    def read_own(self, log: str, after: int = 0) -> OwnPage: ...

    def leave(self, feed: MemoryFeed) -> None: ...


class MemoryFeed:
    def __init__(
        self,
        broker: _Store,
        sink: Sink,
        loop: asyncio.AbstractEventLoop,
        after: Position | None,
        channels: cabc.Collection[str],
    ) -> None:
        self._broker = broker
        self._sink = sink
        self._loop = loop
        self._channels = set(channels)
        self._wanted: set[str] = set()
        self._epoch, self._end = after or ("", 0)
        self._own = OwnPages(sink)
        self._horizons = Horizons(sink)
        self._timed = Timed(sink)
        # How often tombstones had been removed when horizons were given last.
        self._removals = -1
        self._closed = self._rung = False
        self.ring()

    @property
    def retention(self) -> int:
        return self._broker.retention

    def ring(self) -> None:
        """Wake up the feed. Any thread."""
        if not self._rung and not self._closed:
            self._rung = True
            try:
                self._loop.call_soon_threadsafe(self._turn, context=Context())
            except RuntimeError:
                # The loop has ended.
                self._closed = True

    def watch(self, channels: cabc.Collection[str]) -> None:
        self._wanted.update(channels)
        self.ring()

    def unwatch(self, channels: cabc.Collection[str]) -> None:
        self._wanted.difference_update(channels)
        self._channels.difference_update(channels)
        self._horizons.unwatch(channels)

    def read(
        self,
        channels: cabc.Collection[str],
        callback: cabc.Callable[[Page], None],
        *,
        after: int | None = None,
        last: int = 0,
    ) -> None:
        def answer() -> None:
            if not self._closed:
                items = {"items": True} if self._horizons else {}
                page = self._broker.read(channels, after=after, last=last, **items)
                self._give_own(page.epoch)
                callback(page)

        self._loop.call_soon(answer)

    def read_items(
        self,
        channels: cabc.Collection[str],
        callback: cabc.Callable[[ItemsPage], None],
        *,
        after: int = 0,
        upto: int | None = None,
    ) -> None:
        kind, names = one_kind(channels)

        def answer() -> None:
            if not self._closed:
                where: dict[str, t.Any] = {"after": after, "upto": upto, "kind": kind}
                page = self._broker.read_items(names, **where, due=True)
                callback(as_watched(page, kind))

        self._loop.call_soon(answer)

    def close(self) -> None:
        self._closed = True
        self._broker.leave(self)

    def _turn(self) -> None:
        self._rung = False
        if self._closed:
            return
        epoch, entries, end, forgotten = self._broker.unread(self._end)
        found = [entry for entry in entries if entry.channel in self._channels]
        if self._horizons:
            found = self._with_items(epoch, found, end)
        self._end = end
        self._give_own(epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._sink.deliver(epoch, [], end)
        elif forgotten:
            self._sink.missed(end)
        else:
            self._sink.deliver(epoch, found, end)
        if self._wanted:
            wanted, self._wanted = self._wanted, set()
            self._channels |= wanted
            self._sink.watched(sorted(wanted))
        if self._timed:
            with self._broker.items() as items:
                some = items.is_timed
            self._timed.give(some)

    def _with_items(self, epoch: str, found: list[Entry], end: int) -> list[Entry]:
        """The events and the items that are new. Horizons are given as they are now: they
        may be greater than the end."""
        with self._broker.items() as items:
            rows = items.unread(self._end, end)
            if self._wanted or epoch != self._epoch or items.removals != self._removals:
                self._removals = items.removals
                horizons = items.horizons(self._channels | self._wanted)
            else:
                horizons = {}, set()
        self._horizons.give(epoch, *horizons)
        watched = [rows[name] for name in self._channels & rows.keys()]
        return list(merge(found, *watched, key=lambda entry: entry.number))

    def _give_own(self, epoch: str) -> None:
        """Give the own logs as they are now: later than the events that follow."""
        for log in OWN_LOGS if self._own else ():
            after = self._own.after(log, epoch)
            self._own.give(log, self._broker.read_own(log, after))
