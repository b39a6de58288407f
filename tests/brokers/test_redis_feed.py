"""The feed of a Redis: the channels that it subscribes to, and epochs."""

from __future__ import annotations

import asyncio
import typing as t
from pathlib import Path

import pytest
from support.redis_links import pair_of
from support.redis_links import proxy as proxy
from support.redis_log import broker as broker
from support.redis_log import lines
from support.redis_log import listen
from support.redis_log import proved
from support.redis_log import redis as redis
from support.redis_log import say
from support.redises import Redis

from flask_push import Event
from flask_push import Position
from flask_push.brokers.redis import feed as _redis_feed
from flask_push.brokers.redis import RedisBroker
from flask_push.brokers.redis.feed import RedisFeed
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until as until_on_loop


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notice soon what happens to an idle store."""
    monkeypatch.setattr(_redis_feed, "_TICK_SECONDS", 0.2)


def test_a_channel_asked_for_just_before_a_tick_is_heard(broker: RedisBroker) -> None:
    async def test(hub: RecordingSink) -> None:
        hub.feed.watch(["b"])
        t.cast(RedisFeed, hub.feed).tick()
        await hub.watch("b")
        say(broker, "1", channel="b")
        await until_on_loop(lambda: hub.received("b") == [b"1"])

    listen(broker, test)


def test_a_channel_that_is_wanted_again_is_not_unsubscribed(broker: RedisBroker) -> None:
    async def test(hub: RecordingSink) -> None:
        hub.feed.unwatch(["a"])
        hub.watching.clear()
        hub.feed.watch(["a"])
        # It is subscribed to before what was not wanted is unsubscribed.
        t.cast(RedisFeed, hub.feed).tick()
        await until_on_loop(lambda: "a" in hub.watching)
        await hub.watch("b")
        say(broker, "1")
        await until_on_loop(lambda: hub.received("a") == [b"1"])

    listen(broker, test)


def test_channels_that_are_left_while_the_server_is_away_are_forgotten(
    redis: Redis, broker: RedisBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(hub: RecordingSink) -> None:
        feed = t.cast(RedisFeed, hub.feed)
        names = [f"left:{n}" for n in range(1000)]
        await hub.watch(*names)
        redis.kill()
        await until_on_loop(lambda: not pair_of(hub).ready)
        for n in range(0, 1000, 100):
            hub.feed.unwatch(names[n : 100 + n])
            hub.feed.watch([f"short:{n}"])
            hub.feed.unwatch([f"short:{n}"])
            await until_on_loop(lambda: not feed._due)
            assert not feed._channels._unwanted
        assert not feed._channels._wanted and feed._channels.watched == {"a"}
        redis.start()
        await proved(hub, say(broker, "1"))
        assert redis.do("PUBSUB", "CHANNELS") == [b"{push}:0:a"]

    listen(broker, test)
    # No step of the hub has failed.
    assert not [record for record in caplog.records if record.name == "asyncio"]


def test_a_page_that_has_seen_further_hurries_the_tick(
    broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that has its page waits until the hub is as far."""

    async def test(hub: RecordingSink) -> None:
        await proved(hub, Position(hub.epoch, hub.end))
        last = say(broker, "not watched", channel="b")
        assert (await hub.read("b", after=0)).end >= last.number
        await proved(hub, last)

    monkeypatch.setattr(_redis_feed, "_TICK_SECONDS", 1000)
    monkeypatch.setattr(_redis_feed, "_UNPROVED_TICK_SECONDS", 1000)
    listen(broker, test)


def test_what_others_publish_on_its_channels_is_not_heard(
    redis: Redis, broker: RedisBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(hub: RecordingSink) -> None:
        epoch = hub.epoch.encode()
        redis.do("PUBLISH", "{push}:0:a", epoch + b":1:2:")
        for junk in b"", b"junk", b"a:b:c:d:e", b"\xff:1:2:3:4", b"epoch:::9:x", b"a:1:2:":
            redis.do("PUBLISH", "{push}:0:a", junk)
        other = RedisBroker(f"{redis.url}?prefix=other")
        say(other, "other prefix")
        other.close()
        other = RedisBroker(f"redis://127.0.0.1:{redis.port}/1")
        say(other, "other database")
        other.close()
        say(broker, "ours")
        await until_on_loop(lambda: hub.received("a"))
        assert hub.received("a") == [b"ours"]

    listen(broker, test)
    assert not lines(caplog)


# Lives of the store.


def test_a_restart_is_another_epoch_and_a_feed_says_so(
    redis: Redis, broker: RedisBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(hub: RecordingSink) -> None:
        say(broker, "1")
        await until_on_loop(lambda: hub.received("a"))
        before = hub.epoch
        redis.kill()
        redis.start()
        last = say(broker, "2")
        await until_on_loop(lambda: hub.epoch != before)
        assert hub.epoch == last.epoch and hub.end >= last.number
        say(broker, "3")
        await until_on_loop(lambda: hub.received("a") == [b"1", b"3"])

    listen(broker, test)
    assert len(lines(caplog)) == 2


@pytest.mark.usefixtures("soon")
def test_a_flushed_store_is_another_epoch(redis: Redis, broker: RedisBroker) -> None:
    async def test(hub: RecordingSink) -> None:
        for _ in range(3):
            before = say(broker, "1")
            await until_on_loop(lambda: hub.received("a"))
            assert hub.epoch == before.epoch
            redis.do("FLUSHALL")
            after = say(broker, "2")
            assert after.epoch != before.epoch
            await proved(hub, after)
            hub.entries.clear()
            await proved(hub, say(broker, "3"))
            assert hub.received("a") == [b"3"]
            hub.entries.clear()
        redis.do("FLUSHALL")
        # The feed notices it although no event is published.
        await until_on_loop(lambda: hub.epoch != after.epoch)

    listen(broker, test)


@pytest.mark.usefixtures("soon")
def test_a_demoted_server_is_noticed_where_nobody_publishes(
    redis: Redis, broker: RedisBroker, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()

    async def test(hub: RecordingSink) -> None:
        before = hub.epoch
        redis.do("REPLICAOF", "127.0.0.1", other.port)
        await until_on_loop(lambda: lines(caplog))
        assert "READONLY" in lines(caplog)[0]
        redis.do("REPLICAOF", "NO", "ONE")
        await until_on_loop(lambda: hub.epoch != before)

    with Redis.started(tmp_path / "other") as other:
        listen(broker, test)


def test_a_store_that_is_flushed_is_noticed_where_nobody_publishes(
    redis: Redis, broker: RedisBroker
) -> None:
    async def test(hub: RecordingSink) -> None:
        before = say(broker, "1")
        await proved(hub, before)
        redis.do("FLUSHALL")
        await until_on_loop(lambda: hub.epoch != before.epoch)

    listen(broker, test)


@pytest.mark.usefixtures("soon")
def test_a_store_that_went_back_in_time_unseen_is_another_epoch(
    redis: Redis, broker: RedisBroker
) -> None:
    """As behind a proxy, whose servers all look the same."""

    async def test(hub: RecordingSink) -> None:
        say(broker, "1")
        held = {key: redis.do("DUMP", key) for key in redis.do("KEYS", "*")}
        last = say(broker, "2")
        await until_on_loop(lambda: hub.end >= last.number)
        redis.do("FLUSHALL")
        for key, value in held.items():
            redis.do("RESTORE", key, 0, value)
        await until_on_loop(lambda: hub.epoch != last.epoch)

    listen(broker, test)


def test_a_hub_goes_on_when_thousands_of_logs_are_evicted(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"user{n}" for n in range(2_500)]
    broker = RedisBroker(redis.url, timeout=30)

    async def test(hub: RecordingSink) -> None:
        for start in range(0, len(names), 500):
            broker.publish([Event(n, "x" * 100) for n in names[start : start + 500]])
        await hub.watch(*names)
        await proved(hub, say(broker, "known"))
        evict(redis, 2_000)
        # Whatever is said next on one that has lost its log, all are asked for.
        before = hub.epoch
        for n, name in enumerate(names):
            say(broker, "then", channel=name)
            if n % 100 == 0:
                await asyncio.sleep(0)
        last = say(broker, "last", channel=names[7])
        await until_on_loop(lambda: b"last" in hub.received(names[7]) or hub.missing, 60)
        await proved(hub, last)
        assert hub.missing or hub.epoch != before
        page = await hub.read(*names, after=last.number - 1)
        assert len(page.entries) == 1
        say(broker, "live", channel=names[8])
        await until_on_loop(lambda: b"live" in hub.received(names[8]))

    def evict(redis: Redis, count: int) -> None:
        """By the server's own choice, when it is full."""
        redis.do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        before = redis.info("stats", "evicted_keys")
        junk = 0
        while redis.info("stats", "evicted_keys") - before < count:
            used = redis.info("memory", "used_memory")
            redis.do("CONFIG", "SET", "maxmemory", used - 100_000)
            junk += 1
            redis.do("SET", "junk", "x" * 100)
        redis.do("CONFIG", "SET", "maxmemory", 0)

    listen(broker, test)
    broker.close()
    assert not [line for line in lines(caplog) if "ERR" in line]
