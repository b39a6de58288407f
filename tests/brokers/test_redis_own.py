"""Own logs in a Redis: what is kept, lost, refused, and said of it."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import itertools
import typing as t
from functools import partial
from pathlib import Path

import pytest
import redis as redis_py
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st
from support.proxies import Proxy
from support.redis_failovers import of_a_cluster
from support.redis_failovers import of_a_sentinel
from support.redis_links import proxy as proxy
from support.redis_links import user
from support.redis_log import broker as broker
from support.redis_log import heard
from support.redis_log import listen
from support.redis_log import redis as redis
from support.redis_log import say
from support.redises import Clock
from support.redises import Cluster
from support.redises import Redis
from support.sinks import run_with

from flask_push import NotPublished
from flask_push import PublishUncertain
from flask_push.brokers import OWN_LOGS
from flask_push.brokers import OwnEntry
from flask_push.brokers import Retention
from flask_push.brokers.memory import own as memory_own
from flask_push.brokers.memory.own import OwnLog
from flask_push.brokers.redis import calls
from flask_push.brokers.redis import ClusterBroker
from flask_push.brokers.redis import feed
from flask_push.brokers.redis import RedisBroker
from flask_push.brokers.redis import replies
from flask_push.brokers.redis import scripts
from flask_push.brokers.redis.broker import AnyRedisBroker
from flask_push.testing._own_sink import OwnRecordingSink
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until as until_on_loop

(LOG,) = OWN_LOGS


def held(broker: AnyRedisBroker) -> list[bytes]:
    return [entry.data for entry in broker.read_own(LOG).entries]


def key(redis: Redis) -> bytes:
    (found,) = redis.do("KEYS", f"*:own:{LOG}")
    return t.cast(bytes, found)


def run(
    broker: AnyRedisBroker,
    test: cabc.Callable[[OwnRecordingSink], cabc.Awaitable[None]],
) -> None:
    run_with(OwnRecordingSink, broker, test, "a", seconds=60)


# What is kept.

ENTRIES = st.lists(
    st.tuples(st.sampled_from(["disconnect", "other"]), st.integers(0, 40)), max_size=30
)
STORES = itertools.count()


@given(ENTRIES)
@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_it_keeps_what_a_log_in_memory_keeps(
    redis: Redis, entries: list[tuple[str, int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for module in calls, memory_own:
            patch.setattr(module, "MAX_OWN_ENTRIES", 12)
            patch.setattr(module, "MAX_OWN_BYTES", 200)
        broker = RedisBroker(f"{redis.url}?prefix=kept-{next(STORES)}", timeout=20)
        birth = broker.read_own("other").end
        logs = {name: OwnLog(birth) for name in ("disconnect", "other")}
        for name, size in entries:
            number = broker.append(name, b"1:2" + b"x" * size, 60).number
            logs[name].append(number, b"1:2" + b"x" * size, 60)
            log = logs[name]
            for after in 0, log.horizon, number - 1, number:
                page = broker.read_own(name, after)
                assert page.entries == log.after(after)
                assert (page.since, page.end) == (max(after, log.horizon), number)
        broker.close()


def test_a_time_of_any_length_is_one(broker: RedisBroker) -> None:
    for keep in 1e-9, 1e308, 60:
        broker.append(LOG, b"x", keep)
    assert len(held(broker)) >= 2


def test_what_older_versions_know_is_as_it_was(redis: Redis, broker: RedisBroker) -> None:
    """They count channels, bytes and keys, and check that all are there."""
    say(broker, "1")
    names = ["channels", "bytes", "keys", "floor", "oldest", "epoch", "life"]
    before = redis.do("HMGET", "{push}:store", *names)
    broker.append(LOG, b"x", 60)
    assert redis.do("HMGET", "{push}:store", *names) == before
    for script in scripts.PUBLISH, scripts.SPUBLISH, scripts.READ, scripts.PRUNE:
        assert "own:" not in script.text
    say(broker, "2")
    assert heard(broker) == [b"1", b"2"] and held(broker) == [b"x"]


def test_only_a_feed_whose_sink_takes_own_logs_subscribes_to_them(
    redis: Redis, broker: RedisBroker
) -> None:
    async def older(hub: RecordingSink) -> None:
        assert redis.do("PUBSUB", "CHANNELS") == [b"{push}:0:a"]

    async def newer(hub: OwnRecordingSink) -> None:
        own = f"{{push}}:own:0:{LOG}".encode()
        assert sorted(redis.do("PUBSUB", "CHANNELS")) == [b"{push}:0:a", own]

    listen(broker, older)
    run(broker, newer)


def test_each_published_entry_names_the_one_before_it(
    redis: Redis, broker: RedisBroker
) -> None:
    path = str(redis.socket)
    before = broker.read_own(LOG).end
    with redis_py.Redis(unix_socket_path=path, protocol=2) as client:
        pubsub: t.Any = client.pubsub(ignore_subscribe_messages=True)
        pubsub.subscribe(broker._place.names.own_channel(LOG))
        pubsub.get_message(timeout=10)
        for n in range(3):
            say(broker, "in between")
            if n == 2:
                redis.do("DEL", key(redis))
            epoch, number = broker.append(LOG, b"%d" % n, 60)
            data = pubsub.get_message(timeout=10)["data"]
            entry = OwnEntry(number, b"%d" % n)
            assert replies.own_pushed(data) == (epoch, entry, before)
            before = number
        pubsub.close()


# What is lost.


def test_an_evicted_log_says_that_its_entries_are_gone(
    redis: Redis, broker: RedisBroker
) -> None:
    first, second = (broker.append(LOG, b"lost", 60).number for _ in range(2))
    redis.do("DEL", key(redis))
    for after in 0, first, second:
        page = broker.read_own(LOG, after)
        assert (page.since, list(page.entries)) == (second, [])
    say(broker, "an event")
    assert broker.read_own(LOG).since == second
    third = broker.append(LOG, b"kept", 60)
    page = broker.read_own(LOG)
    assert (page.since, list(page.entries)) == (second, [(third.number, b"kept")])
    assert page.epoch == third.epoch


@pytest.mark.parametrize("count", [1, 2, 9])
def test_entries_of_another_program_are_none_of_the_log(
    redis: Redis, broker: RedisBroker, count: int
) -> None:
    last = [broker.append(LOG, b"lost", 60).number for _ in range(2)][-1]
    name = key(redis)
    redis.do("DEL", name)
    redis.do("RPUSH", name, *["junk"] * count)
    page = broker.read_own(LOG)
    assert (page.since, list(page.entries)) == (last, [])
    broker.append(LOG, b"kept", 60)
    assert held(broker) == [b"kept"] and redis.do("LLEN", name) == 1


def test_another_programs_value_under_the_logs_key_is_refused(
    redis: Redis, broker: RedisBroker
) -> None:
    last = broker.append(LOG, b"lost", 60).number
    redis.do("SET", key(redis), "x")
    assert broker.read_own(LOG).since == last
    with pytest.raises(NotPublished, match="another program has stored"):
        broker.append(LOG, b"x", 60)
    redis.do("DEL", key(redis))
    broker.append(LOG, b"kept", 60)
    assert held(broker) == [b"kept"]


def test_a_feed_is_given_the_horizon_of_an_evicted_log(
    redis: Redis, broker: RedisBroker
) -> None:
    async def test(hub: OwnRecordingSink) -> None:
        broker.append(LOG, b"1", 60)
        await until_on_loop(lambda: hub.entries_of(LOG))
        second = OwnRecordingSink(broker, hub)
        redis.do("DEL", key(redis))
        last = broker.append(LOG, b"2", 60)
        for each in hub, second:
            await until_on_loop(lambda: each.end >= last.number)  # noqa: B023
            assert each.entries_of(LOG)[-1] == (last.number, b"2")
        third = OwnRecordingSink(broker)
        await until_on_loop(lambda: third.end)
        first = third.pages[third.epoch, LOG][0]
        assert (
            list(first.entries) == [(last.number, b"2")]
            and first.since >= hub.watching["a"]
        )
        second.feed.close()
        third.feed.close()

    run(broker, test)


@pytest.mark.parametrize("name", ["store", "heads"])
def test_another_life_of_the_store_has_none_of_its_entries(
    redis: Redis, broker: RedisBroker, name: str
) -> None:
    async def test(hub: OwnRecordingSink) -> None:
        say(broker, "1")
        before = broker.append(LOG, b"1", 60)
        await until_on_loop(lambda: hub.entries_of(LOG))
        (found,) = redis.do("KEYS", f"*:{name}")
        redis.do("DEL", found)
        page = broker.read_own(LOG)
        assert page.epoch != before.epoch and not page.entries
        assert before.number < page.since or name == "store"
        after = broker.append(LOG, b"2", 60)
        await until_on_loop(lambda: hub.epoch == after.epoch and hub.end >= after.number)
        assert hub.entries_of(LOG) == [(after.number, b"2")]

    run(broker, test)


def test_after_a_restart_a_feed_begins_the_log_again(redis: Redis) -> None:
    options = "--appendonly", "yes", "--appendfsync", "always"

    async def test(hub: OwnRecordingSink) -> None:
        for n in range(3):
            number = broker.append(LOG, b"%d" % n, 60).number
            await until_on_loop(lambda: hub.end >= number)  # noqa: B023
            before = hub.epoch
            server.kill()
            server.start()
            await until_on_loop(lambda: hub.epoch != before)  # noqa: B023
            first = hub.pages[hub.epoch, LOG][0]
            assert [entry.data for entry in first.entries] == [b"0", b"1", b"2"][: n + 1]

    (directory := redis.directory / "other").mkdir()
    with Redis.started(directory, *options) as server:
        broker = RedisBroker(server.url, timeout=20)
        run(broker, test)
        broker.close()


def test_a_log_that_was_missed_while_a_link_was_cut_is_read(
    redis: Redis, broker: RedisBroker
) -> None:
    async def test(hub: OwnRecordingSink) -> None:
        numbers = []
        for n in range(4):
            redis.do("CLIENT", "KILL", "TYPE", "pubsub")
            numbers.append(broker.append(LOG, b"%d" % n, 60).number)
            last = say(broker, str(n))
            await until_on_loop(lambda: hub.end >= last.number)  # noqa: B023
        hub.check(LOG, numbers)
        assert [entry.number for entry in hub.entries_of(LOG)] == numbers
        assert len(hub.received("a")) == 4 and not hub.missing

    run(broker, test)


def test_a_long_log_is_read_in_several_pages(
    broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "JOIN_BYTES", 1000)
    numbers = [broker.append(LOG, b"x" * 100, 60).number for _ in range(50)]

    async def test(hub: OwnRecordingSink) -> None:
        await until_on_loop(lambda: hub.end)
        pages = hub.pages[hub.epoch, LOG]
        assert len(pages) > 5
        for before, page in itertools.pairwise(pages):
            assert page.since == before.end
        hub.check(LOG, numbers)
        assert [entry.number for entry in hub.entries_of(LOG)] == numbers

    run(broker, test)


# Clocks.


def test_a_jump_of_the_clock_that_none_has_counted_makes_no_entry_too_old(
    tmp_path: Path,
) -> None:
    with Clock.started(tmp_path) as clock:
        for n in range(2):
            broker = RedisBroker(clock.url, timeout=20)
            broker.append(LOG, b"%d" % n, 3600)
            found = held(broker)
            broker.close()
            clock.advance(86400)
        assert found == [b"0", b"1"]


# Failures.


def test_an_entry_whose_reply_is_lost_is_stored_once(redis: Redis, proxy: Proxy) -> None:
    broker = RedisBroker(proxy.url, timeout=20)
    broker.append(LOG, b"1", 60)
    proxy.cuts = 1
    number = broker.append(LOG, b"2", 60).number
    assert held(broker) == [b"1", b"2"]
    assert broker.read_own(LOG).entries[-1].number == number
    proxy.cuts = 2
    with pytest.raises(PublishUncertain):
        broker.append(LOG, b"3", 60)
    assert held(broker) == [b"1", b"2", b"3"]
    broker.close()


def test_an_append_that_comes_twice_or_late_is_done_once(
    redis: Redis, broker: RedisBroker
) -> None:
    say(broker, "1")
    caller = broker._callers.take()
    append = partial(broker._store.append, LOG, b"1", 60)
    attempt = scripts.APPEND.by_text(append(caller))
    first = redis.do(*attempt)
    assert redis.do(*attempt) == first[:2]
    broker._callers.give_back(caller)
    say(broker, "2")
    redis.do(*attempt)
    assert held(broker) == [b"1"] and heard(broker) == [b"1", b"2"]


def test_a_full_store_takes_no_entry_and_is_read_on(
    redis: Redis, broker: RedisBroker
) -> None:
    async def test(hub: OwnRecordingSink) -> None:
        broker.append(LOG, b"1", 60)
        redis.do("CONFIG", "SET", "maxmemory", "1mb")
        end = redis.do("HGET", "{push}:store", "last")
        with pytest.raises(NotPublished, match="maxmemory"):
            broker.append(LOG, b"no", 60)
        assert redis.do("HGET", "{push}:store", "last") == end
        assert held(broker) == [b"1"]
        # What this one would change can't be stored either.
        other = RedisBroker(redis.url, Retention(age=77), timeout=20)
        assert held(other) == [b"1"]
        other.close()
        await hub.watch("b")
        redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        await hub.watch("c")
        redis.do("CONFIG", "SET", "maxmemory", "0")
        broker.append(LOG, b"2", 60)
        await until_on_loop(lambda: len(hub.entries_of(LOG)) == 2)

    run(broker, test)


@pytest.mark.parametrize("right", ["resetchannels", "-rpush", "-ltrim", "-hset", "-set"])
def test_a_user_who_may_not_append_stores_nothing(
    redis: Redis, broker: RedisBroker, right: str
) -> None:
    broker.append(LOG, b"1", 60)
    other = user(redis, right)
    with pytest.raises(NotPublished, match="user may not do this"):
        other.append(LOG, b"2", 60)
    other.close()
    assert held(broker) == [b"1"]


# Failovers.


def test_after_a_failover_of_a_sentinel_a_feed_begins_the_log_again(
    tmp_path: Path,
) -> None:
    with of_a_sentinel(tmp_path) as parts:
        loses_an_entry(*parts[:3])


def loses_an_entry(broker: AnyRedisBroker, master: Redis, replica: Redis) -> None:
    async def test(hub: OwnRecordingSink) -> None:
        kept = broker.append(LOG, b"kept", 600)
        await until_on_loop(lambda: replica.has_all_of(master))
        replica.stop()
        master.do("CLIENT", "KILL", "TYPE", "replica")
        lost = broker.append(LOG, b"lost", 600)
        await until_on_loop(lambda: hub.end >= lost.number)
        hub.check(LOG, [kept.number, lost.number])
        master.kill()
        replica.go_on()
        await until_on_loop(lambda: hub.epoch != kept.epoch, 60)
        first = hub.pages[hub.epoch, LOG][0]
        assert [entry.data for entry in first.entries] == [b"kept"]
        assert first.since < kept.number
        after = broker.append(LOG, b"after", 600)
        assert after.epoch == hub.epoch and after.number > lost.number
        await until_on_loop(lambda: hub.end >= after.number)
        assert hub.entries_of(LOG) == [(kept.number, b"kept"), (after.number, b"after")]

    run(broker, test)


def test_after_a_failover_in_a_cluster_a_feed_begins_the_log_again(tmp_path: Path) -> None:
    with of_a_cluster(tmp_path) as parts:
        loses_an_entry(*parts[:3])


def test_a_log_moves_with_its_slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # So an entry arrives only if it is published.
    monkeypatch.setattr(feed, "_TICK_SECONDS", 1000)
    options = "--cluster-require-full-coverage", "no"
    with Cluster.started(tmp_path, *options) as cluster:
        broker = ClusterBroker(cluster.url, timeout=30)

        async def test(hub: OwnRecordingSink) -> None:
            before = broker.append(LOG, b"1", 600)
            await until_on_loop(lambda: hub.end >= before.number)
            await asyncio.to_thread(cluster.migrate)
            after = await asyncio.to_thread(broker.append, LOG, b"2", 600)
            await until_on_loop(
                lambda: hub.epoch == after.epoch and hub.end >= after.number, 60
            )
            assert hub.entries_of(LOG) == [(before.number, b"1"), (after.number, b"2")]

        run(broker, test)
        broker.close()
