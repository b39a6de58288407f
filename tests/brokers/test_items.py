"""The changes of items that no store makes, and what rows count."""

from __future__ import annotations

import math
import typing as t

import pytest

from flask_push import NotPublished
from flask_push._event import OwnChannel
from flask_push._event import Position
from flask_push.brokers import Conflict
from flask_push.brokers import ItemChange
from flask_push.brokers import ItemRow
from flask_push.brokers import ItemsFull
from flask_push.brokers import ItemsPage
from flask_push.brokers import Retention
from flask_push.brokers._items import as_watched
from flask_push.brokers._items import check_bounds
from flask_push.brokers._items import check_expectation
from flask_push.brokers._items import Horizons
from flask_push.brokers._items import one_kind
from flask_push.brokers.items import bounds
from flask_push.brokers.items import check_change
from flask_push.brokers.items import row_bytes

SET, UNSET = ItemChange("prices", "AAPL", "1"), ItemChange("prices", "AAPL", None)


@pytest.mark.parametrize(
    "change",
    [
        *(SET, UNSET, SET._replace(data="")),
        *(SET._replace(ttl=0.001), SET._replace(version=0), UNSET._replace(version=1)),
        *(SET._replace(version=2**63 - 1), SET._replace(kind="a" * 32)),
        *(
            SET._replace(expect=""),
            UNSET._replace(expect="abcde-1"),
            UNSET._replace(due=True),
        ),
    ],
)
def test_a_change_that_a_store_makes_is_accepted(change: ItemChange) -> None:
    check_change(change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (SET._replace(item=""), "An item's name is not empty"),
        *(
            (
                SET._replace(kind=kind),
                "is empty, or has 1 to 32 of the letters a to z, not '",
            )
            for kind in ("A", "a-b", "a:b", "ä", "a\n", " a", "a" * 33)
        ),
        *(
            (SET._replace(ttl=ttl), "ttl is a number of seconds above 0, not ")
            for ttl in (0, -1, math.inf, math.nan)
        ),
        (UNSET._replace(ttl=1), "An unset has no ttl"),
        (SET._replace(version=-1), "version is a whole number from 0 to "),
        (UNSET._replace(version=2**63), "version is a whole number from 0 to "),
        (SET._replace(due=True), "Only an unset can be due"),
    ],
)
def test_a_change_that_no_store_makes_is_refused(change: ItemChange, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_change(change)


@pytest.mark.parametrize("error", [ItemsFull, Conflict])
def test_a_change_that_is_refused_is_not_published(error: type[Exception]) -> None:
    assert issubclass(error, NotPublished)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ((5, 0), (5, 0), ""),
        ((4, 0), (5, 900), ""),
        ((5, 0), (6, 0), "would have 6 items, more than 5 .PUSH_MAX_ITEMS"),
        # Less than before the bound was lowered.
        ((9, 0), (9, 0), ""),
        ((9, 0), (8, 0), ""),
        ((9, 0), (10, 0), "would have 10 items"),
        ((1, 0), (1, 901), "would have 901 bytes, more than 900 .PUSH_ITEMS_BYTES"),
        ((1, 2000), (1, 1500), ""),
    ],
)
def test_a_channel_that_would_exceed_its_bounds_is_refused(
    before: tuple[int, int], after: tuple[int, int], words: str
) -> None:
    retention = Retention(items=5, item_bytes=900)
    check_bounds("own", "a", retention, before, after)
    if not words:
        check_bounds("", "a", retention, before, after)
        return
    with pytest.raises(ItemsFull, match=f"channel 'a' {words}.*Unset items, or raise the"):
        check_bounds("", "a", retention, before, after)


def test_an_expectation_that_is_not_met_is_refused() -> None:
    for expect, found in (None, ""), (None, "x-1"), ("", ""), ("x-1", "x-1"):
        check_expectation(SET._replace(expect=expect), found)
    for expect, found in ("", "x-1"), ("x-1", ""), ("x-1", "y-1"):
        with pytest.raises(Conflict, match=f"has the id '{found}', and .* '{expect}'"):
            check_expectation(SET._replace(expect=expect), found)


class Sink:
    """A sink that records the horizons alone."""

    def __init__(self) -> None:
        self.given: list[object] = []

    def deliver(self, epoch: str, entries: object, end: int | None) -> None: ...

    def missed(self, end: int) -> None: ...

    def watched(self, channels: object) -> None: ...

    def horizons(self, epoch: str, horizons: object, without: object = ()) -> None:
        self.given.append((epoch, horizons, without))


class Plain:
    """A sink of an older version."""

    deliver, missed, watched = Sink.deliver, Sink.missed, Sink.watched


def test_horizons_are_given_when_they_are_new_or_have_grown() -> None:
    sink = Sink()
    horizons = Horizons(sink)
    assert horizons
    horizons.give("one", {"a": 5, "b": 5}, {"b"})
    horizons.give("one", {"a": 5, "b": 5}, {"b"})
    horizons.give("one", {"a": 6, "b": 5}, {"b"})
    horizons.unwatch(["a", "c"])
    horizons.give("one", {"a": 6, "b": 5}, ())
    horizons.give("two", {"a": 2}, ())
    assert sink.given == [
        ("one", {"a": 5, "b": 5}, {"b"}),
        ("one", {"a": 6}, set()),
        ("one", {"a": 6}, set()),
        ("two", {"a": 2}, set()),
    ]


def test_a_sink_that_takes_no_items_is_given_no_horizons() -> None:
    horizons = Horizons(Plain())
    assert not horizons
    horizons.give("one", {"a": 5}, ())


def test_a_page_names_channels_as_they_are_watched() -> None:
    row = ItemRow(Position("epoch", 5), "a", "i", "message", b"1")
    page = ItemsPage("epoch", 0, 9, 9, [row], {"a": 2})
    assert as_watched(page, "") is page
    own = OwnChannel("own", "a")
    assert as_watched(page, "own") == page._replace(
        rows=[row._replace(channel=own)], horizons={own: 2}
    )


def test_channels_of_one_kind_are_read_together() -> None:
    assert one_kind([]) == ("", []) and one_kind("ab") == ("", ["a", "b"])
    assert one_kind([OwnChannel("own", "a"), OwnChannel("own", "b")]) == ("own", ["a", "b"])
    with pytest.raises(ValueError, match="Channels of one kind are read together, not of"):
        one_kind(["a", OwnChannel("own", "a")])


def test_a_row_counts_the_bytes_of_its_data_type_and_name() -> None:
    assert row_bytes("ä", "message", b"123") == 2 + 7 + 3 + 100


def test_the_bounds_of_an_app_are_not_those_of_our_own_items() -> None:
    retention = Retention(items=5, item_bytes=900)
    assert bounds("", retention) == (5, 900)
    assert bounds("members", retention) == (100_000, 64 * 2**20)


def test_a_row_has_the_number_of_its_position() -> None:
    about: t.Any = "prices", "AAPL", "message", b"1"
    assert ItemRow(Position("abcde", 7), *about).number == 7
