"""The changes of items that no store makes, and what rows count."""

from __future__ import annotations

import math
import typing as t

import pytest

from flask_push import NotPublished
from flask_push._event import Position
from flask_push.brokers import Conflict
from flask_push.brokers import ItemChange
from flask_push.brokers import ItemRow
from flask_push.brokers import ItemsFull
from flask_push.brokers import Retention
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


def test_a_row_counts_the_bytes_of_its_data_type_and_name() -> None:
    assert row_bytes("ä", "message", b"123") == 2 + 7 + 3 + 100


def test_the_bounds_of_an_app_are_not_those_of_our_own_items() -> None:
    retention = Retention(items=5, item_bytes=900)
    assert bounds("", retention) == (5, 900)
    assert bounds("members", retention) == (10_000, 4 * 2**20)


def test_a_row_has_the_number_of_its_position() -> None:
    about: t.Any = "prices", "AAPL", "message", b"1"
    assert ItemRow(Position("abcde", 7), *about).number == 7
