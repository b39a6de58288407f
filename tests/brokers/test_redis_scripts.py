"""The scripts in a Redis: what they store, which keys they use, and what is evicted."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest
from support.redis_links import proxy as proxy
from support.redis_log import broker as broker
from support.redis_log import heard
from support.redis_log import listen
from support.redis_log import proved
from support.redis_log import redis as redis
from support.redis_log import say
from support.redis_monitor import monitor
from support.redis_monitor import touched
from support.redises import Redis

from flask_push import Event
from flask_push import NotPublished
from flask_push import Position
from flask_push.brokers import Bridge
from flask_push.brokers import open_broker
from flask_push.brokers import Retention
from flask_push.brokers.redis import RedisBroker
from flask_push.brokers.redis.bridge import RedisBridge
from flask_push.brokers.redis.pool import Place
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until as until_on_loop


def test_flushed_scripts_are_told_again(redis: Redis, broker: RedisBroker) -> None:
    async def test(hub: RecordingSink) -> None:
        for n in range(3):
            redis.do("SCRIPT", "FLUSH")
            say(broker, str(n))
            redis.do("SCRIPT", "FLUSH")
            assert len((await hub.read("a", after=0)).entries) == n + 1
            redis.do("SCRIPT", "FLUSH")
            assert len(heard(broker)) == n + 1
        await until_on_loop(lambda: len(hub.entries) == 3)

    listen(broker, test)


def test_what_is_kept_is_the_stores_own(redis: Redis, broker: RedisBroker) -> None:
    say(broker, *"12345")
    other = RedisBroker(redis.url, Retention(count=3))
    other.read([], after=0)
    say(broker, "6")
    assert heard(broker) == [b"4", b"5", b"6"]
    other.close()


# Memory.


def test_a_full_store_takes_nothing_and_is_read_on(
    redis: Redis, broker: RedisBroker
) -> None:
    async def test(hub: RecordingSink) -> None:
        say(broker, "1")
        redis.do("SET", "junk", "x" * 100_000)
        redis.do("CONFIG", "SET", "maxmemory", "1mb")
        end = redis.do("HGET", "{push}:store", "last")
        for store in True, False:
            with pytest.raises(NotPublished, match="maxmemory"):
                broker.publish([Event("a", "no", store=store), Event("a", "no")])
        assert redis.do("HGET", "{push}:store", "last") == end
        assert heard(broker) == [b"1"]
        await hub.watch("b")
        redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        await hub.watch("c")
        assert len((await hub.read("a", after=0)).entries) == 1
        redis.do("CONFIG", "SET", "maxmemory", "0")
        say(broker, "2")
        await until_on_loop(lambda: hub.received("a") == [b"1", b"2"])

    listen(broker, test)


def test_an_evicted_log_can_tell_that_it_is_gone(redis: Redis, broker: RedisBroker) -> None:
    kept = say(broker, "kept", channel="b")
    lost = say(broker, "lost", "lost")
    (key,) = redis.do("KEYS", "*:log:a")
    redis.do("DEL", key)
    page = broker.read("abc", after=0)
    assert page.proofs["a"].reason == "unknown"
    assert lost.number < page.proofs["a"].since <= page.end
    assert page.proofs["b"].since < kept.number
    # By publishing, too.
    then = say(broker, "then")
    assert then.epoch == lost.epoch
    (key,) = redis.do("KEYS", "*:log:a")
    redis.do("DEL", key)
    say(broker, "again")
    (entry,) = broker.read("a", after=0).entries
    assert entry.prev is not None and then.number < entry.prev < entry.number


@pytest.mark.parametrize("name", ["store", "heads"])
def test_without_its_book_a_store_is_another_one(
    redis: Redis, broker: RedisBroker, name: str
) -> None:
    before = say(broker, "1")
    (key,) = redis.do("KEYS", f"*:{name}")
    redis.do("DEL", key)
    after = say(broker, "2")
    assert before.epoch != after.epoch
    assert heard(broker) == [b"2"]
    assert broker.read(["a"], after=0).proofs["a"].since > before.number


def test_whatever_is_evicted_nothing_that_is_gone_is_said_to_be_there(
    redis: Redis, broker: RedisBroker
) -> None:
    used = redis.info("memory", "used_memory")
    redis.do(
        "CONFIG", "SET", "maxmemory", used + 1_000_000, "maxmemory-policy", "allkeys-lru"
    )
    rng = random.Random(7)
    said: dict[str, list[Position]] = {}

    def held() -> int:
        """How much is there still, after some more was said."""
        for _ in range(1000):
            name = f"c{rng.randrange(50)}"
            with contextlib.suppress(NotPublished):
                said.setdefault(name, []).append(say(broker, "x" * 1000, channel=name))
        count = 0
        for name, positions in said.items():
            page = broker.read([name], after=0, limit=2**30)
            since = page.proofs[name].since
            expected = [
                p.number for p in positions if p.epoch == page.epoch and p.number > since
            ]
            assert [e.number for e in page.entries if e.number > since] == expected
            count += len(expected)
        return count

    # Where what holds all of it was evicted just now, it is none.
    found = [held() for _ in range(4)]
    assert redis.info("stats", "evicted_keys") > 10
    while not any(found):
        found.append(held())


def test_a_page_of_thousands_of_evicted_logs_says_that_they_are_gone(
    redis: Redis, broker: RedisBroker
) -> None:
    # More than a script can pass to a function at once.
    names = [f"user{n}" for n in range(9_000)]
    for start in range(0, len(names), 500):
        broker.publish([Event(name, "x") for name in names[start : start + 500]])
    kept = say(broker, "kept")
    redis.do("DEL", *redis.do("KEYS", "*:log:user*"))
    page = broker.read([*names, "a"], after=0)
    assert [entry.data for entry in page.entries] == [b"kept"]
    assert page.epoch == kept.epoch
    assert {page.proofs[name].reason for name in names} == {"unknown"}
    assert all(kept.number < page.proofs[name].since <= page.end for name in names)
    assert page.proofs["a"].since < kept.number


def test_a_key_counts_for_what_is_kept_and_the_oldest_goes(redis: Redis) -> None:
    """With events that are kept, and with those that are not."""
    for store in True, False:
        redis.do("FLUSHALL")
        broker = RedisBroker(redis.url, Retention(bytes=100_000, count=10**6))
        for start in range(0, 3_000, 100):
            events = [
                Event("a", "x", key=str(n), store=store) for n in range(start, start + 100)
            ]
            last = broker.publish(events)
        counted, keys = redis.do("HMGET", "{push}:store", "bytes", "keys")
        assert 0 < int(keys) <= int(counted) <= 100_000
        (name,) = redis.do("KEYS", "*:keys")
        assert redis.do("MEMORY", "USAGE", name, "SAMPLES", 0) <= 100_000
        assert redis.do("ZCARD", name) > 200
        assert broker.publish(events) == last, "the newest are known"
        assert redis.do("ZSCORE", name, "1:a0") is None
        broker.close()


def test_evicted_keys_are_forgotten_with_what_they_counted(
    redis: Redis, broker: RedisBroker
) -> None:
    for n in range(10):
        broker.publish([Event("a", "x", key=str(n))])
    (name,) = redis.do("KEYS", "*:keys")
    redis.do("DEL", name)
    broker.publish([Event("a", "x", key="new"), Event("a", "x", key="new")])
    assert redis.do("HGET", "{push}:store", "keys") == b"126"
    assert len(heard(broker)) == 11


def test_what_is_not_stored_leaves_nothing_behind(
    redis: Redis, broker: RedisBroker
) -> None:
    say(broker, "1")
    before = sorted(redis.do("KEYS", "*")), redis.do("HGET", "{push}:store", "bytes")
    for n in range(20):
        events = [Event(f"c{m}", str(n), f"t{m}", store=False) for m in range(100)]
        broker.publish(events)
    after = sorted(redis.do("KEYS", "*")), redis.do("HGET", "{push}:store", "bytes")
    assert after == before


def test_channels_count_for_what_is_kept(redis: Redis) -> None:
    broker = RedisBroker(redis.url, Retention(bytes=2**20), timeout=30)
    before = redis.info("memory", "used_memory")
    for start in range(0, 20_000, 500):
        broker.publish([Event(f"user{n}", "x") for n in range(start, start + 500)])
    assert redis.info("memory", "used_memory") - before < 1.5 * 2**20
    assert int(redis.do("HGET", "{push}:store", "channels")) > 1000
    broker.close()


# Keys.


def test_scripts_touch_no_key_that_was_not_named(redis: Redis, broker: RedisBroker) -> None:
    """Or a service or a proxy that looks where to send them would refuse them."""

    async def test(hub: RecordingSink) -> None:
        for n in range(4):
            say(broker, *"123", channel="trimmed")
            broker.publish([Event(f"b{n}", "1"), Event("a", "2", key="k")])
            broker.publish([Event("a", "3", store=False), Event("a", "4", store=False)])
        last = say(broker, "x" * 1900, "all else is too much", channel="c")
        await until_on_loop(lambda: hub.end >= last.number)
        await hub.read("a", "b1", after=0)
        broker.read(["a", "b0"], last=3)
        broker.append("disconnect", b"x", 60)
        assert broker.read_own("disconnect").entries
        redis.do("DEL", "{push}:store")
        say(broker, "another life")
        await until_on_loop(lambda: hub.epoch != last.epoch)
        redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        await proved(hub, say(broker, "a link is cut"))
        loop = asyncio.get_running_loop()
        bridge = RedisBridge(Place(redis.url), None, Bridge("redis:x", "a"), loop, 10)
        await until_on_loop(lambda: bridge.has_lease)
        redis.do("PUBLISH", "x", "bridged")
        await until_on_loop(lambda: b"bridged" in hub.received("a"))
        bridge.close()

    other = RedisBroker(redis.url, Retention(count=4, bytes=2000), timeout=5)
    with monitor(redis) as done:
        other.read([], after=0)
        listen(other, test)
    other.close()
    assert {"LTRIM", "ZREM", "SET", "PUBLISH", "RPUSH"} <= touched(done)


@pytest.mark.parametrize("prefix", ["", "a*", "a{b"])
def test_a_prefix_names_keys(prefix: str) -> None:
    with pytest.raises(ValueError, match="can't be a prefix"):
        open_broker(f"redis://127.0.0.1/0?prefix={prefix}")
