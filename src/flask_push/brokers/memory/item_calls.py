"""How a store in memory changes and reads items."""

from __future__ import annotations

import _thread
import collections.abc as cabc
from contextlib import contextmanager

from ..._event import Event
from ..._event import Position
from ..._system.clock import Clock
from .._common import take
from ..base import PAGE_BYTES
from ..items import check_kind
from ..items import ItemChange
from ..items import ItemRow
from ..items import ItemsPage
from ..runs import check_own_kind
from ..runs import FORGET_ROWS
from .item_rows import Row
from .item_rows import Step
from .items import Items


class ItemCalls:
    """The part of the broker that concerns items."""

    _lock: _thread.LockType
    _clock: Clock
    _epoch: str
    _last: int
    _items: Items

    def change(self, changes: cabc.Sequence[Event | ItemChange]) -> list[Position]:
        self._notice_fork()
        with self._lock:
            now = self._now()
            call = self._items.plan(changes, now)
            pairs = zip(changes, call.steps, strict=True)
            positions = [self._apply(change, step, now) for change, step in pairs]
            self._items.prune(call, self._last)
            self._forget()
        self._ring()
        return positions

    def _apply(
        self, change: Event | ItemChange, step: Row | Step | None, now: int
    ) -> Position:
        if step is None:
            assert isinstance(change, Event)
            return Position(self._epoch, self._store(change, change.data.encode(), now))
        found = self._items.apply(step, now, self._next)
        return found or Position(self._epoch, self._last)

    def read_items(
        self,
        channels: cabc.Collection[str],
        *,
        after: int = 0,
        upto: int | None = None,
        limit: int = PAGE_BYTES,
        kind: str = "",
        due: bool = False,
    ) -> ItemsPage:
        check_kind(kind)
        self._notice_fork()
        with self._lock:
            end = self._last if upto is None else min(upto, self._last)
            rows = self._items.living(channels, kind, after, 0 if due else self._now())
            page, reach = take((row for row in rows if row.number <= end), limit, end)
            horizons, _ = self._items.horizons(channels, kind)
            return ItemsPage(self._epoch, after, reach, self._last, page, horizons)

    def due(self, limit: int = 500) -> list[ItemChange]:
        self._notice_fork()
        with self.items() as items:
            return items.due(self._now(), limit)

    def owned(self, owner: str, *, kind: str, limit: int = 500) -> list[ItemRow]:
        check_kind(kind)
        self._notice_fork()
        with self.items() as items:
            return items.owned(owner, kind, limit)

    def find(self, channel: str, items: cabc.Sequence[str], *, kind: str = "") -> ItemsPage:
        check_kind(kind)
        self._notice_fork()
        with self._lock:
            rows = self._items.find(channel, kind, items)
            horizons, _ = self._items.horizons([channel], kind)
            return ItemsPage(self._epoch, 0, self._last, self._last, rows, horizons)

    def forget(
        self, channel: str, upto: int, *, kind: str, limit: int = FORGET_ROWS
    ) -> bool:
        check_own_kind(kind)
        self._notice_fork()
        with self.items() as items:
            more = items.forget((kind, channel), upto, limit)
        self._ring()
        return more

    @contextmanager
    def items(self) -> cabc.Iterator[Items]:
        """For a feed."""
        with self._lock:
            yield self._items

    def _now(self) -> int:
        return max(self._clock.now(self._last), self._last)

    def _next(self, now: int) -> Position:
        self._last = max(now, self._last + 1)
        return Position(self._epoch, self._last)

    # The rest of the broker.

    def _store(self, event: Event, data: bytes, now: int) -> int:
        raise NotImplementedError

    def _forget(self) -> None:
        raise NotImplementedError

    def _notice_fork(self) -> None:
        raise NotImplementedError

    def _ring(self) -> None:
        raise NotImplementedError
