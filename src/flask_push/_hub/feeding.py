"""A feed, for as long as a hub uses it.

It stands between the two. It guards the feed's calls, so that no exception of the hub
reaches the feed. After the hub has given the feed up, it ignores the feed's calls, because
they concern a log that no longer exists.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import sys
import typing as t
from functools import partial

from .._event import Entry
from .._event import Page
from .._event import Position
from ..brokers import Broker
from ..brokers import Feed
from ..brokers import ItemFeed
from ..brokers import ItemSink
from ..brokers import ItemsPage
from ..brokers import OwnPage
from ..brokers import OwnSink
from ..brokers import Sink
from ..brokers import TellsTrouble
from ..brokers import TimedSink


class Receiver(Sink, OwnSink, ItemSink, TimedSink, t.Protocol):
    """A hub."""


class Feeding:
    """Acts as a feed for the hub, and as the hub for a feed.

    :param guard: Calls a function, and handles its exceptions.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sink: Receiver,
        guard: cabc.Callable[..., None],
    ) -> None:
        #: How many pages have been asked for and are not here yet. The connections that
        #: need them may have left.
        self.asked = 0
        self._loop = loop
        self._sink = sink
        self._guard = guard
        self._feed: Feed | None = None
        self._over = False

    def open(
        self,
        broker: Broker,
        after: Position | None = None,
        channels: cabc.Collection[str] = (),
    ) -> None:
        """Open the feed, unless it was given up before. Until then this does nothing."""
        if not self._over:
            feed = broker.feed(self, self._loop, after=after, channels=channels)
            self._feed = feed

    def give_up(self) -> None:
        """Close the feed soon, because the feed itself may be calling."""
        self._over = True
        if self._feed is not None:
            self._loop.call_soon(self._feed.close)

    def close(self) -> None:
        self._over = True
        if self._feed is not None:
            self._feed.close()

    @property
    def trouble(self) -> str:
        """Why the store can't be read now, if the feed says so; empty if it can."""
        if self._feed is None:
            return "the hub has failed, and will open its feed again soon"
        return self._feed.trouble if isinstance(self._feed, TellsTrouble) else ""

    # As a feed.

    @property
    def retention(self) -> int:
        return sys.maxsize if self._feed is None else self._feed.retention

    def watch(self, channels: cabc.Collection[str]) -> None:
        if self._feed is not None:
            self._feed.watch(channels)

    def unwatch(self, channels: cabc.Collection[str]) -> None:
        if self._feed is not None:
            self._feed.unwatch(channels)

    def read(
        self,
        channels: cabc.Collection[str],
        callback: cabc.Callable[[Page], None],
        *,
        after: int | None = None,
        last: int = 0,
    ) -> None:
        if self._feed is not None:
            answer = partial(self._answer, callback)
            self._feed.read(channels, answer, after=after, last=last)
            self.asked += 1

    def read_items(
        self,
        channels: cabc.Collection[str],
        callback: cabc.Callable[[ItemsPage], None],
        *,
        after: int,
        upto: int | None = None,
    ) -> None:
        feed = self._feed
        if feed is not None:
            assert isinstance(feed, ItemFeed), f"{feed!r} gives items and reads none."
            answer = partial(self._answer, callback)
            feed.read_items(channels, answer, after=after, upto=upto)
            self.asked += 1

    def _answer(self, callback: cabc.Callable[[t.Any], None], page: t.Any) -> None:
        self.asked -= 1
        self._call(callback, page)

    # As a hub.

    def deliver(self, epoch: str, entries: cabc.Sequence[Entry], end: int | None) -> None:
        self._call(self._sink.deliver, epoch, entries, end)

    def missed(self, end: int) -> None:
        self._call(self._sink.missed, end)

    def watched(self, channels: cabc.Sequence[str]) -> None:
        self._call(self._sink.watched, channels)

    def own(self, log: str, page: OwnPage) -> None:
        self._call(self._sink.own, log, page)

    def horizons(
        self,
        epoch: str,
        horizons: cabc.Mapping[str, int],
        without: cabc.Collection[str] = (),
    ) -> None:
        self._call(self._sink.horizons, epoch, horizons, without)

    def timed(self, some: bool) -> None:
        self._call(self._sink.timed, some)

    def _call(self, what: cabc.Callable[..., None], *args: t.Any) -> None:
        if not self._over:
            self._guard(what, *args)
