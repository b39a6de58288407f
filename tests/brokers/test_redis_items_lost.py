"""Items in a Redis that may be lost or refused."""

from __future__ import annotations

from functools import partial

import pytest
from support.proxies import Proxy
from support.redis_items import items
from support.redis_items import key
from support.redis_items import set_item
from support.redis_items import unset_item
from support.redis_links import proxy as proxy
from support.redis_links import user
from support.redis_log import broker as broker
from support.redis_log import heard
from support.redis_log import redis as redis
from support.redis_log import say
from support.redises import Redis
from support.servers import until

from flask_push import Event
from flask_push import NotPublished
from flask_push import PublishUncertain
from flask_push.brokers import Conflict
from flask_push.brokers import ItemChange
from flask_push.brokers import NotRead
from flask_push.brokers import Retention
from flask_push.brokers.redis import RedisBroker
from flask_push.brokers.redis import scripts
from flask_push.brokers.redis.item_calls import Changes

KINDS = ["rows", "order", "unset"]


# What is lost.


@pytest.mark.parametrize("kind", ["rows", "order"])
def test_evicted_items_end_the_epoch(redis: Redis, broker: RedisBroker, kind: str) -> None:
    say(broker, "kept")
    before = set_item(broker, "x", "1", owner="me", ttl=60)
    set_item(broker, "x", "other", channel="b", owner="me", ttl=60)
    redis.do("DEL", key(redis, f"{kind}::a"))
    page = broker.read_items(["a"])
    assert page.epoch != before.epoch and not page.rows
    assert page.horizons["a"] < before.number
    assert broker.read_items(["a"]).epoch == page.epoch
    # Nothing else is lost, and nothing of them is left.
    assert items(broker, "b") == {"x": b"other"} and heard(broker) == [b"kept"]
    assert [row.channel for row in broker.owned("me", kind="")] == ["b"]
    assert redis.do("ZCARD", key(redis, "deadlines")) == 1
    after = set_item(broker, "x", "2", expect="")
    assert after.epoch == page.epoch and items(broker) == {"x": b"2"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["change", "expect", "page", "owned"])
def test_whoever_finds_evicted_items_ends_the_epoch(
    redis: Redis, broker: RedisBroker, kind: str, how: str
) -> None:
    set_item(broker, "x", "1", owner="me")
    set_item(broker, "y", "1", owner="me")
    old = unset_item(broker, "y")
    redis.do("DEL", key(redis, kind))
    if how == "change":
        assert set_item(broker, "z", "1", version=1).epoch != old.epoch
        assert items(broker) == {"z": b"1"}
    elif how == "expect":
        with pytest.raises(Conflict):
            set_item(broker, "x", "2", expect=str(old))
        assert not items(broker)
    elif how == "page":
        page = broker.read(["a"], after=0, items=True)
        assert page.epoch != old.epoch and not page.entries
    else:
        assert not broker.owned("me", kind="")
    assert broker.read([], after=0).epoch != old.epoch


def test_a_quick_set_finds_evicted_rows(redis: Redis, broker: RedisBroker) -> None:
    for item in "xy":
        set_item(broker, item, "1")
    before = set_item(broker, "x", "2")
    redis.do("DEL", key(redis, "rows"))
    after = set_item(broker, "x", "3")
    assert after.epoch != before.epoch and items(broker) == {"x": b"3"}


@pytest.mark.parametrize("name", ["items", "deadlines", "owners", "store", "heads"])
def test_without_a_key_of_all_items_another_life_begins(
    redis: Redis, broker: RedisBroker, name: str
) -> None:
    say(broker, "1")
    before = set_item(broker, "x", "1", owner="me", ttl=60)
    redis.do("DEL", key(redis, name))
    page = broker.read_items(["a"])
    assert page.epoch != before.epoch and not page.rows
    assert not broker.due() and not broker.owned("me", kind="")
    after = set_item(broker, "x", "2", expect="")
    assert after.epoch == page.epoch and items(broker) == {"x": b"2"}
    if name != "store":
        assert after.number > page.horizons["a"] > before.number


@pytest.mark.parametrize("kind", KINDS)
def test_another_programs_value_under_a_key_of_items_is_refused(
    redis: Redis, broker: RedisBroker, kind: str
) -> None:
    set_item(broker, "x", "1")
    unset_item(broker, "x")
    set_item(broker, "y", "1")
    name = key(redis, kind)
    redis.do("SET", name, "theirs")
    for version in None, 1:
        with pytest.raises(NotPublished, match="another program has stored"):
            broker.change([Event("a", "no"), ItemChange("a", "z", "1", version=version)])
    assert not items(broker) and redis.do("GET", name) == b"theirs"
    redis.do("DEL", name)
    set_item(broker, "z", "1")
    assert items(broker) == {"z": b"1"} and not heard(broker)


@pytest.mark.parametrize("row", ["junk", "1:abcde::::0:1:xy"])
def test_a_row_of_another_program_is_none(
    redis: Redis, broker: RedisBroker, row: str
) -> None:
    before = set_item(broker, "x", "1")
    redis.do("HSET", key(redis, "rows"), "x", row)
    page = broker.read(["a"], after=0, items=True)
    assert page.epoch != before.epoch and not page.entries
    assert not items(broker)


# Failures.


def test_a_change_whose_reply_is_lost_is_made_once(redis: Redis, proxy: Proxy) -> None:
    broker = RedisBroker(proxy.url, timeout=20)
    first = set_item(broker, "x", "1")
    proxy.cuts = 1
    # Made twice, it would be a Conflict with itself.
    second = set_item(broker, "x", "2", expect=str(first))
    assert broker.read_items(["a"]).rows[0].position == second
    proxy.cuts = 1
    third, event = broker.change([ItemChange("a", "x", "3"), Event("a", "1")])
    assert event.number == third.number + 1
    assert heard(broker) == [b"1"] and broker.read([], after=0).end == event.number
    proxy.cuts = 2
    with pytest.raises(PublishUncertain):
        set_item(broker, "x", "4")
    broker.close()


@pytest.mark.parametrize("version", [None, 1], ids=["quick", "slow"])
def test_a_call_that_comes_twice_or_late_is_done_once(
    redis: Redis, broker: RedisBroker, version: int | None
) -> None:
    for n in range(2):
        set_item(broker, "x", str(n))
    caller = broker._callers.take()
    call = Changes([ItemChange("a", "x", "late", version=version)])
    attempt = scripts.CHANGE.by_text(broker._items._calls.change(call, caller))
    first = redis.do(*attempt)
    assert redis.do(*attempt)[:2] == first[:2]
    broker._callers.give_back(caller)
    last = set_item(broker, "x", "last", version=2)
    redis.do(*attempt)
    (row,) = broker.read_items(["a"]).rows
    assert (row.position, row.data) == (last, b"last")


def test_a_store_whose_scripts_were_flushed_is_used_on(
    redis: Redis, broker: RedisBroker
) -> None:
    set_item(broker, "x", "1", ttl=0.001, owner="me")
    redis.do("SCRIPT", "FLUSH")
    until(broker.due)
    redis.do("SCRIPT", "FLUSH")
    broker.change(broker.due())
    redis.do("SCRIPT", "FLUSH")
    assert not items(broker) and not broker.owned("me", kind="")


def test_a_full_store_takes_no_change_and_is_read_on(
    redis: Redis, broker: RedisBroker
) -> None:
    set_item(broker, "x", "1")
    redis.do("CONFIG", "SET", "maxmemory", "1mb")
    end = redis.do("HGET", "{push}:store", "last")
    for version in None, 1:
        with pytest.raises(NotPublished, match="maxmemory"):
            set_item(broker, "x", "no", version=version)
    with pytest.raises(NotPublished, match="maxmemory"):
        broker.change([Event("a", "no"), ItemChange("a", "x", "no"), Event("a", "no")])
    assert redis.do("HGET", "{push}:store", "last") == end
    # What this one would change can't be stored either.
    other = RedisBroker(redis.url, Retention(age=77, items=5), timeout=20)
    assert items(other) == {"x": b"1"} and not other.due()
    other.close()
    redis.do("CONFIG", "SET", "maxmemory", "0")
    set_item(broker, "x", "2")
    assert items(broker) == {"x": b"2"} and not heard(broker)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru", "volatile-ttl"])
def test_a_store_that_may_evict_loses_no_item_silently(
    redis: Redis, broker: RedisBroker, policy: str
) -> None:
    kept = {f"i{n}": b"%d" % n for n in range(50)}
    broker.change([ItemChange("a", item, data.decode()) for item, data in kept.items()])
    before = broker.read_items(["a"])
    redis.do("CONFIG", "SET", "maxmemory-policy", policy)
    used = redis.info("memory", "used_memory")
    redis.do("CONFIG", "SET", "maxmemory", used + 100_000)
    for n in range(200):
        try:
            say(broker, "x" * 5000, channel=f"c{n}")
        except NotPublished:
            assert policy.startswith("volatile")
    redis.do("CONFIG", "SET", "maxmemory", "0")
    page = broker.read_items(["a"])
    if page.epoch == before.epoch:
        assert {row.item: row.data for row in page.rows} == kept


@pytest.mark.parametrize(
    "right", ["resetchannels", "-hset", "-zadd", "-hdel", "-del", "-set", "-hlen"]
)
def test_a_user_who_may_not_change_stores_nothing(
    redis: Redis, broker: RedisBroker, right: str
) -> None:
    before = set_item(broker, "x", "1")
    other = user(redis, right)
    with pytest.raises(NotPublished, match="user may not do this"):
        set_item(other, "x", "2")
    with pytest.raises(NotPublished, match="user may not do this"):
        other.change([Event("a", "no"), ItemChange("a", "y", "2")])
    other.close()
    assert items(broker) == {"x": b"1"} and not heard(broker)
    assert broker.read([], after=0).epoch == before.epoch


@pytest.mark.parametrize("right", ["-hlen", "-zrangebyscore"])
def test_a_user_who_may_not_read_items_ends_no_life(
    redis: Redis, broker: RedisBroker, right: str
) -> None:
    before = set_item(broker, "x", "1", ttl=0.001)
    other = user(redis, right)
    for read in partial(other.read_items, ["a"]), other.due:
        with pytest.raises(NotRead, match="user may not do this"):
            read()
    other.close()
    assert broker.read([], after=0).epoch == before.epoch
    until(broker.due)


def test_a_user_who_may_not_publish_all_of_a_call_is_not_told_that_nothing_is_stored(
    redis: Redis, broker: RedisBroker
) -> None:
    say(broker, "0")
    other = user(redis, "resetchannels", "&{push}:0:a")
    with pytest.raises(PublishUncertain, match="channel"):
        other.change([ItemChange("a", "x", "1"), Event("a", "1"), Event("b", "2")])
    other.close()
    # What is stored is counted: nothing is taken for lost.
    epoch = broker.read_items(["a"]).epoch
    assert items(broker) == {"x": b"1"} and heard(broker) == [b"0", b"1"]
    last = set_item(broker, "x", "2")
    numbers = [e.number for e in broker.read(["a"], after=0, items=True).entries]
    assert numbers == sorted(set(numbers)) and last.epoch == epoch


def test_a_quick_set_that_is_stored_and_not_published_is_not_called_unpublished(
    redis: Redis, broker: RedisBroker
) -> None:
    for channel in "ab":
        set_item(broker, "x", "1", channel=channel)
    other = user(redis, "resetchannels", "&{push}:0:a")
    set_item(other, "x", "2")
    with pytest.raises(PublishUncertain, match="channel"):
        for _ in range(2):
            set_item(other, "x", "2", channel="b")
    other.close()
    epoch = broker.read_items(["b"]).epoch
    assert items(broker) == items(broker, "b") == {"x": b"2"}
    assert set_item(broker, "x", "3", channel="b").epoch == epoch


def test_a_log_that_another_program_has_stored_refuses_all_of_a_call(
    redis: Redis, broker: RedisBroker
) -> None:
    say(broker, "1", channel="b")
    redis.do("SET", key(redis, "log:b"), "theirs")
    for events in [Event("b", "x")], [Event("a", "x"), Event("b", "x")]:
        with pytest.raises(NotPublished, match="another program has stored"):
            broker.change([ItemChange("a", "x", "1"), *events])
    assert not items(broker) and not heard(broker)
