"""The clock of a Redis may be wrong, and be put right: time is not the order of events."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t
from pathlib import Path

import pytest
from support.redis_log import listen
from support.redis_log import proved
from support.redises import Clock

from flask_push import Event
from flask_push import NotPublished
from flask_push import NotRead
from flask_push import Position
from flask_push._system.clock import since_boot
from flask_push.brokers import Bridge
from flask_push.brokers import Retention
from flask_push.brokers.redis import calls
from flask_push.brokers.redis import feed
from flask_push.brokers.redis import RedisBroker
from flask_push.brokers.redis.bridge import RedisBridge
from flask_push.brokers.redis.feed import RedisFeed
from flask_push.brokers.redis.pool import Place
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until as until_on_loop

HOUR, YEAR = 3600.0, 365 * 86400.0
# As far as it can go at once before a step is held for a jump.
STEP = 50.0


@pytest.fixture
def clock(tmp_path: Path) -> cabc.Iterator[Clock]:
    with Clock.started(tmp_path) as clock:
        yield clock


@pytest.fixture
def broker(clock: Clock) -> cabc.Iterator[RedisBroker]:
    broker = RedisBroker(clock.url, Retention(age=HOUR), timeout=10)
    yield broker
    broker.close()


class Time:
    """Passes, and in each step something is published."""

    def __init__(self, clock: Clock, broker: RedisBroker, each_anew: bool) -> None:
        self.clock = clock
        self.broker = broker
        #: Whether each event comes from a process that has not seen the store before.
        self.each_anew = each_anew
        self.said = 0

    def passes(self, seconds: float, channel: str = "time") -> list[bytes]:
        said = []
        for _ in range(round(seconds / STEP)):
            self.clock.advance(STEP)
            said.append(self.say(channel))
        return said

    def say(self, channel: str) -> bytes:
        self.said += 1
        broker = RedisBroker(self.clock.url, timeout=10) if self.each_anew else self.broker
        broker.publish([Event(channel, str(self.said))])
        if self.each_anew:
            broker.close()
        return str(self.said).encode()

    def held(self, channel: str) -> list[bytes]:
        reader = RedisBroker(self.clock.url, timeout=10)
        page = reader.read([channel], after=0, limit=2**30)
        reader.close()
        numbers = [entry.number for entry in page.entries]
        assert numbers == sorted(set(numbers))
        assert page.end >= max(numbers, default=0)
        return [entry.data for entry in page.entries]


@pytest.fixture(params=[False, True], ids=["one process", "many processes"])
def time(clock: Clock, request: pytest.FixtureRequest, broker: RedisBroker) -> Time:
    broker.read([], after=0)
    return Time(clock, broker, request.param)


def is_kept_for_an_hour(time: Time, old: list[bytes], channel: str = "old") -> None:
    """What is there is kept for the rest of its hour, and then no longer."""
    time.passes(HOUR / 2)
    assert set(old) <= set(time.held(channel))
    later = time.passes(HOUR, "later")
    assert not time.held(channel)
    assert time.held("later") == later
    time.passes(1.2 * HOUR)
    assert not time.held("later")
    # The slack for which the oldest may be kept longer.
    assert len(time.held("time")) <= HOUR / STEP * 1.1


def test_one_publish_with_the_clock_a_year_ahead_forgets_nothing_early_or_never(
    clock: Clock, broker: RedisBroker, time: Time
) -> None:
    old = time.passes(600, "old")
    epoch = broker.read([], after=0).epoch
    clock.advance(YEAR)
    old.append(time.say("old"))
    assert time.held("old") == old
    clock.advance(-YEAR)
    old.append(time.say("old"))
    assert time.held("old") == old
    assert broker.read([], after=0).epoch == epoch
    is_kept_for_an_hour(time, old)


def test_a_clock_that_is_put_back_forgets_nothing_early_or_never(
    clock: Clock, broker: RedisBroker, time: Time
) -> None:
    old = time.passes(600, "old")
    epoch = broker.read([], after=0).epoch
    clock.advance(-YEAR)
    old.append(time.say("old"))
    assert time.held("old") == old
    is_kept_for_an_hour(time, old)
    # And when it is right again.
    old = time.passes(300, "old")
    clock.advance(YEAR)
    old.append(time.say("old"))
    is_kept_for_an_hour(time, old)
    assert broker.read([], after=0).epoch == epoch


def test_a_clock_that_jumps_again_and_again_forgets_nothing_early_or_never(
    clock: Clock, time: Time
) -> None:
    old = time.passes(300, "old")
    for years in (1, -1, 2, -2, -1, 1, 3, -3):
        clock.advance(years * YEAR)
        old.append(time.say("old"))
    assert time.held("old") == old
    is_kept_for_an_hour(time, old)


def test_a_clock_that_jumps_while_nothing_is_stored_leaves_no_trace(
    clock: Clock, broker: RedisBroker, time: Time
) -> None:
    old = time.passes(300, "old")
    clock.advance(YEAR)
    broker.publish([Event("old", "typing", store=False)])
    clock.advance(-YEAR)
    old.append(time.say("old"))
    is_kept_for_an_hour(time, old)


def test_a_jump_that_nobody_knows_to_be_none_lets_what_is_too_old_go(
    clock: Clock, time: Time
) -> None:
    """The machine slept, or nothing was published for so long."""
    time.each_anew = True
    old = time.passes(300, "old")
    clock.advance(2 * HOUR)
    time.say("time")
    # It may still be a mistake.
    assert time.held("old") == old
    time.passes(100)
    assert not time.held("old")


def test_a_clock_that_stays_wrong_for_hours_forgets_nothing_early_or_never(
    clock: Clock, broker: RedisBroker
) -> None:
    """Whoever was there before knows better."""
    time = Time(clock, broker, each_anew=False)
    old = time.passes(600, "old")
    for years in 1, -3:
        clock.advance(years * YEAR)
        quick = [broker.publish([Event("quick", "x")])[0].number for _ in range(5)]
        assert quick == sorted(quick) and quick[-1] - quick[0] < 1e6 * HOUR
        old += time.passes(600, "old")
    is_kept_for_an_hour(time, old[-12:])


def test_a_hub_knows_the_time_for_those_who_do_not(
    clock: Clock, broker: RedisBroker, soon: None
) -> None:
    async def test(hub: RecordingSink) -> None:
        broker.publish([Event("a", "old")])
        clock.advance(YEAR)
        # It says so before anybody else comes.
        await until_on_loop(lambda: ahead(clock) < -YEAR / 2)
        time = Time(clock, broker, each_anew=True)
        time.passes(300)
        assert time.held("a") == [b"old"]
        time.passes(HOUR)
        assert not time.held("a")

    listen(broker, test)


def test_a_hub_that_comes_to_a_silent_store_knows_the_time_when_it_has_gone_on(
    clock: Clock, soon: None
) -> None:
    broker = RedisBroker(clock.url, Retention(age=HOUR), timeout=10)
    broker.publish([Event("a", "old")])
    broker.close()
    clock.advance(HOUR / 2)
    other = RedisBroker(clock.url, timeout=10)

    async def test(hub: RecordingSink) -> None:
        known = t.cast(RedisFeed, hub.feed)._store._time
        await until_on_loop(lambda: known._ahead is not None)
        assert known._since, "it was in doubt"
        clock.advance(YEAR)
        await until_on_loop(lambda: ahead(clock) < -YEAR / 2)
        assert Time(clock, other, each_anew=True).held("a") == [b"old"]

    listen(other, test)
    other.close()


def ahead(clock: Clock) -> float:
    return int(clock.do("HGET", "{push}:store", "ahead")) / 1e6


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute is long for a test."""
    monkeypatch.setattr(feed, "_TICK_SECONDS", 0.05)
    monkeypatch.setattr(calls, "_MINUTE", 500_000)


def test_who_has_slept_does_not_set_the_time_back(
    clock: Clock, broker: RedisBroker
) -> None:
    """Its own clock stood still, while others published."""
    broker.publish([Event("a", "1")])
    Time(clock, broker, each_anew=True).passes(600, "old")
    clock.advance(STEP)
    broker.publish([Event("a", "2")])
    assert ahead(clock) == 0


def test_after_a_silence_that_somebody_has_counted_what_is_too_old_goes_at_once(
    clock: Clock, broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Time(clock, broker, each_anew=False)
    time.say("old")
    monkeypatch.setattr(calls, "since_boot", lambda: since_boot() + round(2e6 * HOUR))
    clock.advance(2 * HOUR)
    time.say("time")
    assert not time.held("old")
    assert ahead(clock) == 0


def test_a_jump_of_long_ago_does_not_keep_anything(clock: Clock, time: Time) -> None:
    time.passes(100)
    clock.advance(YEAR)
    time.say("time")
    clock.advance(-YEAR)
    time.passes(1.2 * HOUR)
    test_a_jump_that_nobody_knows_to_be_none_lets_what_is_too_old_go(clock, time)


def test_a_hub_hears_everything_in_spite_of_the_clock(
    clock: Clock, broker: RedisBroker
) -> None:
    async def test(hub: RecordingSink) -> None:
        said, epoch = [], hub.epoch
        for n, years in enumerate([0, 1, -1, -1, 2, -1]):
            clock.advance(years * YEAR)
            said.append(str(n).encode())
            (position,) = broker.publish([Event("a", str(n))])
            await proved(hub, position)
            if n == 3:
                clock.do("CLIENT", "KILL", "TYPE", "pubsub")
        assert hub.received("a") == said
        assert hub.missing == 0 and hub.epoch == epoch

    listen(broker, test)


def test_keys_are_known_for_the_retention_in_spite_of_the_clock(
    clock: Clock, broker: RedisBroker, time: Time
) -> None:
    def publish(key: str, store: bool) -> Position:
        (position,) = broker.publish([Event("a", "x", key=key, store=store)])
        return position

    first = {(key, store): publish(f"{key} {store}", store) for key, store in KINDS[:2]}
    clock.advance(YEAR)
    first |= {(key, store): publish(f"{key} {store}", store) for key, store in KINDS[2:]}
    clock.advance(-YEAR)
    for _ in range(2):
        for (key, store), position in first.items():
            assert publish(f"{key} {store}", store) == position
        time.passes(HOUR / 3)
    time.passes(HOUR)
    # What prunes the store is told so by who publishes.
    assert clock.do("HGET", "{push}:store", "keys") == b"0"
    for (key, store), position in first.items():
        assert publish(f"{key} {store}", store).number > position.number


KINDS = [("before", True), ("before", False), ("while", True), ("while", False)]


def test_a_lease_that_was_taken_with_a_wrong_clock_can_be_taken(
    clock: Clock, broker: RedisBroker
) -> None:
    """Its time is up in a year, and its hub is gone."""

    async def test(hub: RecordingSink) -> None:
        loop = asyncio.get_running_loop()
        place = Place(clock.url)
        clock.advance(YEAR)
        gone = RedisBridge(place, None, Bridge("redis:x", "a"), loop, 1000)
        await until_on_loop(lambda: gone.has_lease)
        gone.has_lease = False  # As if it were killed: it says nothing.
        gone.close()
        clock.advance(-YEAR)
        bridge = RedisBridge(place, None, Bridge("redis:x", "a"), loop, 1000)
        try:
            await until_on_loop(lambda: bridge.has_lease)
            clock.do("PUBLISH", "x", "bridged")
            await until_on_loop(lambda: b"bridged" in hub.received("a"))
        finally:
            bridge.close()

    listen(broker, test)


@pytest.mark.parametrize("fields", [["last"], ["last", "checked"]])
def test_a_store_whose_numbers_can_not_grow_any_more_begins_anew(
    clock: Clock, broker: RedisBroker, fields: list[str]
) -> None:
    (before,) = broker.publish([Event("a", "1")])
    for field in fields:
        clock.do("HSET", "{push}:store", field, 2**53 + 1)
    positions = broker.publish([Event("a", "2"), Event("b", "3"), Event("a", "4")])
    numbers = [position.number for position in positions]
    assert numbers == sorted(set(numbers)) and numbers[-1] < 2**53
    assert positions[0].epoch != before.epoch


def test_a_clock_from_beyond_the_year_2255_is_refused(
    clock: Clock, broker: RedisBroker
) -> None:
    broker.publish([Event("a", "1")])
    clock.advance(250 * YEAR)
    with pytest.raises(NotPublished, match="beyond the year 2255"):
        broker.publish([Event("a", "2")])
    with pytest.raises(NotRead, match="beyond the year 2255"):
        broker.read(["a"], after=0)
    clock.advance(-250 * YEAR)
    broker.publish([Event("a", "3")])
    assert [entry.data for entry in broker.read(["a"], after=0).entries] == [b"1", b"3"]


@pytest.mark.parametrize("field", ["last", "bytes", "channels", "age", "most", "floor"])
@pytest.mark.parametrize("value", [None, "junk"])
def test_a_store_that_has_lost_a_field_begins_anew(
    clock: Clock, broker: RedisBroker, field: str, value: t.Any
) -> None:
    (before,) = broker.publish([Event("a", "1")])
    if value is None:
        clock.do("HDEL", "{push}:store", field)
    else:
        clock.do("HSET", "{push}:store", field, value)
    broker.close()
    other = RedisBroker(clock.url, timeout=10)
    (after,) = other.publish([Event("b", "2")])
    assert after.number > before.number
    page = other.read(["a", "b"], after=0)
    assert page.epoch == after.epoch
    assert [entry.data for entry in page.entries if entry.channel == "b"] == [b"2"]
    # What is left can be read, or it is told that it is gone.
    assert page.epoch != before.epoch or b"1" in [entry.data for entry in page.entries]
    other.close()
