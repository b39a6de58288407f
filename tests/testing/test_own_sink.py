"""The sink of the contract accepts only the own logs that a feed may give a hub."""

from __future__ import annotations

import asyncio
import collections.abc as cabc

import pytest

from flask_push._event import Entry
from flask_push.brokers import OWN_LOGS
from flask_push.brokers import OwnEntry
from flask_push.brokers import OwnPage
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._own_sink import OwnRecordingSink

(LOG,) = OWN_LOGS


class Unfed(MemoryBroker):
    """Its feeds do nothing, so that the tests call the sink."""

    def unread(self, after: int) -> tuple[str, list[Entry], int, bool]:
        raise AssertionError


@pytest.fixture
def sink() -> cabc.Iterator[OwnRecordingSink]:
    async def open() -> OwnRecordingSink:
        sink = OwnRecordingSink(Unfed())
        sink.feed.close()
        return sink

    yield asyncio.run(open())


def page(since: int, end: int, *numbers: int, epoch: str = "one") -> OwnPage:
    return OwnPage(epoch, since, end, [OwnEntry(number, b"x") for number in numbers])


@pytest.mark.parametrize(
    ("pages", "words"),
    [
        ([page(1, 9, 5, 4)], "out of order"),
        ([page(1, 9, 5, 5)], "out of order"),
        ([page(5, 9, 5)], "before the page begins"),
        ([page(1, 9, 10)], "after the page ends"),
        ([page(2, 1)], "backwards"),
        ([page(1, 9), page(1, 8)], "backwards"),
    ],
)
def test_a_page_that_cannot_be_fails(
    pages: list[OwnPage], words: str, sink: OwnRecordingSink
) -> None:
    for each in pages[:-1]:
        sink.own(LOG, each)
    with pytest.raises(AssertionError, match=words):
        sink.own(LOG, pages[-1])


def test_what_is_given_is_recorded(sink: OwnRecordingSink) -> None:
    sink.own(LOG, page(1, 9, 5))
    sink.deliver("one", [], 9)
    sink.own(LOG, page(9, 12, 11))
    # The same entry twice is right, too.
    sink.own(LOG, page(9, 12, 11))
    assert [entry.number for entry in sink.entries_of(LOG)] == [5, 11]
    assert sink.entries_of("other") == []


def test_nothing_is_delivered_before_the_own_logs_of_its_epoch(
    sink: OwnRecordingSink,
) -> None:
    with pytest.raises(AssertionError, match="before the own logs"):
        sink.deliver("one", [], 9)
    sink.own(LOG, page(1, 9))
    sink.deliver("one", [], 9)
    with pytest.raises(AssertionError, match="before the own logs"):
        sink.deliver("two", [], 10)


def test_entries_that_were_given_in_time_are_right(sink: OwnRecordingSink) -> None:
    sink.own(LOG, page(1, 9, 5, 6))
    sink.deliver("one", [], 9)
    sink.check(LOG, [5, 6])
    # It was not delivered so far.
    sink.check(LOG, [5, 6, 12])


@pytest.mark.parametrize(
    ("entries", "end"), [((), 6), ((), 7), ((Entry(7, None, "a", "t", b""),), None)]
)
def test_an_entry_that_was_given_too_late_is_found(
    entries: tuple[Entry, ...], end: int | None, sink: OwnRecordingSink
) -> None:
    sink.own(LOG, page(1, 5))
    sink.deliver("one", [], 5)
    sink.watching["a"] = 0
    sink.deliver("one", entries, end)
    sink.own(LOG, page(5, 9, 6))
    with pytest.raises(AssertionError, match="too late"):
        sink.check(LOG, [6])


def test_a_gap_ends_where_the_feed_says(sink: OwnRecordingSink) -> None:
    sink.own(LOG, page(1, 5))
    sink.deliver("one", [], 5)
    sink.missed(8)
    with pytest.raises(AssertionError, match="too late"):
        sink.check(LOG, [8])
    sink.check(LOG, [9])


def test_an_entry_may_expire_before_it_is_given_if_a_page_says_so(
    sink: OwnRecordingSink,
) -> None:
    sink.own(LOG, page(1, 5))
    sink.deliver("one", [], 5)
    sink.own(LOG, page(7, 9, 8))
    sink.deliver("one", [], 9)
    sink.check(LOG, [6, 7, 8])
    # Entries of a page that was given can't be those that have expired.
    with pytest.raises(AssertionError, match="too late"):
        sink.check(LOG, [4, 8])
