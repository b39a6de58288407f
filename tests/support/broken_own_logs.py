"""Brokers whose own logs break one promise each, for the tests of the contract."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import threading
import typing as t
from functools import partial

from flask_push import Event
from flask_push import Position
from flask_push._event import Entry
from flask_push.brokers import OwnEntry
from flask_push.brokers import OwnPage
from flask_push.brokers import OwnSink
from flask_push.brokers import Sink
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.memory.feed import MemoryFeed
from flask_push.brokers.memory.own import OwnLog
from flask_push.testing import BrokerContract
from flask_push.testing import OwnLogContract
from support.broken_brokers import OpenMemory
from support.broken_brokers import Trial
from support.failing import Store


class Contract(OpenMemory, OwnLogContract, BrokerContract):
    """In the order in which a broker's author inherits them."""

    def begin_again(self) -> bool:
        assert self._opened is not None
        Store.begin_again(self._opened)
        return True


TRIAL = Trial(Contract, AssertionError)
check, find = TRIAL.check, TRIAL.find


# Storing.


class Normalizing(MemoryBroker):
    def append(self, log: str, data: bytes, keep: float) -> Position:
        return super().append(log, data.replace(b"\r\n", b"\n"), keep)


class ReadingAll(MemoryBroker):
    def read_own(self, log: str, after: int = 0) -> OwnPage:
        return super().read_own(log)


class AsEvents(MemoryBroker):
    """Stores entries as events of a channel with the log's name."""

    def append(self, log: str, data: bytes, keep: float) -> Position:
        super().append(log, data, keep)
        return self.publish([Event(log, data.decode())])[0]


class OneLog(MemoryBroker):
    def _own_log(self, log: str) -> OwnLog:
        return super()._own_log("all")


class Unchecked(MemoryBroker):
    def append(self, log: str, data: bytes, keep: float) -> Position:
        try:
            return super().append(log, data, keep)
        except ValueError:
            return super().append("other", b"", 60)


class OneThread(MemoryBroker):
    """Entries of other threads are lost."""

    def append(self, log: str, data: bytes, keep: float) -> Position:
        if threading.current_thread() is threading.main_thread():
            return super().append(log, data, keep)
        return Position("abcde", self._last)


class Forgetting(MemoryBroker):
    """It loses the own logs when it is closed."""

    def close(self) -> None:
        self._own.clear()


# Expiring.


class _Endless(OwnLog):
    def append(self, number: int, data: bytes, keep: float) -> None:
        self._entries.append((number, OwnEntry(number, data)))


class Endless(MemoryBroker):
    def _own_log(self, log: str) -> OwnLog:
        return self._own.setdefault(log, _Endless(self._birth))


class Overproving(MemoryBroker):
    """Says that no entry has expired."""

    def read_own(self, log: str, after: int = 0) -> OwnPage:
        return super().read_own(log, after)._replace(since=after)


class _OutOfOrder(OwnLog):
    def append(self, number: int, data: bytes, keep: float) -> None:
        super().append(number, data, keep)
        alive = [pair for pair in self._entries if pair[0] >= number]
        self._entries.clear()
        self._entries.extend(alive)


class OutOfOrder(MemoryBroker):
    """Each entry expires after its own time."""

    def _own_log(self, log: str) -> OwnLog:
        return self._own.setdefault(log, _OutOfOrder(self._birth))


class WithTheEvents(MemoryBroker):
    """Own logs expire with events."""

    def _drop(self) -> None:
        super()._drop()
        self._own.clear()


# Feeds.


class Between:
    """Stands between a feed and a sink, and changes the pages that the sink receives."""

    def __init__(self, sink: t.Any, after: Position | None) -> None:
        self.sink = sink
        self.begins_after = after

    def deliver(self, epoch: str, entries: cabc.Sequence[Entry], end: int | None) -> None:
        self.sink.deliver(epoch, entries, end)

    def missed(self, end: int) -> None:
        self.sink.missed(end)

    def watched(self, channels: cabc.Sequence[str]) -> None:
        self.sink.watched(channels)

    def own(self, log: str, page: OwnPage) -> None:
        self.sink.own(log, page)


class Giving(MemoryBroker):
    between: type[Between] = Between

    def feed(
        self,
        sink: Sink,
        loop: asyncio.AbstractEventLoop,
        *,
        after: Position | None = None,
        channels: cabc.Collection[str] = (),
    ) -> MemoryFeed:
        if isinstance(sink, OwnSink):
            sink = self.between(sink, after)
        return super().feed(sink, loop, after=after, channels=channels)


class _Empty(Between):
    is_first = True

    def own(self, log: str, page: OwnPage) -> None:
        self.sink.own(log, page._replace(entries=[]) if self.is_first else page)
        self.is_first = False


class BeginningEmpty(Giving):
    """The first page has no entries."""

    between = _Empty


class _Continuing(_Empty):
    def own(self, log: str, page: OwnPage) -> None:
        if self.begins_after is None:
            self.sink.own(log, page)
        else:
            super().own(log, page)


class Continuing(Giving):
    """A feed that continues gives what is new."""

    between = _Continuing


class Silent(MemoryBroker):
    """Appending wakes no feed."""

    def append(self, log: str, data: bytes, keep: float) -> Position:
        feeds, self._feeds = self._feeds, []
        position = super().append(log, data, keep)
        self._feeds = feeds
        return position


class _Late(Between):
    late: list[tuple[str, OwnPage]] | None = None

    def own(self, log: str, page: OwnPage) -> None:
        if self.late is None:
            self.late = []
            self.sink.own(log, page)
        else:
            self.late.append((log, page))

    def deliver(self, epoch: str, entries: cabc.Sequence[Entry], end: int | None) -> None:
        super().deliver(epoch, entries, end)
        while self.late:
            self.sink.own(*self.late.pop(0))


class Late(Giving):
    """Gives entries after the events that follow them."""

    between = _Late


class Hasty(MemoryBroker):
    """Hands over pages without a look at the own logs."""

    def feed(self, sink: Sink, *args: t.Any, **more: t.Any) -> MemoryFeed:
        feed = super().feed(sink, *args, **more)

        def read(channels: t.Any, callback: t.Any, **where: t.Any) -> None:
            answer = partial(self.read, channels, **where)
            feed._loop.call_soon(lambda: callback(answer()))

        feed.read = read  # type: ignore[method-assign]
        return feed


class _Unsaying(Between):
    end = 0

    def own(self, log: str, page: OwnPage) -> None:
        self.sink.own(log, page._replace(since=self.end or page.since))
        self.end = page.end


class Unsaying(Giving):
    """Each page says that it begins where the one before it ended."""

    between = _Unsaying


class _OneEpoch(Between):
    epoch = ""

    def own(self, log: str, page: OwnPage) -> None:
        self.epoch = self.epoch or page.epoch
        if page.epoch == self.epoch:
            self.sink.own(log, page)


class OneEpoch(Giving):
    """Gives nothing of later epochs."""

    between = _OneEpoch


class Closing(MemoryBroker):
    """Appending ends the feeds of other sinks."""

    def append(self, log: str, data: bytes, keep: float) -> Position:
        for feed in list(self._feeds):
            if not feed._own:
                feed.close()
        return super().append(log, data, keep)
