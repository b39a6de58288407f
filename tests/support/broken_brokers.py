"""Brokers that break one promise each, for the tests of the contract that finds them."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import dataclasses
import logging
import threading
import time
import typing as t

import pytest

from flask_push import Event
from flask_push import Position
from flask_push._event import Entry
from flask_push.brokers import Page
from flask_push.brokers import Proof
from flask_push.brokers import Retention
from flask_push.brokers import Sink
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.memory.feed import MemoryFeed
from flask_push.testing import BrokerContract
from flask_push.testing._sink import until


def names_of(contract: type) -> set[str]:
    """The names of the tests that a class adds."""
    return {name for name in vars(contract) if name.startswith("test_")}


class OpenMemory:
    """Opens one broker of a kind, as a contract asks for it."""

    kind = MemoryBroker
    shared = False
    _opened: MemoryBroker | None = None

    def open(self, retention: Retention | None = None) -> MemoryBroker:
        self._opened = self._opened or self.kind(retention)
        return self._opened


class Trial:
    """Runs single tests of a contract with broken brokers.

    :param errors: What a test raises that finds one.
    """

    def __init__(self, contract: type[OpenMemory], *errors: type[Exception]) -> None:
        self._contract, self._errors = contract, errors

    def check(self, test: str, broker: type[MemoryBroker], *, shared: bool = False) -> None:
        """Run one test of the contract with this kind of broker."""
        contract = self._contract()
        contract.kind, contract.shared = broker, shared
        getattr(contract, test)()

    def find(
        self,
        test: str,
        broker: type[MemoryBroker],
        monkeypatch: pytest.MonkeyPatch,
        *,
        shared: bool = False,
    ) -> None:
        """The test fails with this kind of broker."""
        # It waits for what the broker will never do.
        monkeypatch.setattr(until, "__defaults__", (0.5,))
        # The loop logs what a sink does not accept.
        monkeypatch.setattr(logging.getLogger("asyncio"), "disabled", True)
        with pytest.raises(self._errors):
            self.check(test, broker, shared=shared)


class Contract(OpenMemory, BrokerContract):
    """All tests of brokers."""


TRIAL = Trial(Contract, AssertionError, ValueError)
check, find = TRIAL.check, TRIAL.find


# What is stored.


class Reversing(MemoryBroker):
    def publish(self, events: cabc.Sequence[Event]) -> list[Position]:
        return super().publish(events[::-1])[::-1]


class OwnNumbers(MemoryBroker):
    """Its numbers are no microseconds."""

    def publish(self, events: cabc.Sequence[Event]) -> list[Position]:
        return [Position(p.epoch, p.number // 1000) for p in super().publish(events)]


class Nonatomic(MemoryBroker):
    def publish(self, events: cabc.Sequence[Event]) -> list[Position]:
        return [super(Nonatomic, self).publish([event])[0] for event in events]


class Keyless(MemoryBroker):
    def publish(self, events: cabc.Sequence[Event]) -> list[Position]:
        return super().publish([dataclasses.replace(event, key=None) for event in events])


class OneThread(MemoryBroker):
    """Events of other threads are lost."""

    def publish(self, events: cabc.Sequence[Event]) -> list[Position]:
        if threading.current_thread() is threading.main_thread():
            return super().publish(events)
        return [Position("abcde", self._last + 1 + n) for n in range(len(events))]


class ClosedForGood(MemoryBroker):
    def close(self) -> None:
        self._begin()


class StoringAll(MemoryBroker):
    def publish(self, events: cabc.Sequence[Event]) -> list[Position]:
        return super().publish([dataclasses.replace(event, store=True) for event in events])


# What is read.


class Reading(MemoryBroker):
    """Changes what is read."""

    def read(self, channels: cabc.Collection[str], **where: t.Any) -> Page:
        return self.alter(super().read(channels, **where))

    def alter(self, page: Page) -> Page:
        raise NotImplementedError


class EachEntry(Reading):
    def alter(self, page: Page) -> Page:
        return page._replace(entries=[self.entry(entry) for entry in page.entries])

    def entry(self, entry: Entry) -> Entry:
        raise NotImplementedError


class WithoutPredecessors(EachEntry):
    def entry(self, entry: Entry) -> Entry:
        return entry._replace(prev=0)


class Normalizing(EachEntry):
    def entry(self, entry: Entry) -> Entry:
        return entry._replace(data=entry.data.replace(b"\r\n", b"\n"))


class WithoutExclude(EachEntry):
    def entry(self, entry: Entry) -> Entry:
        return entry._replace(exclude="")


class Reaching(Reading):
    """Says that each page reaches to the end."""

    def alter(self, page: Page) -> Page:
        return page._replace(reach=page.end)


class Overproving(Reading):
    """Proves that its channels are whole since ever."""

    def alter(self, page: Page) -> Page:
        return page._replace(proofs=dict.fromkeys(page.proofs, Proof(0)))


class OffByOne(MemoryBroker):
    def read(self, channels: cabc.Collection[str], **where: t.Any) -> Page:
        if where.get("after"):
            where["after"] -= 1
        return super().read(channels, **where)


class OneMore(MemoryBroker):
    def read(self, channels: cabc.Collection[str], **where: t.Any) -> Page:
        if where.get("last"):
            where["last"] += 1
        return super().read(channels, **where)


class FewChannels(MemoryBroker):
    def read(self, channels: cabc.Collection[str], **where: t.Any) -> Page:
        return super().read(list(channels)[:20], **where)


# What is kept.


class Keeping(MemoryBroker):
    """Keeps more, or for longer, than it should."""

    limits: dict[str, t.Any] = {}

    def __init__(self, retention: Retention | None = None) -> None:
        super().__init__(dataclasses.replace(retention or Retention(), **self.limits))


class AllEvents(Keeping):
    limits = {"count": 10**9}


class AllBytes(Keeping):
    limits = {"bytes": 10**9}


class ForEver(Keeping):
    limits = {"age": 10**9}


class RefusingLarge(MemoryBroker):
    def publish(self, events: cabc.Sequence[Event]) -> list[Position]:
        if any(len(event.data) > self._retention.bytes for event in events):
            raise ValueError("It is too large.")
        return super().publish(events)


class WallClock(MemoryBroker):
    """Its numbers are the time of a clock that may be set."""

    def _begin(self) -> None:
        super()._begin()
        self._clock: t.Any = self

    def now(self, last: int) -> int:
        return time.time_ns() // 1000


class Jumping(WallClock):
    """Each jump of the clock counts as time that has passed."""

    def _begin(self) -> None:
        super()._begin()
        self._wall = time.time_ns() // 1000

    def now(self, last: int) -> int:
        before, self._wall = self._wall, time.time_ns() // 1000
        return last + abs(self._wall - before)


# What feeds deliver.


class Altered:
    """Between a broker and a hub: changes the entries that are delivered."""

    def __init__(
        self, sink: Sink, change: cabc.Callable[[cabc.Sequence[Entry]], list[Entry]]
    ) -> None:
        self._sink = sink
        self._change = change
        self.missed, self.watched = sink.missed, sink.watched

    def deliver(self, epoch: str, entries: cabc.Sequence[Entry], end: int | None) -> None:
        self._sink.deliver(epoch, self._change(entries), end)


class Delivering(MemoryBroker):
    def feed(self, sink: Sink, *args: t.Any, **more: t.Any) -> MemoryFeed:
        return super().feed(Altered(sink, self.alter), *args, **more)

    def alter(self, entries: cabc.Sequence[Entry]) -> list[Entry]:
        raise NotImplementedError


class OneType(Delivering):
    def alter(self, entries: cabc.Sequence[Entry]) -> list[Entry]:
        return [entry._replace(type="message") for entry in entries]


class DeliveredToAll(Delivering):
    def alter(self, entries: cabc.Sequence[Entry]) -> list[Entry]:
        return [entry._replace(exclude="") for entry in entries]


class Losing(Delivering):
    """Loses some events on their way to hubs."""

    count = 0

    def alter(self, entries: cabc.Sequence[Entry]) -> list[Entry]:
        kept = []
        for entry in entries:
            self.count += 1
            kept += [entry] * (self.count % 10 > 0)
        return kept


class Unwatching(MemoryBroker):
    """Its feeds go on to deliver channels that are no longer watched."""

    def feed(self, sink: Sink, *args: t.Any, **more: t.Any) -> MemoryFeed:
        feed = super().feed(sink, *args, **more)
        feed.unwatch = lambda channels: None  # type: ignore[method-assign]
        return feed


class ReadingAll(MemoryBroker):
    """Its feeds read all of the history."""

    def feed(self, sink: Sink, *args: t.Any, **more: t.Any) -> MemoryFeed:
        feed = super().feed(sink, *args, **more)
        read = feed.read

        def read_all(channels: t.Any, callback: t.Any, **where: t.Any) -> None:
            read(channels, callback, after=0)

        feed.read = read_all  # type: ignore[method-assign]
        return feed


class Starting(MemoryBroker):
    """Its feeds always begin at the end."""

    def feed(
        self, sink: Sink, loop: asyncio.AbstractEventLoop, **more: t.Any
    ) -> MemoryFeed:
        return super().feed(sink, loop, channels=more.get("channels", ()))


class NeverMissing(MemoryBroker):
    """Its feeds deliver what is left, as if it were all."""

    def unread(self, after: int) -> tuple[str, list[Entry], int, bool]:
        return *super().unread(after)[:3], False
