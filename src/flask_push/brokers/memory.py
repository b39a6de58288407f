"""``memory:``, a store within one process, for tests and for a hub in a thread."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import threading
from bisect import bisect_right
from collections import OrderedDict
from contextvars import Context
from heapq import merge
from itertools import islice
from itertools import takewhile
from operator import attrgetter
from pathlib import Path

from .._event import Entry
from .._event import Event
from .._event import Page
from .._event import Position
from .._event import Proof
from .base import new_epoch
from .base import now
from .base import PAGE_BYTES
from .base import Retention
from .base import Sink
from .base import take

_number = attrgetter("number")


def from_url(
    url: str, directory: Path | None, retention: Retention | None, timeout: float
) -> MemoryBroker:
    if url != "memory:":
        raise ValueError(f"'memory:' has no place, so {url!r} means nothing more.")
    return MemoryBroker(retention)


class MemoryBroker:
    """Keeps events in lists, and forgets them with the process."""

    url = "memory:"

    def __init__(self, retention: Retention | None = None) -> None:
        self._retention = retention or Retention()
        self._lock = threading.Lock()
        self._feeds: list[MemoryFeed] = []
        self._epoch = new_epoch()
        self._last = self._birth = self._floor = now()
        # All events held, transient ones too, by number and in order, of which any can
        # go; and the stored ones again, by channel.
        self._log: OrderedDict[int, Entry] = OrderedDict()
        self._channels: dict[str, list[Entry]] = {}
        self._keys: dict[tuple[str, str], int] = {}
        self._bytes = 0

    def publish(self, events: cabc.Sequence[Event]) -> list[Position]:
        data = [event.data.encode() for event in events]
        with self._lock:
            numbers = [self._store(*pair) for pair in zip(events, data, strict=True)]
            self._prune(len(events))
            positions = [Position(self._epoch, number) for number in numbers]
            feeds = list(self._feeds)
        for feed in feeds:
            feed.ring()
        return positions

    def read(
        self,
        channels: cabc.Collection[str],
        *,
        after: int | None = None,
        last: int = 0,
        limit: int = PAGE_BYTES,
    ) -> Page:
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
            tails = (
                islice(entries, bisect_right(entries, after, key=_number), None)
                for entries in held.values()
            )
            entries, reach = take(merge(*tails, key=_number), limit, self._last)
        return Page(self._epoch, after, reach, self._last, entries, proofs)

    def feed(
        self,
        sink: Sink,
        loop: asyncio.AbstractEventLoop,
        *,
        after: Position | None = None,
        channels: cabc.Collection[str] = (),
    ) -> MemoryFeed:
        feed = MemoryFeed(self, sink, loop, after, channels)
        with self._lock:
            self._feeds.append(feed)
        return feed

    def close(self) -> None:
        pass

    def _store(self, event: Event, data: bytes) -> int:
        key = (event.channel, event.key) if event.key is not None else None
        if key is not None and key in self._keys:
            return self._keys[key]
        number = self._last = max(now(), self._last + 1)
        if key is not None:
            self._keys[key] = number
        prev = None
        held = self._channels.get(event.channel, [])
        if event.store:
            prev = held[-1].number if held else self._floor
        entry = Entry(number, prev, event.channel, event.type, data)
        self._log[number] = entry
        self._bytes += len(entry.data)
        if event.store:
            self._channels.setdefault(event.channel, held).append(entry)
            if len(held) > self._retention.count:
                entry = held.pop(0)
                del self._log[entry.number]
                self._bytes -= len(entry.data)
        return number

    def _prune(self, stored: int) -> None:
        oldest = self._last - round(self._retention.age * 1_000_000)
        while self._bytes > self._retention.bytes or next(iter(self._log), oldest) < oldest:
            _, entry = self._log.popitem(last=False)
            self._bytes -= len(entry.data)
            if entry.prev is not None:
                self._floor = entry.number
                self._channels[entry.channel].pop(0)
                if not self._channels[entry.channel]:
                    del self._channels[entry.channel]
        for key, number in list(islice(self._keys.items(), 2 * stored)):
            if number < oldest:
                del self._keys[key]

    def news(self, after: int) -> tuple[str, list[Entry], int, bool]:
        """What a feed has not heard of: the epoch, events after a number, the end, and
        whether some of them are forgotten."""
        with self._lock:
            newest = takewhile(lambda e: e.number > after, reversed(self._log.values()))
            return self._epoch, [*newest][::-1], self._last, self._floor > after

    def leave(self, feed: MemoryFeed) -> None:
        with self._lock:
            if feed in self._feeds:
                self._feeds.remove(feed)

    @property
    def retention(self) -> int:
        age = round(self._retention.age * 1_000_000)
        return age if self._floor == self._birth else min(age, self._last - self._floor)


class MemoryFeed:
    def __init__(
        self,
        broker: MemoryBroker,
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
        self._closed = self._rung = False
        self.ring()

    @property
    def retention(self) -> int:
        return self._broker.retention

    def ring(self) -> None:
        """Wake the feed up. Any thread."""
        if not self._rung and not self._closed:
            self._rung = True
            try:
                self._loop.call_soon_threadsafe(self._turn, context=Context())
            except RuntimeError:
                # The loop has ended, and the feed with it.
                self._closed = True

    def watch(self, channels: cabc.Collection[str]) -> None:
        self._wanted.update(channels)
        self.ring()

    def unwatch(self, channels: cabc.Collection[str]) -> None:
        self._wanted.difference_update(channels)
        self._channels.difference_update(channels)

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
                callback(self._broker.read(channels, after=after, last=last))

        self._loop.call_soon(answer)

    def close(self) -> None:
        self._closed = True
        self._broker.leave(self)

    def _turn(self) -> None:
        self._rung = False
        if self._closed:
            return
        epoch, entries, end, forgotten = self._broker.news(self._end)
        heard = [entry for entry in entries if entry.channel in self._channels]
        self._end = end
        if epoch != self._epoch:
            self._epoch = epoch
            self._sink.deliver(epoch, [], end)
        elif forgotten:
            self._sink.missed(end)
        else:
            self._sink.deliver(epoch, heard, end)
        if self._wanted:
            wanted, self._wanted = self._wanted, set()
            self._channels |= wanted
            self._sink.watched(sorted(wanted))
