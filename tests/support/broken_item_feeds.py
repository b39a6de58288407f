"""Brokers whose feeds break one promise about items each, for the tests of the contract."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from flask_push import Event
from flask_push import Position
from flask_push._event import Entry
from flask_push._event import OwnChannel
from flask_push.brokers import ItemChange
from flask_push.brokers import ItemSink
from flask_push.brokers import Page
from flask_push.brokers import Sink
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.memory.feed import MemoryFeed
from flask_push.brokers.memory.items import Items


class Between:
    """Stands between a feed and a sink that takes items."""

    def __init__(self, sink: t.Any) -> None:
        self.sink = sink
        self.missed, self.watched = sink.missed, sink.watched

    def horizons(
        self, epoch: str, horizons: dict[str, int], without: cabc.Collection[str] = ()
    ) -> None:
        self.sink.horizons(epoch, horizons, without)

    def deliver(self, epoch: str, entries: cabc.Sequence[Entry], end: int | None) -> None:
        self.sink.deliver(epoch, self.alter(entries), end)

    def alter(self, entries: cabc.Sequence[Entry]) -> list[Entry]:
        return list(entries)


class Giving(MemoryBroker):
    """Gives its items to something between."""

    between: type[Between] = Between

    def feed(self, sink: Sink, *args: t.Any, **more: t.Any) -> MemoryFeed:
        if isinstance(sink, ItemSink):
            sink = self.between(sink)
        return super().feed(sink, *args, **more)


class _AllKinds(Items):
    def unread(self, after: int, upto: int) -> dict[str, list[Entry]]:
        found: dict[str, list[Entry]] = {}
        for name, entries in super().unread(after, upto).items():
            _, channel = OwnChannel.parts(name)
            found.setdefault(channel, []).extend(
                entry._replace(channel=channel) for entry in entries
            )
        return found


class AllKinds(MemoryBroker):
    """Delivers items of any kind with the app's."""

    def _begin(self) -> None:
        super()._begin()
        self._items = _AllKinds(self._retention, self._birth)


class _ItemsLast(Between):
    def alter(self, entries: cabc.Sequence[Entry]) -> list[Entry]:
        return sorted(entries, key=lambda entry: bool(entry.item))


class ItemsLast(Giving):
    between = _ItemsLast


class Unwatching(MemoryBroker):
    """Its feeds go on to deliver channels that are no longer watched."""

    def feed(self, sink: Sink, *args: t.Any, **more: t.Any) -> MemoryFeed:
        feed = super().feed(sink, *args, **more)
        feed.unwatch = lambda channels: None  # type: ignore[method-assign]
        return feed


class _Silent(Between):
    def horizons(self, *args: t.Any) -> None:
        pass


class Silent(Giving):
    """Gives no horizons."""

    between = _Silent


class _Once(Between):
    def __init__(self, sink: t.Any) -> None:
        super().__init__(sink)
        self.given: set[str] = set()

    def horizons(
        self, epoch: str, horizons: dict[str, int], without: cabc.Collection[str] = ()
    ) -> None:
        new = {name: horizons[name] for name in horizons.keys() - self.given}
        self.given |= new.keys()
        if new:
            self.sink.horizons(epoch, new, [name for name in without if name in new])


class Once(Giving):
    """Gives no horizon again."""

    between = _Once


class _Without(Between):
    def horizons(
        self, epoch: str, horizons: dict[str, int], without: cabc.Collection[str] = ()
    ) -> None:
        self.sink.horizons(epoch, horizons, horizons.keys())


class Without(Giving):
    """Says that no channel has a row."""

    between = _Without


class _Stored(Between):
    before = 0

    def alter(self, entries: cabc.Sequence[Entry]) -> list[Entry]:
        return [e._replace(prev=e.number - 1) if e.item else e for e in entries]


class Stored(Giving):
    """A row that a feed has read names one that was superseded."""

    between = _Stored


class WithoutItems(MemoryBroker):
    """The pages of its feeds have no items."""

    def feed(self, sink: Sink, *args: t.Any, **more: t.Any) -> MemoryFeed:
        feed = super().feed(sink, *args, **more)

        def read(
            channels: t.Any, callback: cabc.Callable[[Page], None], **where: t.Any
        ) -> None:
            feed._loop.call_soon(lambda: callback(self.read(channels, **where)))

        feed.read = read  # type: ignore[method-assign]
        return feed


class WithoutDue(MemoryBroker):
    """Its feeds leave out rows that are due."""

    def read_items(self, channels: cabc.Collection[str], **where: t.Any) -> t.Any:
        # Only a feed asks for them, apart from tests.
        if "after" in where:
            where["due"] = False
        return super().read_items(channels, **where)


class _Losing(Between):
    count = 0

    def alter(self, entries: cabc.Sequence[Entry]) -> list[Entry]:
        kept = []
        for entry in entries:
            self.count += bool(entry.item)
            kept += [entry] * (not entry.item or self.count % 2 > 0)
        return kept


class Losing(Giving):
    """Loses some rows on their way to hubs."""

    between = _Losing


class _OneEpoch(_Once):
    epoch = ""

    def horizons(self, epoch: str, *args: t.Any) -> None:
        self.epoch = self.epoch or epoch
        if epoch == self.epoch:
            self.sink.horizons(epoch, *args)


class OneEpoch(Giving):
    """Gives no horizons of later epochs."""

    between = _OneEpoch


class _Telling:
    def __init__(self, sink: Sink) -> None:
        self.deliver, self.missed, self.watched = sink.deliver, sink.missed, sink.watched

    def horizons(self, *args: t.Any) -> None:
        pass


class Telling(MemoryBroker):
    """Gives items to each sink."""

    def feed(self, sink: Sink, *args: t.Any, **more: t.Any) -> MemoryFeed:
        sink = sink if isinstance(sink, ItemSink) else t.cast(Sink, _Telling(sink))
        return super().feed(sink, *args, **more)


class Resting(MemoryBroker):
    """A change wakes no feed."""

    def change(self, changes: cabc.Sequence[Event | ItemChange]) -> list[Position]:
        feeds, self._feeds = self._feeds, []
        try:
            return super().change(changes)
        finally:
            self._feeds = feeds


class Untimed(Giving):
    """Never reports that rows have a time to live."""


class _AlwaysTimed(Between):
    def timed(self, some: bool) -> None:
        if some:
            self.sink.timed(some)


class AlwaysTimed(Giving):
    """Never reports that no row has a time to live any more."""

    between = _AlwaysTimed
