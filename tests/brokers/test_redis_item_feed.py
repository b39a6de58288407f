"""Items that a Redis delivers to a hub."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import typing as t
from pathlib import Path

import pytest
from support.redis_failovers import of_a_cluster
from support.redis_failovers import of_a_sentinel
from support.redis_items import entry_of
from support.redis_items import items
from support.redis_items import ItemSinkOfTests
from support.redis_items import key
from support.redis_items import run
from support.redis_items import set_item
from support.redis_items import unset_item
from support.redis_links import user
from support.redis_log import broker as broker
from support.redis_log import listen
from support.redis_log import redis as redis
from support.redis_log import say
from support.redises import Cluster
from support.redises import Redis
from support.sinks import run_with

from flask_push import Event
from flask_push import NotRead
from flask_push.brokers import ItemChange
from flask_push.brokers import ItemRow
from flask_push.brokers import ItemsPage
from flask_push.brokers import OwnChannel
from flask_push.brokers import Retention
from flask_push.brokers.items import UNSET
from flask_push.brokers.redis import calls
from flask_push.brokers.redis import ClusterBroker
from flask_push.brokers.redis import feed
from flask_push.brokers.redis import item_calls
from flask_push.brokers.redis import RedisBroker
from flask_push.brokers.redis import scripts
from flask_push.brokers.redis.broker import AnyRedisBroker
from flask_push.brokers.redis.feed import RedisFeed
from flask_push.brokers.redis.page_reads import ItemsRead
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until as until_on_loop


async def read_items(hub: RecordingSink, *channels: str, **where: int) -> ItemsPage:
    found: asyncio.Future[ItemsPage] = asyncio.get_running_loop().create_future()
    feed = t.cast(RedisFeed, hub.feed)
    feed.read_items(channels, found.set_result, **where)
    return await asyncio.wait_for(found, 10)


def test_rows_arrive_among_the_events_in_the_order_of_numbers(broker: RedisBroker) -> None:
    async def test(hub: ItemSinkOfTests) -> None:
        positions = broker.change(
            [
                ItemChange("a", "x", "1"),
                Event("a", "2"),
                ItemChange("b", "x", "unwatched"),
                ItemChange("a", "x", None),
                Event("a", "3"),
            ]
        )
        await until_on_loop(lambda: hub.end >= positions[-1].number)
        found = [(entry.number, *entry_of(entry)) for entry in hub.entries]
        assert found == [
            (positions[0].number, "x", "message", b"1"),
            (positions[1].number, "", "message", b"2"),
            (positions[3].number, "x", UNSET, b""),
            (positions[4].number, "", "message", b"3"),
        ]
        assert hub.entries[2].prev == positions[0].number
        assert not hub.missing

    run(broker, test)


def test_a_sink_without_horizons_receives_no_items_and_misses_nothing(
    redis: Redis, broker: RedisBroker
) -> None:
    """As a hub of an older version."""

    async def test(hub: RecordingSink) -> None:
        for n in range(3):
            set_item(broker, "x", str(n))
            say(broker, str(n))
            unset_item(broker, "x")
        redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        last = set_item(broker, "x", "4")
        say(broker, "4")
        await until_on_loop(lambda: hub.end > last.number)
        assert hub.received("a") == [b"0", b"1", b"2", b"4"] and not hub.missing
        page = await hub.read("a", after=0)
        assert len(page.entries) == 4 and not page.horizons

    listen(broker, test)


def test_rows_that_were_missed_while_a_link_was_cut_are_read(
    redis: Redis, broker: RedisBroker
) -> None:
    async def test(hub: ItemSinkOfTests) -> None:
        for n in range(4):
            redis.do("CLIENT", "KILL", "TYPE", "pubsub")
            set_item(broker, f"i{n}", "1")
            set_item(broker, "x", str(n))
            last = say(broker, str(n))
            await until_on_loop(lambda: hub.end >= last.number)  # noqa: B023
        assert len(hub.received("a")) == 12 and not hub.missing
        assert dict(hub.rows()) == items(broker)

    run(broker, test)


def test_a_horizon_that_grows_is_given_before_the_end_is(
    redis: Redis, broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_calls, "MIN_TOMBSTONES", 1)
    other = RedisBroker(redis.url, timeout=20)

    async def test(hub: ItemSinkOfTests) -> None:
        async def horizon_grows(cut: bool) -> None:
            if cut:
                redis.do("CLIENT", "KILL", "TYPE", "pubsub")
            for item in "xyz":
                set_item(other, item, "1")
            gone = [unset_item(other, item).number for item in "xyz"]
            await until_on_loop(lambda: hub.end >= gone[-1])
            assert hub.horizons_of[hub.epoch, "a"] == gone[1]

        for cut in False, True, False:
            await horizon_grows(cut)
        assert not hub.missing

    run(other, test)
    other.close()


def test_rows_of_an_own_channel_are_read_after_a_cut(redis: Redis) -> None:
    other = RedisBroker(redis.url, timeout=20)
    own = OwnChannel("own", "a")

    async def test(hub: ItemSinkOfTests) -> None:
        await hub.watch("a", own)
        for item in "xyz":
            set_item(other, item, "1", kind="own")
        redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        set_item(other, "x", "2", kind="own")
        set_item(other, "x", "3")
        (last,) = other.change([ItemChange("a", "y", None, kind="own")])
        await until_on_loop(lambda: hub.end >= last.number)
        assert dict(hub.rows(own)) == {"x": b"2", "y": b"", "z": b"1"}
        assert hub.rows() == [("x", b"3")] and hub.entries[-1].number == last.number
        assert not hub.missing

    run(other, test)
    other.close()


def test_a_channel_that_is_watched_again_has_the_rows_that_were_set_meanwhile(
    redis: Redis, broker: RedisBroker
) -> None:
    """If the sink did not get to know that there are rows, it would take the next row for
    the first one, and its readers would never get those before it."""

    async def test(hub: ItemSinkOfTests) -> None:
        hub.feed.watch(["b"])
        # The feed asks, and the answer is not read before the channel is watched again.
        await asyncio.sleep(0)
        redis.do("PING")
        set_item(broker, "x", "1", channel="b")
        hub.feed.unwatch(["b"])
        await hub.watch("b")
        assert "b" not in hub.without

    run(broker, test)


def test_a_channel_without_rows_is_told_apart(broker: RedisBroker) -> None:
    set_item(broker, "x", "1", channel="set")
    set_item(broker, "x", "1", channel="gone")
    unset_item(broker, "x", channel="gone")
    set_item(broker, "x", "1", channel="own", kind="own")
    say(broker, "1", channel="log")

    async def test(hub: ItemSinkOfTests) -> None:
        await hub.watch("set", "gone", "own", "log")
        assert hub.without == {"a", "own", "log"}
        hub.feed.unwatch(["set"])
        hub.horizons_of.clear()
        del hub.watching["set"]
        await hub.watch("set")
        assert (hub.epoch, "set") in hub.horizons_of

    run(broker, test)


def test_items_are_read_by_the_feed_in_pages(broker: RedisBroker) -> None:
    for n in range(300):
        set_item(broker, f"i{n}", "x" * 1000, channel="ab"[n % 2], ttl=0.001)
    unset_item(broker, "i0")

    async def test(hub: ItemSinkOfTests) -> None:
        rows: list[ItemRow] = []
        after, pages = 0, 0
        while True:
            page = await read_items(hub, "a", "b", after=after)
            assert page.after == after and page.epoch == hub.epoch
            rows += page.rows
            pages += 1
            if page.reach >= page.end:
                break
            after = page.reach
        # Those that are due are among them.
        assert [row.item for row in rows] == [f"i{n}" for n in range(1, 300)]
        assert pages > 3
        upto = rows[9].position.number
        page = await read_items(hub, "a", "b", after=0, upto=upto)
        assert (page.reach, list(page.rows)) == (upto, rows[:10])

    run(broker, test)


def test_more_rows_than_fit_in_an_answer_are_missed(
    redis: Redis, broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_calls, "JOIN_BYTES", 2000)

    async def test(hub: ItemSinkOfTests) -> None:
        redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        last = broker.change([ItemChange("a", str(n), "x" * 50) for n in range(50)])[-1]
        await until_on_loop(lambda: hub.end >= last.number)
        assert hub.missing and not hub.rows()
        page = await hub.read("a", after=0)
        assert len(page.entries) == 50 and page.horizons["a"] < last.number

    run(broker, test)


def test_a_feed_that_goes_on_has_the_horizons_first(broker: RedisBroker) -> None:
    async def test(hub: ItemSinkOfTests) -> None:
        set_item(broker, "x", "1")
        await until_on_loop(lambda: hub.rows() == [("x", b"1")])
        hub.feed.close()
        second = ItemSinkOfTests(broker, hub)
        set_item(broker, "x", "2")
        await until_on_loop(lambda: second.rows() == [("x", b"2")])
        assert (second.epoch, "a") in second.horizons_of
        second.feed.close()

    run(broker, test)


def test_evicted_items_give_readers_another_epoch(
    redis: Redis, broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "_TICK_SECONDS", 0.1)

    async def test(hub: ItemSinkOfTests) -> None:
        set_item(broker, "x", "1")
        await until_on_loop(lambda: hub.rows())
        before = hub.epoch
        redis.do("DEL", key(redis, "rows"))
        assert not items(broker)
        await until_on_loop(lambda: hub.epoch != before)
        assert (hub.epoch, "a") in hub.horizons_of
        last = set_item(broker, "x", "2")
        await until_on_loop(lambda: hub.end >= last.number)
        assert hub.rows()[1:] == [("x", b"2")]

    run(broker, test)


def test_a_read_of_items_has_proved_what_was_pushed(
    broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "_UNPROVED_TICK_SECONDS", 1000)
    monkeypatch.setattr(feed, "_TICK_SECONDS", 1000)

    async def test(hub: ItemSinkOfTests) -> None:
        last = set_item(broker, "x", "1")
        await until_on_loop(lambda: hub.rows())
        assert hub.end < last.number
        await read_items(hub, "a", upto=last.number)
        await until_on_loop(lambda: hub.end >= last.number)

    run(broker, test)


def test_a_read_of_items_that_fails_proves_nothing(
    broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_item(broker, "x", "1")
    fails = scripts.Script.of("return redis.call('LLEN', KEYS[1])")
    monkeypatch.setattr(ItemsRead, "script", fails)

    async def test(hub: ItemSinkOfTests) -> None:
        page = await read_items(hub, "a", after=5)
        assert (page.after, page.reach, page.end) == (5, 5, hub.end)

    run(broker, test)


@pytest.mark.parametrize("when", ["join", "tick"])
def test_a_script_that_fails_gives_readers_a_gap(
    redis: Redis, broker: RedisBroker, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    async def test(hub: ItemSinkOfTests) -> None:
        set_item(broker, "x", "1")
        await until_on_loop(lambda: hub.rows())
        fails = scripts.Script.of("return redis.call('LLEN', KEYS[1])")
        monkeypatch.setattr(scripts, "READ_WITH_ITEMS", fails)
        if when == "join":
            redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        else:
            await hub.watch("b")
        await until_on_loop(lambda: hub.missing)
        # Its rows may be old.
        assert hub.horizons_of[hub.epoch, "a"] == hub.missing
        monkeypatch.undo()
        last = set_item(broker, "x", "2")
        await until_on_loop(lambda: hub.end >= last.number)
        assert hub.rows()[-1] == ("x", b"2")

    run(broker, test)


def test_a_user_without_the_rights_for_items_receives_events_where_there_are_none(
    redis: Redis, broker: RedisBroker
) -> None:
    """As after an update of a hub whose operator has not changed the user."""
    rights = "-hlen", "-hdel", "-del", "-zrangebyscore", "-zrangebylex"
    other = user(redis, *rights)

    async def test(hub: ItemSinkOfTests) -> None:
        say(broker, "1")
        await hub.watch("b")
        redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        last = say(broker, "2")
        await until_on_loop(lambda: hub.end >= last.number)
        assert hub.received("a") == [b"1", b"2"] and not hub.missing
        assert len((await hub.read("a", after=0)).entries) == 2

    run(other, test)
    other.close()


def test_feeds_agree_with_the_store_whatever_befalls_their_links(
    redis: Redis, broker: RedisBroker
) -> None:
    other = RedisBroker(redis.url, Retention(), timeout=20)
    stop = threading.Event()

    def write() -> None:
        rng = random.Random(1)
        while not stop.is_set():
            name, item = rng.choice("ab"), f"i{rng.randrange(5)}"
            what: list[Event | ItemChange] = [ItemChange(name, item, str(rng.random()))]
            if rng.random() < 0.4:
                what = [Event(name, "x"), ItemChange(name, item, None)]
            other.change(what)
            stop.wait(0.001)

    async def test(hub: ItemSinkOfTests) -> None:
        thread = threading.Thread(target=write)
        thread.start()
        try:
            await hub.watch("b")
            for n in range(12):
                await asyncio.sleep(0.05)
                if n % 3 == 0:
                    redis.do("CLIENT", "KILL", "TYPE", "pubsub")
                hub.feed.unwatch(["b"])
                await hub.watch("b")
        finally:
            stop.set()
            thread.join()
        end = broker.read([], after=0).end
        await until_on_loop(lambda: hub.end >= end)
        numbers = [entry.number for entry in hub.entries]
        assert numbers == sorted(set(numbers)) and not hub.missing
        known = {}
        for entry in hub.entries:
            if entry.item and entry.channel == "a":
                known[entry.item] = None if entry.type == UNSET else entry.data
        living = {item: data for item, data in known.items() if data is not None}
        assert living == items(broker)

    run(broker, test)
    other.close()


# Failovers.


def test_after_a_failover_of_a_sentinel_the_store_begins_another_epoch(
    tmp_path: Path,
) -> None:
    with of_a_sentinel(tmp_path) as parts:
        loses_a_set(*parts[:3])


def test_after_a_failover_in_a_cluster_the_store_begins_another_epoch(
    tmp_path: Path,
) -> None:
    with of_a_cluster(tmp_path) as parts:
        loses_a_set(*parts[:3])


def can_be_read(broker: AnyRedisBroker) -> bool:
    with contextlib.suppress(NotRead):
        broker.read([], after=0)
        return True
    return False


def loses_a_set(broker: AnyRedisBroker, master: Redis, replica: Redis) -> None:
    async def test(hub: ItemSinkOfTests) -> None:
        kept = set_item(broker, "x", "kept")
        await until_on_loop(lambda: replica.has_all_of(master))
        replica.stop()
        master.do("CLIENT", "KILL", "TYPE", "replica")
        lost = set_item(broker, "x", "lost")
        await until_on_loop(lambda: hub.end >= lost.number)
        assert hub.rows() == [("x", b"kept"), ("x", b"lost")]
        master.kill()
        replica.go_on()
        await until_on_loop(lambda: hub.epoch != kept.epoch, 60)
        assert (hub.epoch, "a") in hub.horizons_of
        # A Sentinel may still take for dead what did not answer for so long.
        await until_on_loop(lambda: can_be_read(broker), 60)
        (row,) = broker.read_items(["a"]).rows
        # It has the epoch in which it was stored, so what expects it still fits.
        assert (row.position, row.data) == (kept, b"kept")
        after = set_item(broker, "x", "after", expect=str(kept))
        assert after.epoch == hub.epoch and after.number > lost.number
        await until_on_loop(lambda: hub.end >= after.number)
        assert hub.rows()[-1] == ("x", b"after")

    run(broker, test)


def test_items_move_with_their_slot(tmp_path: Path) -> None:
    options = "--cluster-require-full-coverage", "no"
    with Cluster.started(tmp_path, *options) as cluster:
        broker = ClusterBroker(cluster.url, timeout=30)

        async def test(hub: ItemSinkOfTests) -> None:
            before = set_item(broker, "x", "1", owner="me", ttl=60)
            await until_on_loop(lambda: hub.end >= before.number)
            await asyncio.to_thread(cluster.migrate)
            after = await asyncio.to_thread(set_item, broker, "y", "2")
            await until_on_loop(
                lambda: hub.epoch == after.epoch and hub.end >= after.number, 60
            )
            assert items(broker) == {"x": b"1", "y": b"2"}
            assert [row.position for row in broker.owned("me", kind="")] == [before]

        run(broker, test)
        broker.close()


def test_an_answer_that_ends_with_the_stores_time_teaches_it() -> None:
    assert {4, 5, 6, 10, 13} == calls._TIMED


class TimedSinkOfTests(RecordingSink):
    """Takes no items."""

    has_timed = False

    def timed(self, some: bool) -> None:
        self.has_timed = some


def test_a_life_of_the_store_has_no_deadlines_of_another(
    broker: RedisBroker, redis: Redis
) -> None:
    async def test(hub: TimedSinkOfTests) -> None:
        await hub.watch("a")
        broker.change([ItemChange("b", "x", "1", ttl=600), Event("a", "1")])
        await until_on_loop(lambda: hub.has_timed)
        # Evicted: reading items begins another life.
        redis.do("DEL", key(redis, "deadlines"))
        assert broker.due() == []
        broker.publish([Event("a", "2")])
        await until_on_loop(lambda: not hub.has_timed)
        broker.change([ItemChange("b", "x", "2", ttl=600), Event("a", "3")])
        await until_on_loop(lambda: hub.has_timed)

    run_with(TimedSinkOfTests, broker, test)
