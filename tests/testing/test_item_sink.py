"""The sink of the contract accepts only the items that a feed may give a hub."""

from __future__ import annotations

import asyncio
import collections.abc as cabc

import pytest

from flask_push._event import Entry
from flask_push.brokers.items import UNSET
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._item_sink import ItemRecordingSink


class Unfed(MemoryBroker):
    """Its feeds do nothing, so that the tests call the sink."""

    def unread(self, after: int) -> tuple[str, list[Entry], int, bool]:
        raise AssertionError


@pytest.fixture
def sink() -> cabc.Iterator[ItemRecordingSink]:
    async def open() -> ItemRecordingSink:
        sink = ItemRecordingSink(Unfed())
        sink.feed.close()
        return sink

    sink = asyncio.run(open())
    sink.horizons("one", {"a": 5})
    sink.deliver("one", [], 10)
    sink.watched(["a"])
    yield sink


def row(number: int, prev: int | None, item: str = "i", type: str = "message") -> Entry:
    return Entry(number, prev, "a", type, b"%d" % number, item=item)


def test_the_newest_rows_are_kept(sink: ItemRecordingSink) -> None:
    sink.deliver("one", [row(11, 5), row(12, 11, "j"), row(13, 12)], 14)
    sink.deliver("one", [row(15, 13, "", "event"), row(16, 13, "j", UNSET)], 16)
    assert sink.living("a") == {"i": b"13"} and sink.newest == {"a": 16}
    assert sink.events_of("a") == [b"15"]
    assert [item for item, _, _ in sink.items_of("a")] == ["i", "j", "i", "j"]
    sink.add("a", "j", 14, "message", b"older")
    sink.add("a", "k", 14, "message", b"read")
    assert sink.living("a") == {"i": b"13", "k": b"read"}


def test_a_row_that_claims_that_another_is_missing_fails(sink: ItemRecordingSink) -> None:
    sink.deliver("one", [row(13, 10)], 14)
    sink.horizons("one", {"a": 20})
    sink.deliver("one", [row(21, 20)], 22)
    with pytest.raises(AssertionError, match="claims that a row is missing"):
        sink.deliver("one", [row(25, 23)], 26)


@pytest.mark.parametrize(
    ("entry", "words"),
    [(row(11, None), "a row is stored"), (row(11, 11), "out of order")],
)
def test_a_row_that_can_not_be_fails(
    entry: Entry, words: str, sink: ItemRecordingSink
) -> None:
    with pytest.raises(AssertionError, match=words):
        sink.deliver("one", [entry], 14)


def test_horizons_that_can_not_be_fail(sink: ItemRecordingSink) -> None:
    for horizon, words in (0, "never 0"), (4, "never falls"):
        with pytest.raises(AssertionError, match=words):
            sink.horizons("one", {"a": horizon})
    with pytest.raises(AssertionError, match="not given"):
        sink.horizons("one", {"a": 6}, ["b"])
    sink.horizons("one", {"a": 6}, ["a"])
    assert sink.without == {"a"}
    sink.deliver("one", [row(11, 5)], 14)
    with pytest.raises(AssertionError, match="has a row"):
        sink.horizons("one", {"a": 7}, ["a"])
    sink.horizons("one", {"a": 7})
    assert sink.without == set() and sink.known == {"a": 7}
    # The store has removed the row.
    sink.horizons("one", {"a": 11}, ["a"])
    assert sink.without == {"a"}


def test_horizons_come_before_all_else(sink: ItemRecordingSink) -> None:
    with pytest.raises(AssertionError, match="horizons come first"):
        sink.watched(["b"])
    with pytest.raises(AssertionError, match="horizons come first"):
        sink.deliver("two", [], 20)
    sink.horizons("two", {"a": 3})
    with pytest.raises(AssertionError, match="horizons come first"):
        sink.deliver("one", [], 20)
    sink.deliver("two", [], 20)
    sink.missed(21)
    assert sink.ends == [(10, {"a": 5}), (20, {"a": 3}), (21, {"a": 3})]
    assert sink.position == ("two", 21)
