"""A store whose answers a hub gets when a test says so."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from flask_push.brokers import ItemsPage
from flask_push.brokers import Sink
from flask_push.brokers._items import as_watched
from flask_push.brokers._items import one_kind
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.memory.feed import MemoryFeed
from flask_push.testing._sink import until


class HeldFeed(MemoryFeed):
    """Reads small pages of items at once, and hands them over when a test says so."""

    def read_items(
        self,
        channels: cabc.Collection[str],
        callback: cabc.Callable[[ItemsPage], None],
        *,
        after: int = 0,
        upto: int | None = None,
    ) -> None:
        broker, (kind, names) = t.cast(HeldBroker, self._broker), one_kind(channels)
        where: dict[str, t.Any] = {"after": after, "upto": upto, "limit": broker.limit}
        page = broker.read_items(names, kind=kind, due=True, **where)
        broker.asked.append((as_watched(page, kind), callback))


class HeldBroker(MemoryBroker):
    def __init__(self, limit: int = 500) -> None:
        super().__init__()
        #: Of the bytes of a page.
        self.limit = limit
        #: Pages that wait to be handed over.
        self.asked: list[tuple[ItemsPage, cabc.Callable[[ItemsPage], None]]] = []
        #: How many were handed over.
        self.answered = 0

    def feed(self, sink: Sink, loop: t.Any, **more: t.Any) -> MemoryFeed:
        feed = HeldFeed(self, sink, loop, more.get("after"), more.get("channels", ()))
        self._feeds.append(feed)
        return feed

    def answer(self) -> None:
        page, callback = self.asked.pop(0)
        self.answered += 1
        callback(page)

    def answer_all(self) -> None:
        while self.asked:
            self.answer()

    async def is_asked(self, count: int = 1) -> None:
        await until(lambda: len(self.asked) >= count)
