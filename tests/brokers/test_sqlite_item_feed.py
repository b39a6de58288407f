"""What SQLite's feed gives to a sink that takes items, and to one that does not."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t
from pathlib import Path

import pytest
from support.sinks import run_with
from support.sqlite_files import broker as broker
from support.sqlite_files import path as path
from support.sqlite_files import remove
from support.sqlite_files import say
from support.sqlite_files import store
from support.sqlite_files import traced
from support.sqlite_items import item

from flask_push import Event
from flask_push.brokers import ItemsPage
from flask_push.brokers import Retention
from flask_push.brokers.sqlite import item_reads
from flask_push.brokers.sqlite import SqliteBroker
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until


class ItemHub(RecordingSink):
    """Records the calls of a feed in their order."""

    def __init__(self, *args: t.Any) -> None:
        self.calls: list[tuple[str, t.Any]] = []
        super().__init__(*args)

    def horizons(
        self,
        epoch: str,
        horizons: cabc.Mapping[str, int],
        without: cabc.Collection[str] = (),
    ) -> None:
        self.calls.append(("horizons", (epoch, dict(horizons), list(without))))

    def deliver(self, epoch: str, entries: t.Any, end: int | None) -> None:
        self.calls.append(("deliver", epoch))
        super().deliver(epoch, entries, end)

    def missed(self, end: int) -> None:
        self.calls.append(("missed", end))
        super().missed(end)

    def watched(self, channels: cabc.Sequence[str]) -> None:
        self.calls.append(("watched", list(channels)))
        super().watched(channels)

    def take(self) -> list[tuple[str, t.Any]]:
        """The calls since the last time, without those that deliver again."""
        calls, self.calls = self.calls, []
        return calls

    async def items(self, *channels: str, **where: int) -> ItemsPage:
        page: asyncio.Future[ItemsPage] = asyncio.get_running_loop().create_future()
        feed: t.Any = self.feed
        feed.read_items(channels, page.set_result, **where)
        return await asyncio.wait_for(page, 10)


_Test = cabc.Callable[[t.Any], cabc.Awaitable[None]]


def run(broker: SqliteBroker, test: _Test, sink: type[RecordingSink] = ItemHub) -> None:
    run_with(sink, broker, test)


def horizon_of(broker: SqliteBroker, channel: str = "a") -> int:
    return broker.read_items([channel]).horizons[channel]


# Horizons.


def test_horizons_come_before_a_channel_is_watched(broker: SqliteBroker) -> None:
    async def test(hub: ItemHub) -> None:
        broker.change([item("x", "1")])
        birth = horizon_of(broker)
        await hub.watch("a", "b")
        calls = hub.take()
        epoch = hub.epoch
        told = ("horizons", (epoch, {"a": birth, "b": birth}, ["b"]))
        at = calls.index(told)
        assert calls[at + 1 : at + 3] == [("deliver", epoch), ("watched", ["a", "b"])]
        assert sum(kind == "horizons" for kind, _ in calls) == 1

    run(broker, test)


def test_a_channel_that_is_watched_in_a_call_waits_for_its_horizon(
    broker: SqliteBroker,
) -> None:
    async def test(hub: ItemHub) -> None:
        await until(lambda: hub.end)
        deliver = hub.deliver

        def watch_more(*args: t.Any) -> None:
            deliver(*args)
            hub.feed.watch(["b"])

        t.cast(t.Any, hub).deliver = watch_more
        hub.take()
        hub.feed.watch(["a"])
        await until(lambda: "b" in hub.watching)
        told = [value for kind, value in hub.take() if kind != "deliver"]
        birth = horizon_of(broker)
        one, two = ((hub.epoch, {name: birth}, [name]) for name in "ab")
        assert told[:4] == [one, ["a"], two, ["b"]]

    run(broker, test)


def test_a_feed_that_continues_begins_with_all_horizons(broker: SqliteBroker) -> None:
    async def test(hub: ItemHub) -> None:
        await hub.watch("a", "b")
        hub.feed.close()
        broker.change([item("x", "1"), Event("a", "1")])
        second = ItemHub(broker, hub)
        await until(lambda: second.entries)
        birth = horizon_of(broker)
        told = ("horizons", (hub.epoch, {"a": birth, "b": birth}, ["b"]))
        assert second.take()[:2] == [told, ("deliver", hub.epoch)]
        assert [entry.item for entry in second.entries] == ["x", ""]
        second.feed.close()

    run(broker, test)


def test_a_new_epoch_begins_with_all_horizons(path: Path, broker: SqliteBroker) -> None:
    async def test(hub: ItemHub) -> None:
        await hub.watch("a", "b")
        (number,) = broker.change([item("x", "1")])
        await until(lambda: hub.end >= number.number)
        before = hub.epoch
        hub.take()
        remove(path)
        await until(lambda: hub.epoch != before)
        calls = [call for call in hub.take() if call != ("deliver", before)]
        birth = horizon_of(broker)
        told = ("horizons", (hub.epoch, {"a": birth, "b": birth}, ["a", "b"]))
        assert calls[:2] == [told, ("deliver", hub.epoch)]
        broker.change([item("x", "2")])
        await until(lambda: hub.received("a") == [b"1", b"2"])

    run(broker, test)


def test_a_horizon_that_was_raised_comes_before_the_rows(path: Path) -> None:
    broker = SqliteBroker(path, Retention(age=0.001))

    async def test(hub: ItemHub) -> None:
        broker.change([item("x", "1"), item("y", "1"), item("x", "1", "b")])
        await hub.watch("a", "b")
        (unset,) = broker.change([item("x", None)])
        await until(lambda: hub.end >= unset.number)
        hub.take()
        await asyncio.sleep(0.002)
        (last,) = broker.change([item("y", "2")])
        await until(lambda: hub.end >= last.number)
        assert horizon_of(broker) == unset.number
        calls = [value for kind, value in hub.take() if kind == "horizons"]
        assert calls == [(hub.epoch, {"a": unset.number}, [])]
        assert hub.entries[-1].data == b"2"
        # It is not given again.
        (last,) = broker.change([item("y", "3")])
        await until(lambda: hub.end >= last.number)
        assert "horizons" not in [kind for kind, _ in hub.take()]

    run(broker, test)
    broker.close()


def test_a_feed_that_missed_events_has_the_horizons(path: Path) -> None:
    broker = SqliteBroker(path, Retention(age=0.001))

    async def test(hub: ItemHub) -> None:
        broker.change([item("x", "1"), item("y", "1"), item("x", None), Event("a", "1")])
        await hub.watch("a")
        hub.feed.close()
        (unset,) = broker.change([item("y", None)])
        for _ in range(3):
            await asyncio.sleep(0.002)
            broker.change([item("z", "1"), Event("a", "1"), Event("a", "2")])
        second = ItemHub(broker, hub)
        await until(lambda: second.end > hub.end)
        told, missed, *_ = second.take()
        assert missed[0] == "missed" and second.missing
        assert told == ("horizons", (hub.epoch, {"a": unset.number}, []))
        second.feed.close()

    run(broker, test)
    broker.close()


# Rows.


def test_a_feed_reads_pages_with_items_and_pages_of_items(broker: SqliteBroker) -> None:
    async def test(hub: ItemHub) -> None:
        first, second, *_ = broker.change(
            [item("x", "1"), item("y", "1", ttl=0.000_1), Event("a", "1"), item("u", "1")]
        )
        broker.change([item("u", None)])
        page = await hub.read("a", after=first.number)
        assert [entry.item for entry in page.entries] == ["y", "", "u"]
        assert page.horizons == {"a": horizon_of(broker)}
        items = await hub.items("a")
        # A hub sends rows that are due until they are unset.
        assert [row.item for row in items.rows] == ["x", "y"]
        assert items.horizons == page.horizons
        items = await hub.items("a", after=first.number, upto=second.number)
        assert ([row.item for row in items.rows], items.reach) == (["y"], second.number)

    run(broker, test)


def test_pages_wait_until_the_store_can_be_read(
    broker: SqliteBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = item_reads.items_page
    failed: list[object] = []

    def failing_once(*args: t.Any) -> ItemsPage:
        if not failed:
            failed.append(args)
            raise OSError("for the test")
        return read(*args)

    async def test(hub: ItemHub) -> None:
        broker.change([item("x", "1")])
        await hub.watch("a")
        monkeypatch.setattr(item_reads, "items_page", failing_once)
        page, items = await asyncio.gather(hub.read("a", after=0), hub.items("a"))
        assert [entry.item for entry in page.entries] == ["x"]
        assert [row.item for row in items.rows] == ["x"] and failed

    run(broker, test)


def test_a_new_epoch_of_a_file_begins_without_the_rows_before_it(
    path: Path, broker: SqliteBroker
) -> None:
    async def test(hub: ItemHub) -> None:
        await hub.watch("a")
        broker.change([item("x", "1")])
        with store(path) as connection:
            connection.execute("UPDATE store SET epoch = 'after'")
        await until(lambda: hub.epoch == "after")
        assert hub.entries == [], "the hub reads them"
        broker.change([item("y", "1")])
        await until(lambda: hub.entries)
        assert [entry.item for entry in hub.entries] == ["y"]

    run(broker, test)


def test_a_sink_without_items_receives_none(broker: SqliteBroker) -> None:
    async def test(hub: RecordingSink) -> None:
        await hub.watch("a")
        broker.change([Event("a", "1"), item("x", "1")])
        (last,) = broker.change([Event("a", "2")])
        await until(lambda: hub.end >= last.number)
        assert hub.received("a") == [b"1", b"2"] and not hub.missing
        page = await hub.read("a", after=0)
        assert [entry.item for entry in page.entries] == ["", ""] and not page.horizons

    run(broker, test, RecordingSink)


# Costs.


def test_publishing_runs_no_statement_for_items(broker: SqliteBroker) -> None:
    broker.change([item("x", "1"), item("y", "1"), item("x", None)])
    say(broker)
    with traced(broker._writing) as found:
        say(broker)
    assert found == [
        *("BEGIN IMMEDIATE", "SELECT epoch, last,"),
        *("INSERT INTO event", "UPDATE store SET", "COMMIT"),
    ]


def test_a_set_runs_few_statements(broker: SqliteBroker) -> None:
    broker.change([item("x", "1"), item("y", "1"), item("y", None)])
    with traced(broker._writing) as found:
        broker.change([item("x", "2")])
    assert found == [
        *("BEGIN IMMEDIATE", "SELECT epoch, last,", "SELECT id, coalesce(horizon,"),
        *("SELECT number, epoch,", "UPDATE item SET", "UPDATE item_channel SET"),
        *("UPDATE store SET", "COMMIT"),
    ]


@pytest.mark.parametrize("takes_items", [True, False])
def test_a_look_of_a_feed_has_at_most_one_statement_more(
    takes_items: bool, broker: SqliteBroker
) -> None:
    broker.change([item("x", "1"), item("x", None)])

    async def test(hub: RecordingSink) -> None:
        await hub.watch("a")
        feed: t.Any = hub.feed
        with traced(feed._database) as found:
            say(broker)
            await until(lambda: hub.entries)
        look = found[: found.index("ROLLBACK") + 1]
        assert look == [
            *("BEGIN", "SELECT epoch, birth,", "SELECT number FROM"),
            "SELECT number, prev,",
            *(["SELECT (SELECT newest"] if takes_items else []),
            "ROLLBACK",
        ]

    run(broker, test, ItemHub if takes_items else RecordingSink)
