"""What the brokers for one server and for a Cluster share: publishing and reading."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import time
from functools import partial

from ..._event import Event
from ..._event import Page
from ..._event import Position
from ..base import PAGE_BYTES
from ..base import Retention
from ..base import Sink
from ..items import ItemChange
from ..items import ItemRow
from ..items import ItemsPage
from ..own import check_own
from ..own import OwnPage
from ..runs import check_own_kind
from ..runs import FORGET_ROWS
from . import calls
from . import replies
from . import scripts
from .asking import Asking
from .feed import RedisFeed
from .items import Items
from .pool import FAILED
from .pool import Place
from .pool import Silence

# How often one call may run the script that removes old events.
_MAX_PRUNES = 32
# Events and bytes of data that one call may publish. A script that stores so many takes a
# Redis about half a second, in which it answers no other client.
_MAX_EVENTS, _MAX_BYTES = 100_000, 64 * 2**20
# More than a log of Flask-Push's own has.
_ALL_BYTES = 2**30


class AnyRedisBroker:
    """The store at this URL, in redis-py's form; ``prefix=…`` in its query separates the
    keys of several apps.

    :param retention: If given, changes what the store keeps, for all who use it.
    :param timeout: Seconds that publishing may take.
    """

    def __init__(
        self, url: str, retention: Retention | None = None, timeout: float = 2
    ) -> None:
        self.url = url
        self.timeout = timeout
        self._place = Place(url)
        single = self._place.nodes is None
        self._publish = scripts.PUBLISH if single else scripts.SPUBLISH
        self._append = scripts.APPEND if single else scripts.SAPPEND
        self._retention = retention
        self._store = calls.Store(self._place.names, retention)
        self._asking = Asking(self._place, self._store, timeout)
        self._items = Items(self._asking, self._store, retention, single)
        self._pool, self._callers = self._asking.pool, self._asking.callers

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._place.name}>"

    def publish(self, events: cabc.Sequence[Event]) -> list[Position]:
        if not events:
            return []
        if len(events) > 1:
            _check_size(events)
        runs = calls.Runs(events)
        deadline = time.monotonic() + self.timeout
        args = partial(self._store.publish, runs)
        reply = self._asking.write(self._publish, args, deadline)
        if replies.PRUNE_NEXT in reply:
            self._prune(deadline)
        return runs.positions(reply)

    def change(self, changes: cabc.Sequence[Event | ItemChange]) -> list[Position]:
        if not changes:
            return []
        deadline = time.monotonic() + self.timeout
        positions, reply = self._items.change(changes, deadline)
        if replies.PRUNE_NEXT in reply:
            self._prune(deadline)
        return positions

    def append(self, log: str, data: bytes, keep: float) -> Position:
        check_own(log, data, keep)
        args = partial(self._store.append, log, data, keep)
        reply = self._asking.write(self._append, args, time.monotonic() + self.timeout)
        return Position(reply[0].decode(), int(reply[1]))

    def _prune(self, deadline: float) -> None:
        """Remove events and keys that are too old or too many."""
        channels: list[str] = []
        try:
            for _ in range(_MAX_PRUNES):
                args = partial(self._store.prune, channels)
                reply = self._asking.ask(scripts.PRUNE, args, deadline)
                channels = replies.channels_to_prune(reply)
                if not channels:
                    return
        except (*FAILED, Silence):
            pass  # The events are published. The next call will prune.

    def read(
        self,
        channels: cabc.Collection[str],
        *,
        after: int | None = None,
        last: int = 0,
        limit: int = PAGE_BYTES,
        items: bool = False,
    ) -> Page:
        channels = list(channels)
        if items:
            return self._items.page(channels, after, last, limit)
        args = partial(self._store.read, channels, after, last, limit)
        return replies.page(self._asking.read(scripts.READ, args), channels, after)

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
        return self._items.read(list(channels), after, upto, limit, kind, due)

    def due(self, limit: int = 500) -> list[ItemChange]:
        return self._items.due(limit)

    def owned(self, owner: str, *, kind: str, limit: int = 500) -> list[ItemRow]:
        return self._items.owned(owner, kind, limit)

    def find(self, channel: str, items: cabc.Sequence[str], *, kind: str = "") -> ItemsPage:
        return self._items.find(channel, items, kind)

    def forget(
        self, channel: str, upto: int, *, kind: str, limit: int = FORGET_ROWS
    ) -> bool:
        check_own_kind(kind)
        deadline = time.monotonic() + self.timeout
        return self._items.forget(kind, channel, upto, limit, deadline)

    def read_own(self, log: str, after: int = 0) -> OwnPage:
        check_own(log)
        args = partial(self._store.read_own, log, Position("", after), _ALL_BYTES)
        page, _ = replies.own_page(self._asking.read(scripts.READ_OWN, args))
        return page

    def feed(
        self,
        sink: Sink,
        loop: asyncio.AbstractEventLoop,
        *,
        after: Position | None = None,
        channels: cabc.Collection[str] = (),
    ) -> RedisFeed:
        return RedisFeed(self._place, self._retention, sink, loop, after, channels)

    def close(self) -> None:
        self._pool.close()


def _check_size(events: cabc.Sequence[Event]) -> None:
    size = sum(len(event.data) for event in events)
    if len(events) > _MAX_EVENTS or size > _MAX_BYTES:
        raise ValueError(
            f"One call can publish {_MAX_EVENTS:,} events and {_MAX_BYTES:,} bytes of"
            f" data to a Redis, and this has {len(events):,} and {size:,}. Publish them in"
            " several calls."
        )
