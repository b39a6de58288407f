"""Items in a Redis: what is kept, and under which names."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.redis_items import items
from support.redis_items import key
from support.redis_items import set_item
from support.redis_items import unset_item
from support.redis_links import proxy as proxy
from support.redis_log import broker as broker
from support.redis_log import heard
from support.redis_log import redis as redis
from support.redis_log import say
from support.redis_monitor import monitor
from support.redis_monitor import touched
from support.redises import Clock
from support.redises import Redis
from support.servers import until

from flask_push import Event
from flask_push.brokers import ItemChange
from flask_push.brokers import items as items_of_brokers
from flask_push.brokers import ItemsFull
from flask_push.brokers import Retention
from flask_push.brokers.redis import item_calls
from flask_push.brokers.redis import RedisBroker
from flask_push.brokers.redis import replies
from flask_push.brokers.redis import scripts

# What is kept.


def test_what_older_versions_know_is_as_it_was(redis: Redis, broker: RedisBroker) -> None:
    """They count channels, bytes and keys, and check that all are there."""
    say(broker, "1")
    names = ["channels", "bytes", "keys", "floor", "oldest", "epoch", "life"]
    before = redis.do("HMGET", "{push}:store", *names)
    set_item(broker, "x", "1", ttl=60, owner="me")
    unset_item(broker, "x")
    assert redis.do("HMGET", "{push}:store", *names) == before
    for script in scripts.PUBLISH, scripts.SPUBLISH, scripts.READ, scripts.PRUNE:
        assert "items" not in script.text and "'rows'" not in script.text
    say(broker, "2")
    assert heard(broker) == [b"1", b"2"]


def test_publishing_does_what_it_did(redis: Redis, broker: RedisBroker) -> None:
    """No command more, whether there are items or not."""

    def commands() -> dict[str, int]:
        stats = redis.do("INFO", "commandstats")
        return {name: stat["calls"] for name, stat in stats.items()}

    def publishing() -> dict[str, int]:
        redis.do("CONFIG", "RESETSTAT")
        for n in range(5):
            say(broker, str(n))
        found = commands()
        own = "cmdstat_info", "cmdstat_config|resetstat"
        return {name: count for name, count in found.items() if name not in own}

    say(broker, "first")
    without = publishing()
    set_item(broker, "x", "1", ttl=60, owner="me")
    counted = ("evalsha", "hmget", "zcard", "get", "lindex", "rpush", "hset", "set")
    for _ in range(20):
        again = publishing()
        # Once a second, it checks more.
        if again["cmdstat_hmget"] == without["cmdstat_hmget"]:
            break
    for name in counted:
        assert again[f"cmdstat_{name}"] == without[f"cmdstat_{name}"]
    assert again.keys() == without.keys()


@pytest.mark.parametrize("count", [1, 20])
def test_sets_like_those_before_them_need_few_commands(
    redis: Redis, broker: RedisBroker, count: int
) -> None:
    """So they cost about as much as publishing, of many items as of one."""
    changes = [ItemChange("a", str(n), "x") for n in range(count)]

    def cost() -> int:
        redis.do("CONFIG", "RESETSTAT")
        broker.change(changes)
        stats = redis.do("INFO", "commandstats")
        calls: dict[str, int] = {name: stat["calls"] for name, stat in stats.items()}
        return sum(calls.values()) - calls["cmdstat_config|resetstat"]

    broker.change(changes)
    # Once a second, it checks more.
    assert min(cost() for _ in range(5)) <= 12


def test_a_quick_set_does_what_a_slow_one_does(redis: Redis, broker: RedisBroker) -> None:
    """The second has a version, so all is read and checked."""
    for item, data in ("x", "1"), ("y", "22"), ("x", "333"), ("x", ""):
        set_item(broker, item, data)
        set_item(broker, item, data, channel="b", version=1 if item == "y" else None)
        set_item(broker, item, data, channel="b", version=None, ttl=None)
    quick = redis.do("HGET", key(redis, "items"), ":a").split(b":")
    slow = redis.do("HGET", key(redis, "items"), ":b").split(b":")
    assert quick[2:] == slow[2:]
    assert items(broker) == items(broker, "b") == {"x": b"", "y": b"22"}
    assert broker.read_items(["a"]).rows[0].position.number < int(quick[1])


def test_quick_sets_of_many_items_do_what_slow_ones_do(
    redis: Redis, broker: RedisBroker
) -> None:
    """The second have an event before them, so all is read and checked."""
    sets = ["x", "y"], ["x", "z", "gone"], ["ä", "y", "gone", "u"], ["u", "x"]
    for n, names in enumerate(sets):
        for channel in "ab":
            changes = [
                ItemChange(channel, item, item * n, "news" if n == 2 else "message")
                for item in names
            ]
            before = [Event("b", "1")] if channel == "b" else []
            numbers = [made.number for made in broker.change([*before, *changes])]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            if n == 1:
                unset_item(broker, "gone", channel=channel)
    quick = redis.do("HGET", key(redis, "items"), ":a").split(b":")
    slow = redis.do("HGET", key(redis, "items"), ":b").split(b":")
    assert quick[2:5] == slow[2:5]
    rows = [
        [(row.item, row.type, row.data) for row in broker.read_items([channel]).rows]
        for channel in "ab"
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 6
    assert broker.read_items(["a"]).rows[-1].position.number == int(quick[1])


def test_many_quick_sets_stay_within_the_bounds(redis: Redis) -> None:
    broker = RedisBroker(redis.url, Retention(items=4, item_bytes=1000), timeout=20)
    broker.change([ItemChange("a", item, "x") for item in "xy"])
    broker.change([ItemChange("a", item, "x") for item in "xyz"])
    with pytest.raises(ItemsFull, match="5 items"):
        broker.change([ItemChange("a", item, "y") for item in "xuv"])
    with pytest.raises(ItemsFull, match="1,235 bytes"):
        broker.change([ItemChange("a", "u", "y" * 800), ItemChange("a", "x", "y")])
    assert items(broker) == {"x": b"x", "y": b"x", "z": b"x"}
    broker.close()


@pytest.mark.parametrize("at_once", [1, 11], ids=["single", "many"])
def test_names_of_many_items_have_an_index(
    redis: Redis, broker: RedisBroker, at_once: int
) -> None:
    """A Redis would look for each among up to 128, one after the other."""

    def forms() -> list[bytes]:
        names = key(redis, "order"), key(redis, "rows")
        return [redis.do("OBJECT", "ENCODING", name) for name in names]

    found = []
    names = [str(n) for n in range(33)]
    for at in range(0, 33, at_once):
        broker.change([ItemChange("a", name, "1") for name in names[at : at + at_once]])
        found.append(forms())
    assert found[-1] == [b"skiplist", b"hashtable"]
    assert not {*found[-1]} & {form for forms in found[:-1] for form in forms}
    assert list(items(broker)) == names
    assert redis.do("ZCARD", key(redis, "order")) == 33


def test_versions_that_no_double_can_tell_apart_are_told_apart(broker: RedisBroker) -> None:
    greatest = 2**63 - 1
    first = set_item(broker, "x", "1", version=greatest - 1)
    assert set_item(broker, "x", "2", version=greatest - 2) == first
    assert set_item(broker, "x", "2", version=greatest - 1) == first
    second = set_item(broker, "x", "3", version=greatest)
    assert second.number > first.number and items(broker) == {"x": b"3"}
    assert broker.read_items(["a"]).rows[0].version == greatest
    third = set_item(broker, "y", "1", version=9)
    assert set_item(broker, "y", "2", version=10).number > third.number


def test_bounds_are_those_of_the_last_who_set_them(
    redis: Redis, broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3):
        set_item(broker, str(n), "x")
    other = RedisBroker(redis.url, Retention(items=2, item_bytes=500), timeout=20)
    other.read_items(["a"])
    for item in "new", "0":
        if item == "new":
            with pytest.raises(ItemsFull, match="PUSH_MAX_ITEMS"):
                set_item(broker, item, "x")
        else:
            set_item(broker, item, "y")
    with pytest.raises(ItemsFull, match="PUSH_ITEMS_BYTES"):
        set_item(broker, "0", "x" * 500)
    # Those of Flask-Push's own have other bounds.
    broker.change([ItemChange("a", str(n), "x" * 500, kind="own") for n in range(9)])
    assert items(broker) == {"0": b"y", "1": b"x", "2": b"x"}
    for module in items_of_brokers, item_calls:
        monkeypatch.setattr(module, "OWN_BOUNDS", (9, 6000))
    bounded = RedisBroker(redis.url, timeout=20)
    with pytest.raises(ItemsFull, match="would have 10 items, more than"):
        set_item(bounded, "9", "x", kind="own")
    with pytest.raises(ItemsFull, match="would have .* bytes, more than"):
        set_item(bounded, "8", "x" * 1100, kind="own")
    bounded.close()
    other.close()


def test_very_many_changes_are_made_in_one_call(redis: Redis) -> None:
    broker = RedisBroker(redis.url, timeout=60)
    changes: list[Event | ItemChange] = []
    for n in range(5000):
        changes += [ItemChange(f"c{n % 50}", f"i{n}", str(n)), Event(f"c{n % 7}", str(n))]
    numbers = [position.number for position in broker.change(changes)]
    assert numbers == list(range(numbers[0], numbers[0] + 10_000))
    page = broker.read([f"c{n}" for n in range(50)], after=0, items=True, limit=2**30)
    assert [entry.number for entry in page.entries] == numbers
    changes = [ItemChange(f"c{n % 50}", f"i{n}", None) for n in range(5000)]
    broker.change(changes)
    assert not broker.read_items([f"c{n}" for n in range(50)], limit=2**30).rows
    broker.close()


# Time.


def test_a_jump_of_the_clock_that_none_has_counted_ends_no_items_time(
    tmp_path: Path,
) -> None:
    with Clock.started(tmp_path) as clock:
        for day in range(2):
            broker = RedisBroker(clock.url, timeout=20)
            set_item(broker, str(day), "x", ttl=3600)
            # It was set after the jump.
            set_item(broker, f"short-{day}", "x", ttl=0.001)
            until(broker.due)
            assert all(c.item.startswith("short") for c in broker.due())
            assert items(broker).keys() >= {str(n) for n in range(day + 1)}
            broker.close()
            clock.advance(86400)


def test_what_is_set_between_two_jumps_ends_in_time(tmp_path: Path) -> None:
    with Clock.started(tmp_path) as clock:
        for jump in 3, 2:
            broker = RedisBroker(clock.url, timeout=20)
            set_item(broker, f"long-{jump}", "x", ttl=3 * 3600)
            set_item(broker, f"short-{jump}", "x", ttl=1)
            broker.close()
            clock.advance(jump * 3600)
            broker = RedisBroker(clock.url, timeout=20)
            set_item(broker, "other", "x", channel="b")
            broker.close()
            # The clock is put back, so the jump was one.
            clock.advance(-jump * 3600)
            broker = RedisBroker(clock.url, timeout=20)
            set_item(broker, "other", "x", channel="b")
            until(lambda: f"short-{jump}" in {c.item for c in broker.due()})  # noqa: B023
            assert all(c.item.startswith("short") for c in broker.due())
            broker.close()


def test_a_clock_that_is_set_ends_no_items_time_and_delays_none(tmp_path: Path) -> None:
    with Clock.started(tmp_path) as clock:
        broker = RedisBroker(clock.url, timeout=20)
        for days in 400, -800, 400:
            set_item(broker, "long", str(days), ttl=3600)
            set_item(broker, "short", str(days), ttl=0.05)
            clock.advance(days * 86400)
            assert "long" in items(broker)
            until(broker.due)
            assert [change.item for change in broker.due()] == ["short"]
        broker.close()


# Names.


def test_scripts_of_items_touch_no_key_that_was_not_named(
    redis: Redis, broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_calls, "MIN_TOMBSTONES", 1)
    other = RedisBroker(redis.url, Retention(items=90), timeout=20)
    with monitor(redis) as done:
        set_item(other, "quick", "1")
        set_item(other, "quick", "2")
        for n in range(4):
            change = ItemChange(
                f"c{n}", "x", "1", ttl=0.001, owner="me", kind="own" * (n % 2)
            )
            other.change([change, Event("a", "1"), Event("b", "2", key="k")])
            set_item(other, f"gone{n}", "1")
            unset_item(other, f"gone{n}")
        until(lambda: len(other.due()) == 4)
        assert len(other.owned("me", kind="own")) == 2
        other.change(other.due())
        other.read(["a", "b"], after=0, items=True)
        other.read_items(["c0", "c1"], kind="own", due=True)
        set_item(other, "x", "1", ttl=60, owner="me")
        redis.do("DEL", key(redis, "rows::a"))
        other.read_items(["a"])
        redis.do("DEL", key(redis, "items"))
        other.read_items(["a"])
    other.close()
    commands = {"HDEL", "DEL", "ZREM", "ZRANGEBYLEX", "ZRANGEBYSCORE", "ZREMRANGEBYRANK"}
    assert commands | {"HLEN", "PUBLISH", "SET"} <= touched(done)


def test_no_channel_shows_items_of_flask_pushs_own(broker: RedisBroker) -> None:
    names = ["a", ":a", "own:a", "rows:own:a"]
    broker.change([ItemChange("a", "x", "secret", kind="own", owner="me")])
    broker.change([ItemChange(name, "x", name) for name in names])
    page = broker.read(names, after=0, items=True)
    assert [entry.data.decode() for entry in page.entries] == names
    assert [row.data for row in broker.read_items(["a"], kind="own").rows] == [b"secret"]
    assert not broker.owned("me", kind="") and broker.owned("me", kind="own")


def test_names_with_any_characters_are_told_apart(broker: RedisBroker) -> None:
    names = ["a", "a:1", "1:a", ":", "ä\0\n", "x" * 64, "1:a1:a", "\U0010ffff"]
    for channel in names:
        for owner in "", *names:
            broker.change([ItemChange(channel, owner or "-", channel, owner=owner, ttl=60)])
    for owner in names:
        rows = broker.owned(owner, kind="")
        assert [(row.channel, row.item) for row in rows] == [(n, owner) for n in names]
        assert len(broker.owned(owner, kind="", limit=3)) == 3
    for channel in names:
        broker.change([ItemChange(channel, name, None) for name in ("-", *names)])
    assert not broker.owned("a", kind="")


def test_rows_that_are_due_are_named_in_any_channel(broker: RedisBroker) -> None:
    names = ["a", "a:1", "1:a", "ä\0\n", "1:a1:a"]
    wanted = []
    for kind in "", "own":
        for name in names:
            broker.change([ItemChange(name, name, "x", ttl=0.001, kind=kind)])
            wanted.append((kind, name, name))
    until(lambda: len(broker.due()) == len(wanted))
    found = broker.due()
    assert [(change.kind, change.channel, change.item) for change in found] == wanted
    assert len(broker.due(3)) == 3
    broker.change(found)
    assert not broker.due()


# Rows are published so that older hubs skip them.


def test_what_is_published_of_items_is_no_event_of_an_older_version(
    redis: Redis, broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_calls, "MIN_TOMBSTONES", 1)
    path = redis.socket
    with subprocess.Popen(
        ["redis-cli", "-s", str(path), "SUBSCRIBE", "{push}:0:a"], stdout=subprocess.PIPE
    ) as listener:
        assert listener.stdout is not None
        for _ in range(3):
            listener.stdout.readline()
        other = RedisBroker(redis.url, timeout=20)
        for item in "xyz":
            set_item(other, item, "1:2:3")
            unset_item(other, item)
        other.close()
        published = [listener.stdout.readline().strip() for _ in range(24)][2::3]
        listener.kill()
    assert len(published) == 8
    for data in published:
        with pytest.raises(ValueError):
            replies.published("a", data)
        # An older version with RESP2 asks for the number first.
        assert int(data.split(b":", 2)[1]) > 0
    assert published[-1].count(b":h:") == 1
