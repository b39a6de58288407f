"""The order in which a feed of a Redis gives own logs and events to its sink. The test is
the server, so that it chooses the order in which they arrive."""

from __future__ import annotations

import asyncio
import typing as t

import pytest
from support.redis_ends import entry
from support.redis_ends import event
from support.redis_ends import EVENTS
from support.redis_ends import joined
from support.redis_ends import LOG
from support.redis_ends import OtherEnd
from support.redis_ends import OWN
from support.redis_ends import own_page
from support.redis_ends import run

from flask_push.brokers import OwnEntry
from flask_push.brokers import OwnPage
from flask_push.brokers.redis import own
from flask_push.brokers.redis import scripts
from flask_push.brokers.redis.feed import RedisFeed
from flask_push.testing._own_sink import OwnRecordingSink
from flask_push.testing._sink import until


def numbers(hub: OwnRecordingSink) -> list[int]:
    """Of all entries, in the order in which they were given, of all epochs."""
    return [
        each.number
        for pages in hub.pages.values()
        for page in pages
        for each in page.entries
    ]


def test_a_feed_subscribes_to_the_own_log_then_reads_it_then_joins() -> None:
    async def test(other: OtherEnd, hub: OwnRecordingSink) -> None:
        await other.begin()
        await until(lambda: hub.end)
        own_channel, channel = OWN.decode(), EVENTS.decode()
        order = [f"SUBSCRIBE {own_channel}", f"SUBSCRIBE {channel}", "READ_OWN", "JOIN"]
        assert list(dict.fromkeys(other.order))[:4] == order

    run(test)


def test_an_entry_that_arrives_between_reading_and_joining_is_given_at_once() -> None:
    async def test(other: OtherEnd, hub: OwnRecordingSink) -> None:
        (await other.asked(scripts.READ_OWN)).answer(*own_page("one", 10, 5, ["8:x"]))
        join = await other.asked(scripts.READ)
        other.push(entry(12, 8), entry(14, 12))
        await until(lambda: numbers(hub) == [8, 12, 14])
        assert not hub.end
        join.answer(*joined("one", 15))
        await until(lambda: hub.end == 15)
        hub.check(LOG, [8, 12, 14])

    run(test)


def test_an_entry_that_arrives_before_the_log_is_read_is_given_once() -> None:
    async def test(other: OtherEnd, hub: OwnRecordingSink) -> None:
        reading = await other.asked(scripts.READ_OWN)
        other.push(entry(8, 7))
        reading.answer(*own_page("one", 10, 5, ["7:x", "8:x"]))
        (await other.asked(scripts.READ)).answer(*joined("one", 10))
        await until(lambda: hub.end == 10)
        assert numbers(hub) == [7, 8] and not other.questions

    run(test)


def test_an_entry_that_arrives_while_the_log_is_read_again_is_given_once() -> None:
    async def test(other: OtherEnd, hub: OwnRecordingSink) -> None:
        await other.begin()
        await until(lambda: hub.end)
        hub.feed.watch(["b"])
        reading = await other.asked(scripts.READ_OWN)
        other.push(entry(12, 5))
        reading.answer(*own_page("one", 14, 10, ["12:x", "13:x"]))
        (await other.asked(scripts.READ)).answer(*joined("one", 15))
        await until(lambda: hub.end == 15)
        assert numbers(hub) == [12, 13]

    run(test)


def test_after_an_entry_that_follows_an_unknown_one_the_log_is_read_before_joining() -> (
    None
):
    async def test(other: OtherEnd, hub: OwnRecordingSink) -> None:
        (await other.asked(scripts.READ_OWN)).answer(*own_page("one", 10))
        join = await other.asked(scripts.READ)
        other.push(entry(13, 12))
        join.answer(*joined("one", 15))
        reading = await other.asked(scripts.READ_OWN)
        assert not hub.end and not numbers(hub)
        assert reading.args[3:5] == [b"one", b"10"]
        reading.answer(*own_page("one", 16, 10, ["12:x", "13:x"]))
        (await other.asked(scripts.READ)).answer(*joined("one", 17))
        await until(lambda: hub.end == 17)
        assert numbers(hub) == [12, 13]

    run(test)


def test_no_event_is_delivered_after_an_entry_that_follows_an_unknown_one() -> None:
    async def test(other: OtherEnd, hub: OwnRecordingSink) -> None:
        await other.begin()
        await until(lambda: hub.end)
        other.push(event(11, 10, "1"), entry(13, 12), event(14, 11, "2"))
        await until(lambda: hub.received("a") == [b"1"])
        (await other.asked(scripts.READ_OWN)).answer(
            *own_page("one", 14, 10, ["12:x", "13:x"])
        )
        join = await other.asked(scripts.READ)
        assert hub.received("a") == [b"1"]
        missed = [1, "14:11:7:1:message2"]
        join.answer(*joined("one", 14)[:8], missed, "1")
        await until(lambda: hub.received("a") == [b"1", b"2"])
        hub.check(LOG, [12, 13])

    run(test)


def test_entries_are_given_before_the_events_that_arrive_with_them() -> None:
    async def test(other: OtherEnd, hub: OwnRecordingSink) -> None:
        await other.begin()
        await until(lambda: hub.end)
        other.push(
            entry(11, 5), event(12, 10), entry(13, 11), event(14, 12), (OWN, b"junk")
        )
        await until(lambda: len(hub.received("a")) == 2)
        assert numbers(hub) == [11, 13]
        hub.check(LOG, [11, 13])
        # Each entry that was given is given once.
        other.push(entry(13, 11), event(15, 14))
        await until(lambda: len(hub.received("a")) == 3)
        assert numbers(hub) == [11, 13]

    run(test)


def test_an_epoch_that_begins_between_reading_and_joining_is_read_first() -> None:
    async def test(other: OtherEnd, hub: OwnRecordingSink) -> None:
        (await other.asked(scripts.READ_OWN)).answer(*own_page("one", 10, 5, ["8:x"]))
        (await other.asked(scripts.READ)).answer(*joined("two", 20))
        reading = await other.asked(scripts.READ_OWN)
        assert not hub.epoch
        reading.answer(*own_page("two", 21, 5, ["8:x"]))
        (await other.asked(scripts.READ)).answer(*joined("two", 22))
        await until(lambda: (hub.epoch, hub.end) == ("two", 22))
        (page,) = hub.pages["two", LOG]
        assert page == OwnPage("two", 5, 21, [OwnEntry(8, b"x")])

    run(test)


def test_an_epoch_that_begins_between_reading_and_a_tick_is_read_first() -> None:
    async def test(other: OtherEnd, hub: OwnRecordingSink) -> None:
        await other.begin()
        await until(lambda: hub.end)
        hub.feed.watch(["b"])
        (await other.asked(scripts.READ_OWN)).answer(*own_page("one", 12))
        (await other.asked(scripts.READ)).answer(*joined("two", 20))
        reading = await other.asked(scripts.READ_OWN)
        assert hub.epoch == "one" and "b" not in hub.watching
        reading.answer(*own_page("two", 21))
        (await other.asked(scripts.READ)).answer(*joined("two", 22))
        await until(lambda: (hub.epoch, hub.watching.get("b")) == ("two", 22))
        assert hub.pages["two", LOG] == [OwnPage("two", 5, 21, [])]

    run(test)


def test_an_entry_of_another_epoch_makes_the_feed_read_from_the_beginning() -> None:
    async def test(other: OtherEnd, hub: OwnRecordingSink) -> None:
        await other.begin()
        await until(lambda: hub.end)
        other.push(entry(12, 11, epoch="two"))
        (await other.asked(scripts.READ_OWN)).answer(*own_page("two", 13, 11, ["12:x"]))
        (await other.asked(scripts.READ)).answer(*joined("two", 14))
        await until(lambda: hub.epoch == "two")
        (page,) = hub.pages["two", LOG]
        assert page == OwnPage("two", 11, 13, [OwnEntry(12, b"x")])

    run(test)


def test_a_long_log_is_read_in_pages_before_anything_is_delivered() -> None:
    async def test(other: OtherEnd, hub: OwnRecordingSink) -> None:
        (await other.asked(scripts.READ_OWN)).answer(
            *own_page("one", 8, 5, ["7:x", "8:x"], last=10)
        )
        (await other.asked(scripts.READ)).answer(*joined("one", 10))
        reading = await other.asked(scripts.READ_OWN)
        assert not hub.end and reading.args[4] == b"8"
        reading.answer(*own_page("one", 10, 8, ["9:x"]))
        (await other.asked(scripts.READ)).answer(*joined("one", 11))
        await until(lambda: hub.end == 11)
        assert numbers(hub) == [7, 8, 9]

    run(test)


def test_while_reading_the_log_is_refused_nothing_is_delivered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(own, "_REFUSED_RETRY_SECONDS", 0.01)

    async def test(other: OtherEnd, hub: OwnRecordingSink) -> None:
        for _ in range(3):
            (await other.asked(scripts.READ_OWN)).refuse("BUSY Redis is busy")
            (await other.asked(scripts.READ)).answer(*joined("one", 10))
        reading = await other.asked(scripts.READ_OWN)
        assert not hub.end and not hub.pages
        reading.answer(*own_page("one", 10, 5, ["8:x"]))
        (await other.asked(scripts.READ)).answer(*joined("one", 10))
        await until(lambda: hub.end == 10)

    run(test)


def test_a_feed_waits_before_it_reads_a_log_again_that_was_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(own, "_REFUSED_RETRY_SECONDS", 1000)

    async def test(other: OtherEnd, hub: OwnRecordingSink) -> None:
        (await other.asked(scripts.READ_OWN)).refuse("BUSY Redis is busy")
        (await other.asked(scripts.READ)).answer(*joined("one", 10))
        feed = t.cast(RedisFeed, hub.feed)
        await until(lambda: feed._refused)
        timer = feed._timer._handle
        assert timer and timer.when() > asyncio.get_running_loop().time() + 500

    run(test)


def test_on_another_connection_nothing_is_delivered_before_the_log_is_read() -> None:
    async def test(other: OtherEnd, hub: OwnRecordingSink) -> None:
        await other.begin()
        await until(lambda: hub.end)
        other.cut()
        (await other.asked(scripts.READ_OWN)).refuse("BUSY Redis is busy")
        (await other.asked(scripts.READ)).answer(*joined("one", 20))
        reading = await other.asked(scripts.READ_OWN)
        assert hub.end == 10
        reading.answer(*own_page("one", 21, 10, ["15:x"]))
        (await other.asked(scripts.READ)).answer(*joined("one", 22))
        await until(lambda: hub.end == 22)
        assert numbers(hub) == [15]

    run(test)


def test_if_the_log_can_not_be_read_the_page_says_that_nothing_is_proved() -> None:
    async def test(other: OtherEnd, hub: OwnRecordingSink) -> None:
        (await other.asked(scripts.READ_OWN)).refuse("ERR @user_script: 7: it fails")
        (await other.asked(scripts.READ)).answer(*joined("one", 10))
        await until(lambda: hub.end == 10)
        assert hub.pages["one", LOG] == [OwnPage("one", 10, 10, [])]
        other.push(entry(12, 5), event(13, 10))
        await until(lambda: hub.received("a"))
        assert numbers(hub) == [12]

    run(test)
