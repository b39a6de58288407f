"""The items that the log keeps of a channel, and how many bytes of them."""

from __future__ import annotations

import collections.abc as cabc

import pytest

from flask_push._delivery.item_log import ItemBudget
from flask_push._delivery.item_log import ItemLog
from flask_push._delivery.item_log import ItemPiece
from flask_push._delivery.log import Log


def piece(number: int, item: str, living: bool = True) -> ItemPiece:
    return ItemPiece(number, item, living, b"tail")


def numbers(items: ItemLog, after: int = 0) -> list[int]:
    return [piece.number for piece in items.between(after, 1000)]


def test_a_newer_row_replaces_the_older_one() -> None:
    items = ItemLog(10)
    for number in range(11, 311):
        items.put(piece(number, "ab"[number % 2]))
        assert items.last == number
    assert numbers(items) == [309, 310]
    assert len(items) == 2
    # Rows that were replaced take no memory for long.
    assert len(items._pieces) <= 2 * 2 + 64


def test_older_rows_are_put_before_unless_there_are_newer_ones() -> None:
    items = ItemLog(10)
    items.put(piece(12, "a"))
    items.put_before([piece(3, "a"), piece(5, "b"), piece(7, "c", living=False)])
    assert numbers(items) == [5, 7, 12]
    # A row above the floor is the feed's to deliver.
    items.put_before([piece(11, "d")])
    assert numbers(items) == [5, 7, 12]
    assert numbers(items, 5) == [7, 12]


def test_living_rows_are_complete_from_the_floor_or_below_a_number() -> None:
    items = ItemLog(10)
    assert items.living_to(10, 20) == items.living_to(15, 20) == 20
    assert items.living_to(3, 20) == 0
    items.whole_to = 6
    assert items.living_to(3, 20) == 6
    assert items.living_to(3, 5) == 5
    items.whole_to = 10
    assert items.living_to(3, 20) == 20
    assert ItemLog(10, whole=True).living_to(0, 20) == 20


def test_items_are_no_longer_complete_when_the_log_has_dropped_some() -> None:
    items = ItemLog(10)
    for number, item in (11, "a"), (12, "b"), (13, "c"):
        items.put(piece(number, item))
    items.put_before([piece(4, "d")])
    items.whole_to = 6
    items.drop(12)
    assert numbers(items) == [13]
    assert (items.floor, items.whole_to, items.last) == (12, 0, 13)
    assert items.living_to(0, 20) == 0
    items.drop(20)
    assert (items.floor, items.last, items.size) == (20, 20, 0)


def test_the_budget_drops_the_channel_that_has_changed_least_recently() -> None:
    a, b = ItemLog(0), ItemLog(0)
    budget = ItemBudget(1500)
    budget.put(a, piece(1, "a"))
    budget.put(b, piece(2, "a"))
    budget.put(a, piece(3, "b"))
    budget.put(b, piece(4, "b"))
    assert len(a) == len(b) == 2
    budget.put(b, piece(5, "c"))
    assert len(a) == 0 and a.floor == 3
    assert numbers(b) == [2, 4, 5]
    assert not budget.put_before(a, [piece(1, "a"), piece(2, "b")])
    assert len(a) == 0


def test_a_budget_of_nothing_keeps_nothing() -> None:
    items, budget = ItemLog(0), ItemBudget(0)
    for number in 1, 2, 3:
        budget.put(items, piece(number, "a"))
        assert len(items) == 0 and items.floor == number


def test_an_exception_while_the_budget_is_changed_concerns_all_readers() -> None:
    class Full(ItemLog):
        def put_before(self, pieces: cabc.Iterable[ItemPiece]) -> None:
            raise MemoryError

    log = Log(report=lambda *_: None)
    with pytest.raises(MemoryError):
        log.item_budget.put_before(Full(5), [])
    assert log.is_torn()
