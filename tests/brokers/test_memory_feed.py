"""The feed of a store in memory reads the own logs in each epoch."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t

from support.failing import Store

from flask_push import Event
from flask_push.brokers import ItemChange
from flask_push.brokers import OWN_LOGS
from flask_push.brokers import Retention
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.memory.feed import MemoryFeed
from flask_push.testing._item_sink import ItemRecordingSink
from flask_push.testing._own_sink import OwnRecordingSink
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until

(LOG,) = OWN_LOGS


class Again(Store):
    """Its feeds reach the hub."""

    def feed(self, *args: t.Any, **more: t.Any) -> MemoryFeed:
        return MemoryBroker.feed(self, *args, **more)


def run(test: cabc.Callable[[Again, OwnRecordingSink], cabc.Awaitable[None]]) -> None:
    async def main() -> None:
        broker = Again()
        hub = OwnRecordingSink(broker)
        await hub.watch("a")
        try:
            await test(broker, hub)
        finally:
            hub.feed.close()

    asyncio.run(main())


def test_a_new_epoch_begins_with_all_of_the_own_log() -> None:
    async def test(broker: Again, hub: OwnRecordingSink) -> None:
        before = hub.epoch
        number = broker.append(LOG, b"kept", 60).number
        await until(lambda: hub.end >= number)
        broker.begin_again()
        # The sink fails if the epoch is delivered first.
        await until(lambda: hub.epoch != before)
        assert [entry.data for entry in hub.entries_of(LOG)] == [b"kept"]
        last = broker.append(LOG, b"new", 60).number
        await until(lambda: hub.end >= last)
        assert [entry.data for entry in hub.entries_of(LOG)] == [b"kept", b"new"]

    run(test)


def test_pages_without_anything_new_are_not_given() -> None:
    async def test(broker: Again, hub: OwnRecordingSink) -> None:
        for n in range(5):
            broker.publish([Event("a", str(n))])
            await until(lambda: len(hub.entries) > n)  # noqa: B023
        assert len(hub.pages[hub.epoch, LOG]) == 1

    run(test)


def test_a_feed_does_not_read_the_own_logs_for_a_sink_that_takes_none() -> None:
    class Unread(Again):
        def read_own(self, log: str, after: int = 0) -> t.NoReturn:
            raise AssertionError

    async def main() -> None:
        broker = Unread()
        hub = RecordingSink(broker)
        await hub.watch("a")
        last = broker.append(LOG, b"x", 60)
        await until(lambda: hub.end >= last.number)
        await hub.read("a")
        hub.feed.close()

    asyncio.run(main())


def test_a_channel_that_is_forgotten_raises_the_horizons_of_unknown_channels() -> None:
    class Later:
        def now(self, last: int) -> int:
            return last + 2_000_000

    async def main() -> None:
        broker = MemoryBroker(Retention(age=1))
        hub = ItemRecordingSink(broker)
        await hub.watch("a", "b")
        _, gone = broker.change([ItemChange("a", "i", "x"), ItemChange("a", "i", None)])
        await until(lambda: hub.end >= gone.number)
        clock: t.Any = Later()
        broker._clock = clock
        (last,) = broker.change([ItemChange("c", "i", "x")])
        await until(lambda: hub.end >= last.number)
        assert hub.known == {"a": gone.number, "b": gone.number}
        assert hub.known == broker.read_items("ab").horizons
        hub.feed.close()

    asyncio.run(main())
