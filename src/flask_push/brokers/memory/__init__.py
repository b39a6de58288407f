"""``memory:``, a store within one process, for tests and for a hub in a thread."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import os
from bisect import bisect_right
from collections import deque
from collections import OrderedDict
from heapq import merge
from itertools import islice
from operator import itemgetter
from pathlib import Path

from ..._event import Entry
from ..._event import Event
from ..._event import MAX_NUMBER
from ..._event import Page
from ..._event import Position
from ..._event import Proof
from ..._system import unpatched
from ..._system.clock import Clock
from .._common import new_entry
from .._common import new_epoch
from .._common import now
from .._common import take
from ..base import EVENT
from ..base import PAGE_BYTES
from ..base import PASSING
from ..base import PASSING_PART
from ..base import Retention
from ..base import ROW
from ..base import Sink
from ..own import check_own
from ..own import OwnPage
from .feed import MemoryFeed
from .item_calls import ItemCalls
from .items import Items
from .own import OwnLog

#: An :class:`.Entry` as it is kept: the garbage collector does not have to look at it.
_Row = tuple[int, int | None, str, str, bytes, str, str]

_number = itemgetter(0)


def from_url(
    url: str, directory: Path | None, retention: Retention | None, timeout: float
) -> MemoryBroker:
    if url != "memory:":
        raise ValueError(f"'memory:' takes no path, but the URL is {url!r}.")
    return MemoryBroker(retention)


class MemoryBroker(ItemCalls):
    """Keeps events in lists. They are gone when the process ends."""

    url = "memory:"

    def __init__(self, retention: Retention | None = None) -> None:
        self._retention = retention or Retention()
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = unpatched.free_lock()
        self._feeds: list[MemoryFeed] = []
        self._epoch = new_epoch()
        self._last = self._birth = self._floor = now()
        self._clock = Clock(0, self._birth)
        # All stored events, by number and in order; the same by channel; and events that
        # are not stored, and wait for the feeds.
        self._log: OrderedDict[int, _Row] = OrderedDict()
        self._channels: dict[str, list[_Row]] = {}
        self._passing: deque[_Row] = deque()
        # By channel and key, in the order of numbers.
        self._keys: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._own: dict[str, OwnLog] = {}
        self._items = Items(self._retention, self._birth)
        self._bytes = self._passing_bytes = 0

    def publish(self, events: cabc.Sequence[Event]) -> list[Position]:
        data = [event.data.encode() for event in events]
        self._notice_fork()
        with self._lock:
            now, store = self._now(), self._store
            numbers = [store(*pair, now) for pair in zip(events, data, strict=True)]
            self._forget()
            epoch = self._epoch
        self._ring()
        return [Position(epoch, number) for number in numbers]

    def append(self, log: str, data: bytes, keep: float) -> Position:
        check_own(log, data, keep)
        self._notice_fork()
        with self._lock:
            position = self._next(self._now())
            self._own_log(log).append(position.number, data, keep)
        self._ring()
        return position

    def read_own(self, log: str, after: int = 0) -> OwnPage:
        check_own(log)
        self._notice_fork()
        with self._lock:
            found = self._own_log(log)
            since = max(after, found.horizon)
            return OwnPage(self._epoch, since, self._last, found.after(after))

    def _own_log(self, log: str) -> OwnLog:
        return self._own.setdefault(log, OwnLog(self._birth))

    def read(
        self,
        channels: cabc.Collection[str],
        *,
        after: int | None = None,
        last: int = 0,
        limit: int = PAGE_BYTES,
        items: bool = False,
    ) -> Page:
        self._notice_fork()
        with self._lock:
            held = {name: self._channels.get(name, []) for name in channels}
            proofs = {
                name: Proof(rows[0][1] or 0) if rows else Proof(self._floor, "unknown")
                for name, rows in held.items()
            }
            if after is None:
                newest = merge(*map(reversed, held.values()), key=lambda row: -row[0])
                numbers = [row[0] - 1 for row in islice(newest, last)]
                since = max((proof.since for proof in proofs.values()), default=0)
                after = max(min(numbers), since) if numbers else self._last
            tails: list[cabc.Iterable[Entry]] = [
                map(Entry._make, rows[bisect_right(rows, after, key=_number) :])
                for rows in held.values()
            ]
            if items:
                tails += [self._items.entries(name, after) for name in held]
            horizons = self._items.horizons(channels)[0] if items else {}
            entries, reach = take(merge(*tails, key=_number), limit, self._last)
        return Page(self._epoch, after, reach, self._last, entries, proofs, horizons)

    def feed(
        self,
        sink: Sink,
        loop: asyncio.AbstractEventLoop,
        *,
        after: Position | None = None,
        channels: cabc.Collection[str] = (),
    ) -> MemoryFeed:
        self._notice_fork()
        feed = MemoryFeed(self, sink, loop, after, channels)
        with self._lock:
            self._feeds.append(feed)
        return feed

    def close(self) -> None:
        pass

    def _notice_fork(self) -> None:
        if self._pid == os.getpid():
            return
        # The feeds belong to the parent.
        self._pid, self._feeds = os.getpid(), []
        if self._lock.locked():
            # Another thread of the parent, which this process lacks, held the lock.
            self._begin()

    def _ring(self) -> None:
        for feed in list(self._feeds):
            feed.ring()

    def _store(self, event: Event, data: bytes, now: int) -> int:
        channel = event.channel
        number = now if now > self._last else self._last + 1
        if event.key is not None:
            key = channel, event.key
            if key in self._keys:
                return self._keys[key]
            self._keys[key] = number
            self._bytes += _key_size(key)
        self._last = number
        rest = event.type, data, event.exclude or "", ""
        if not event.store:
            row: _Row = number, None, channel, *rest
            self._passing.append(row)
            self._passing_bytes += _size(row)
            return number
        held = self._channels.get(channel)
        if held is None:
            held = self._channels[channel] = []
        prev = held[-1][0] if held else self._floor
        row = number, prev, channel, *rest
        self._log[number] = row
        self._bytes += _size(row)
        held.append(row)
        if len(held) > self._retention.count:
            row = held.pop(0)
            del self._log[row[0]]
            self._bytes -= _size(row)
        return number

    def _forget(self) -> None:
        """Remove events and keys that are too old, or too many bytes."""
        recent, passing = self._last - PASSING, self._passing
        most = self._retention.bytes // PASSING_PART
        while passing and (passing[0][0] < recent or self._passing_bytes > most):
            if passing[0][0] == self._last:
                break
            self._passing_bytes -= _size(passing.popleft())
        oldest = self._last - round(self._retention.age * 1_000_000)
        most = self._retention.bytes - self._passing_bytes
        while self._log or self._keys:
            event = next(iter(self._log), MAX_NUMBER)
            key = next(iter(self._keys.values())) if self._keys else MAX_NUMBER
            number = event if event < key else key
            if number == self._last or not (number < oldest or self._bytes > most):
                break
            if key < event:
                self._bytes -= _key_size(self._keys.popitem(last=False)[0])
            else:
                self._drop()

    def _drop(self) -> None:
        number, row = self._log.popitem(last=False)
        self._bytes -= _size(row)
        self._floor = number
        held = self._channels[row[2]]
        held.pop(0)
        if not held:
            del self._channels[row[2]]

    def unread(self, after: int) -> tuple[str, list[Entry], int, bool]:
        """What a feed has not delivered yet: the epoch, events after a number, the end,
        and whether some of them are forgotten."""
        with self._lock:
            rows = _newest(reversed(self._log.values()), after)
            if self._passing:
                passing = _newest(reversed(self._passing), after)
                rows = list(merge(rows, passing, key=_number))
            forgotten = self._floor > after
            epoch, end = self._epoch, self._last
        return epoch, [new_entry(Entry, row) for row in rows], end, forgotten

    def leave(self, feed: MemoryFeed) -> None:
        with self._lock:
            if feed in self._feeds:
                self._feeds.remove(feed)

    @property
    def retention(self) -> int:
        age = round(self._retention.age * 1_000_000)
        return age if self._floor == self._birth else min(age, self._last - self._floor)


def _newest(backwards: cabc.Iterable[_Row], after: int) -> list[_Row]:
    """Those after the number, in the order of their numbers."""
    found = []
    for row in backwards:
        if row[0] <= after:
            break
        found.append(row)
    found.reverse()
    return found


def _size(row: _Row) -> int:
    _, _, channel, type, data, exclude, _ = row
    about = ROW + len(channel) + len(type) + len(exclude)
    return len(data) + (about if about > EVENT else EVENT)


def _key_size(key: tuple[str, str]) -> int:
    return ROW + len(key[0]) + len(key[1])
