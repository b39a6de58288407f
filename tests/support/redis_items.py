"""Items in a Redis, and a sink that records them."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from flask_push import Position
from flask_push.brokers import Entry
from flask_push.brokers import ItemChange
from flask_push.brokers.redis.broker import AnyRedisBroker
from flask_push.testing._sink import RecordingSink
from support.redises import Redis
from support.sinks import run_with


class ItemSinkOfTests(RecordingSink):
    """Also records the horizons, and checks that they come first."""

    def __init__(self, *args: t.Any) -> None:
        self.horizons_of: dict[tuple[str, str], int] = {}
        self.without: set[str] = set()
        super().__init__(*args)

    def horizons(
        self,
        epoch: str,
        horizons: cabc.Mapping[str, int],
        without: cabc.Collection[str] = (),
    ) -> None:
        for name, number in horizons.items():
            self.expect(number > self.horizons_of.get((epoch, name), -1), "not grown")
            self.horizons_of[epoch, name] = number
        self.without -= horizons.keys()
        self.without |= set(without)

    def watched(self, channels: cabc.Sequence[str]) -> None:
        for name in channels:
            self.expect((self.epoch, name) in self.horizons_of, "watched too early")
        super().watched(channels)

    def rows(self, channel: str = "a") -> list[tuple[str, bytes]]:
        return [
            (entry.item, entry.data)
            for entry in self.entries
            if entry.item and entry.channel == channel
        ]


def set_item(broker: AnyRedisBroker, item: str, data: str, **more: t.Any) -> Position:
    return broker.change([ItemChange(more.pop("channel", "a"), item, data, **more)])[0]


def unset_item(broker: AnyRedisBroker, item: str, channel: str = "a") -> Position:
    return broker.change([ItemChange(channel, item, None)])[0]


def items(broker: AnyRedisBroker, channel: str = "a", **more: t.Any) -> dict[str, bytes]:
    rows = broker.read_items([channel], **more).rows
    return {row.item: row.data for row in rows}


def key(redis: Redis, kind: str) -> bytes:
    """The store's only key of this kind."""
    (found,) = redis.do("KEYS", f"*:{kind}*")
    return t.cast(bytes, found)


def entry_of(entry: Entry) -> tuple[str, str, bytes]:
    return entry.item, entry.type, entry.data


def run(
    broker: AnyRedisBroker,
    test: cabc.Callable[[ItemSinkOfTests], cabc.Awaitable[None]],
) -> None:
    run_with(ItemSinkOfTests, broker, test, "a", seconds=60)
