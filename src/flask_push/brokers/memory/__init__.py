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
from itertools import takewhile
from operator import attrgetter
from pathlib import Path

from ..._event import Entry
from ..._event import Event
from ..._event import MAX_NUMBER
from ..._event import Page
from ..._event import Position
from ..._event import Proof
from ..._system import unpatched
from ..._system.clock import Clock
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

_number = attrgetter("number")


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
        self._log: OrderedDict[int, Entry] = OrderedDict()
        self._channels: dict[str, list[Entry]] = {}
        self._passing: deque[Entry] = deque()
        # By channel and key, in the order of numbers.
        self._keys: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._own: dict[str, OwnLog] = {}
        self._items = Items(self._retention, self._birth)
        self._bytes = self._passing_bytes = 0

    def publish(self, events: cabc.Sequence[Event]) -> list[Position]:
        data = [event.data.encode() for event in events]
        self._notice_fork()
        with self._lock:
            numbers = [self._store(*pair) for pair in zip(events, data, strict=True)]
            self._forget()
            positions = [Position(self._epoch, number) for number in numbers]
        self._ring()
        return positions

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
                name: Proof(entries[0].prev or 0)
                if entries
                else Proof(self._floor, "unknown")
                for name, entries in held.items()
            }
            if after is None:
                newest = merge(*map(reversed, held.values()), key=lambda e: -e.number)
                numbers = [entry.number - 1 for entry in islice(newest, last)]
                since = max((proof.since for proof in proofs.values()), default=0)
                after = max(min(numbers), since) if numbers else self._last
            tails: list[cabc.Iterable[Entry]] = [
                islice(entries, bisect_right(entries, after, key=_number), None)
                for entries in held.values()
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

    def _store(self, event: Event, data: bytes) -> int:
        key = (event.channel, event.key) if event.key is not None else None
        if key is not None and key in self._keys:
            return self._keys[key]
        number = self._last = max(self._clock.now(self._last), self._last + 1)
        if key is not None:
            self._keys[key] = number
            self._bytes += _key_size(key)
        about = event.channel, event.type, data, event.exclude or ""
        if not event.store:
            self._passing.append(Entry(number, None, *about))
            self._passing_bytes += _size(self._passing[-1])
            return number
        held = self._channels.setdefault(event.channel, [])
        prev = held[-1].number if held else self._floor
        entry = Entry(number, prev, *about)
        self._log[number] = entry
        self._bytes += _size(entry)
        held.append(entry)
        if len(held) > self._retention.count:
            entry = held.pop(0)
            del self._log[entry.number]
            self._bytes -= _size(entry)
        return number

    def _forget(self) -> None:
        """Remove events and keys that are too old, or too many bytes."""
        recent, passing = self._last - PASSING, self._passing
        most = self._retention.bytes // PASSING_PART
        while passing and (passing[0].number < recent or self._passing_bytes > most):
            if passing[0].number == self._last:
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
        _, entry = self._log.popitem(last=False)
        self._bytes -= _size(entry)
        self._floor = entry.number
        self._channels[entry.channel].pop(0)
        if not self._channels[entry.channel]:
            del self._channels[entry.channel]

    def unread(self, after: int) -> tuple[str, list[Entry], int, bool]:
        """What a feed has not delivered yet: the epoch, events after a number, the end,
        and whether some of them are forgotten."""
        with self._lock:
            newest = [
                [*takewhile(lambda e: e.number > after, reversed(entries))][::-1]
                for entries in (self._log.values(), self._passing)
            ]
            entries = list(merge(*newest, key=_number))
            return self._epoch, entries, self._last, self._floor > after

    def leave(self, feed: MemoryFeed) -> None:
        with self._lock:
            if feed in self._feeds:
                self._feeds.remove(feed)

    @property
    def retention(self) -> int:
        age = round(self._retention.age * 1_000_000)
        return age if self._floor == self._birth else min(age, self._last - self._floor)


def _size(entry: Entry) -> int:
    names = len(entry.channel) + len(entry.type) + len(entry.exclude)
    return len(entry.data) + max(EVENT, ROW + names)


def _key_size(key: tuple[str, str]) -> int:
    return ROW + len(key[0]) + len(key[1])
