"""Keys and events of other programs in a Redis: each is the trouble of one channel."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t
from pathlib import Path

import pytest
from support.redis_log import heard
from support.redis_log import lines
from support.redis_log import listen
from support.redis_log import proved
from support.redis_log import say
from support.redis_refusals import broker as broker
from support.redis_refusals import links_stay
from support.redis_refusals import redis as redis
from support.redis_refusals import refusals
from support.redis_refusals import soon as soon
from support.redises import Redis
from support.servers import gunicorn
from support.servers import serve

from flask_push import Event
from flask_push import NotPublished
from flask_push import NotRead
from flask_push.brokers import Bridge
from flask_push.brokers import Retention
from flask_push.brokers.redis import RedisBroker
from flask_push.brokers.redis.bridge import RedisBridge
from flask_push.brokers.redis.pool import Place
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until as until_on_loop

# What is another program's.


def other_things(redis: Redis) -> list[tuple[str, cabc.Callable[[str], t.Any]]]:
    """What another program may have stored under the key of a channel."""

    def list_of(*items: str) -> cabc.Callable[[str], t.Any]:
        def store(key: str) -> None:
            redis.do("DEL", key)
            redis.do("RPUSH", key, *items)

        return store

    def string(key: str) -> None:
        redis.do("SET", key, "theirs")

    def hash(key: str) -> None:
        redis.do("DEL", key)
        redis.do("HSET", key, "theirs", "1")

    return [("string", string), ("hash", hash), ("list", list_of("x", "y", "z"))]


@pytest.mark.parametrize("index", range(3))
def test_a_key_of_another_program_is_the_trouble_of_one_channel(
    redis: Redis, broker: RedisBroker, caplog: pytest.LogCaptureFixture, index: int
) -> None:
    async def test(hub: RecordingSink) -> None:
        await hub.watch("b", "c")
        lost = say(broker, "lost", channel="b")
        kept = say(broker, "kept", channel="c")
        await proved(hub, kept)
        (key,) = redis.do("KEYS", "*:log:b")
        _, store = other_things(redis)[index]
        store(key.decode())
        # Nothing of a call is stored if a part of it can't be.
        for events in [Event("b", "no")], [Event("c", "no"), Event("b", "no")]:
            with pytest.raises(NotPublished, match=f"another program.*{key.decode()}"):
                broker.publish(events)
        page = broker.read("abc", after=0)
        assert [entry.data for entry in page.entries] == [b"kept"]
        assert page.proofs["b"].reason == "unknown" and page.proofs["b"].since > lost.number
        assert page.proofs["c"].since < kept.number
        # A hub that reads all of them goes on with the others.
        redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        more = say(broker, "more", channel="c")
        await until_on_loop(lambda: hub.missing >= more.number)
        page = await hub.read("b", "c", after=lost.number - 1)
        assert [entry.data for entry in page.entries] == [b"kept", b"more"]
        assert page.proofs["b"].since > lost.number
        assert page.proofs["c"].since < kept.number
        await proved(hub, say(broker, "live", channel="c"))
        assert hub.received("c") == [b"kept", b"live"]
        is_pruned(redis)
        # And with this one, when it is gone.
        redis.do("DEL", key)
        await proved(hub, say(broker, "again", channel="b"))
        assert hub.received("b") == [b"lost", b"again"]

    listen(broker, test)
    assert not refusals(caplog)


def test_readers_of_other_channels_get_no_gap_of_it(redis: Redis, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    with serve(gunicorn, tmp_path / "app", PUSH_BROKER_URL=redis.url) as server:
        both, one = server.stream("b", "c").opened(), server.stream("c").opened()
        server.publish("b", "1")
        server.publish("c", "2")
        both.read_data(2)
        (key,) = redis.do("KEYS", "*:log:b")
        redis.do("SET", key, "theirs")
        redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        server.publish("c", "3")
        assert one.read_data(2) == ["2", "3"]
        assert both.read_data(3) == ["1", "2", "3"]
        server.publish("c", "4")
        assert one.read_data(3)[-1] == both.read_data(4)[-1] == "4"
        assert not one.gaps
        both.read_until(lambda r: r.gaps)
        assert [(gap["channels"], gap["reason"]) for gap in both.gaps] == [
            (["b"], "unknown")
        ]


def test_a_hub_of_five_thousand_channels_goes_on_after_a_cut(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """It may have missed more events than one page has."""
    broker = RedisBroker(redis.url, timeout=30)
    names = [f"user{n}" for n in range(5_000)]
    # Those to whom something is said.
    some = names[::4]

    def say_to_some(text: str) -> None:
        for start in range(0, len(some), 500):
            broker.publish([Event(name, text) for name in some[start : start + 500]])

    async def test(hub: RecordingSink) -> None:
        say_to_some("before")
        await hub.watch(*names)
        say_to_some("live")
        await until_on_loop(lambda: len(hub.entries) == len(some))
        redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        say_to_some("while away")
        await until_on_loop(lambda: len(hub.entries) == 2 * len(some))
        assert not hub.missing
        redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        start = hub.end
        say_to_some("x" * 500)
        last = say(broker, "last", channel=names[-1])
        await until_on_loop(lambda: hub.missing >= last.number)
        found = 0
        while start < last.number:
            page = await hub.read(*names, after=start)
            found, start = found + len(page.entries), page.reach
            assert page.end >= last.number
            assert all(proof.since <= start for proof in page.proofs.values())
        assert found == len(some) + 1
        say_to_some("then")
        await until_on_loop(lambda: hub.entries[-1].data == b"then")

    listen(broker, test)
    broker.close()
    assert not refusals(caplog)


def test_the_oldest_channel_under_another_programs_key_keeps_no_other_from_being_pruned(
    redis: Redis, broker: RedisBroker
) -> None:
    say(broker, "lost", channel="b")
    (key,) = redis.do("KEYS", "*:log:b")
    redis.do("SET", key, "theirs")
    is_pruned(redis)


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_what_another_program_puts_among_events_is_told_as_a_gap(
    redis: Redis, broker: RedisBroker, place: int
) -> None:
    say(broker, "1", "2", "3", channel="b")
    kept = say(broker, "kept", channel="c")
    (key,) = redis.do("KEYS", "*:log:b")
    records = redis.do("LRANGE", key, 0, -1)
    records.insert(place, b"theirs")
    redis.do("DEL", key)
    redis.do("RPUSH", key, *records)
    page = broker.read(["b", "c"], after=0)
    assert page.proofs["b"].since >= kept.number
    assert page.proofs["b"].reason == "unknown"
    assert page.entries[-1].data == b"kept"
    assert page.proofs["c"].since < kept.number
    assert broker.read(["b", "c"], last=2).entries[-1:] in ([], page.entries[-1:])


def test_the_channels_of_the_store_under_another_programs_key_are_another_life(
    redis: Redis, broker: RedisBroker
) -> None:
    async def test(hub: RecordingSink) -> None:
        before = say(broker, "1")
        (key,) = redis.do("KEYS", "*:heads")
        redis.do("SET", key, "theirs")
        after = say(broker, "2")
        assert after.epoch != before.epoch
        await until_on_loop(lambda: hub.epoch == after.epoch)
        await proved(hub, say(broker, "3"))

    listen(broker, test)


def test_the_store_under_another_programs_key_is_named_and_waited_for(
    redis: Redis, broker: RedisBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(hub: RecordingSink) -> None:
        say(broker, "1")
        with links_stay(redis, caplog):
            redis.do("SET", "{push}:store", "theirs")
            await until_on_loop(lambda: refusals(caplog))
            with pytest.raises(NotPublished, match="another program"):
                say(broker, "no")
            with pytest.raises(NotRead, match="another program"):
                heard(broker)
            before = hub.epoch
            redis.do("DEL", "{push}:store")
            await until_on_loop(lambda: hub.epoch != before)
            await proved(hub, say(broker, "2"))

    listen(broker, test)
    assert "give the URL another prefix" in refusals(caplog)[0]


def test_keys_under_another_programs_key_are_the_trouble_of_events_with_keys(
    redis: Redis, broker: RedisBroker
) -> None:
    broker.publish([Event("a", "1", key="k")])
    (key,) = redis.do("KEYS", "*:keys")
    redis.do("SET", key, "theirs")
    with pytest.raises(NotPublished, match=f"another program.*{key.decode()}"):
        broker.publish([Event("a", "no"), Event("a", "no", key="j")])
    say(broker, "2")
    assert heard(broker) == [b"1", b"2"]
    is_pruned(redis)


def is_pruned(redis: Redis) -> None:
    """Whatever is under a key, all others are kept within their bounds."""
    broker = RedisBroker(redis.url, Retention(bytes=5000), timeout=10)
    for _ in range(10):
        broker.publish([Event("pruned", "x" * 100)] * 10)
    assert 0 < len(broker.read(["pruned"], after=0).entries) < 30
    broker.close()


def test_a_bridge_into_another_programs_key_is_no_other_bridges_trouble(
    redis: Redis, broker: RedisBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(hub: RecordingSink) -> None:
        await hub.watch("b")
        say(broker, "1", channel="b")
        loop, place = asyncio.get_running_loop(), Place(redis.url)
        (key,) = redis.do("KEYS", "*:log:b")
        redis.do("SET", key, "theirs")
        bridges = [
            RedisBridge(place, None, Bridge(f"redis:{name}", name), loop, 1000)
            for name in "ab"
        ]
        try:
            await until_on_loop(lambda: all(bridge.has_lease for bridge in bridges))
            redis.do("PUBLISH", "b", "lost")
            await until_on_loop(lambda: refusals(caplog))
            redis.do("PUBLISH", "a", "bridged")
            await until_on_loop(lambda: b"bridged" in hub.received("a"))
            redis.do("DEL", key)
            await until_on_loop(lambda: bridges[1].has_lease)
            redis.do("PUBLISH", "b", "bridged")
            await until_on_loop(lambda: b"bridged" in hub.received("b"))
            # Readers get a gap for the event that the bridge could not publish.
            types = [entry.type for entry in hub.entries if entry.channel == "b"]
            assert hub.missing or "push:gap" in types
        finally:
            for bridge in bridges:
                bridge.close()

    listen(broker, test)
    assert not [line for line in lines(caplog) if "is lost" in line]
