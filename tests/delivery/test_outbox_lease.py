"""The lease of an outbox: who may publish, and what is published already."""

from __future__ import annotations

import pytest

from flask_push import Position
from flask_push._delivery.outbox_ids import ids_in
from flask_push._delivery.outbox_ids import ranges_of
from flask_push._delivery.outbox_lease import LEASE
from flask_push._delivery.outbox_lease import Lease
from flask_push._delivery.outbox_lease import LeaseRecord
from flask_push._delivery.outbox_lease import OUTBOX
from flask_push._delivery.run_rows import Change
from flask_push.brokers import ItemRow


def row(change: Change, number: int) -> ItemRow:
    data = (change.data or "").encode()
    return ItemRow(Position("epoch", number), change.channel, change.item, "message", data)


def id_of(number: int) -> str:
    return str(Position("epoch", number))


def lease(name: str = "me") -> Lease:
    return Lease("shop", name, 6.0)


def held(name: str = "me") -> Lease:
    mine = lease(name)
    mine.read([], 0.0)
    mine.take()
    mine.stored(id_of(1), 5.0)
    return mine


def test_a_lease_that_is_not_there_is_taken_and_expects_that_there_is_none() -> None:
    mine = lease()
    assert (
        not mine.holds and not mine.may_take() and repr(mine) == "<Lease 'shop' [not held]>"
    )
    mine.read([], 0.0)
    assert mine.may_take()
    change = mine.take()
    assert (change.kind, change.channel, change.item) == (OUTBOX, "shop", LEASE)
    assert change.expect == ""
    mine.stored(id_of(1), 5.0)
    assert mine.holds and mine.at == 5.0 and repr(mine) == "<Lease 'shop' [held]>"


def test_each_write_of_a_lease_expects_the_one_before() -> None:
    mine = held()
    beat = mine.beat()
    assert beat.expect == id_of(1)
    mine.stored(id_of(2), 6.0)
    batch = mine.batch(1, [3, 4, 6], 5)
    assert batch.expect == id_of(2)
    record = mine.stored(id_of(3), 7.0)
    assert record == (id_of(3), "me", 1, ((3, 4), (6, 6)), "", 0, 5)
    assert LeaseRecord.read(row(batch, 3)) == record


def test_rows_stay_in_the_lease_until_they_are_deleted() -> None:
    mine = held()
    for number, id in (2, 7), (3, 8), (4, 10):
        mine.batch(number - 1, [id], id)
        record = mine.stored(id_of(number), 7.0)
    assert (record.batch, record.rows) == (3, ((7, 8), (10, 10)))
    assert record.check == 7 ^ 8 ^ 10
    mine.beat()
    assert mine.stored(id_of(5), 8.0).rows == ((7, 8), (10, 10))
    mine.deleted()
    mine.beat()
    record = mine.stored(id_of(6), 9.0)
    assert (record.batch, record.rows, record.check) == (3, (), 0)


def test_a_process_that_takes_the_lease_has_the_rows_of_the_last_batch() -> None:
    first, second = held("first"), lease("second")
    batch = first.batch(1, [7], 5)
    first.stored(id_of(2), 7.0)
    second.read([row(batch, 2)], 0.0)
    assert not second.may_take()
    taken = second.take()
    record = second.stored(id_of(3), 20.0)
    assert record == (id_of(3), "second", 1, ((7, 7),), "first", 1, 5)
    assert taken.expect == id_of(2)


def test_a_lease_that_was_given_back_is_free() -> None:
    first, second = held("first"), lease("second")
    first.batch(1, [7], 5)
    first.stored(id_of(2), 7.0)
    first.deleted()
    free = first.free()
    assert not first.stored(id_of(3), 7.0).holder and not first.holds
    second.read([row(free, 3)], 0.0)
    assert second.may_take()
    second.take()
    assert second.stored(id_of(4), 7.0) == (id_of(4), "second", 1, (), "first", 1, 0)


def look(other: Lease, changes: list[Change], start: float = 0.0) -> list[bool]:
    """Look once a second, and find these."""
    may = []
    for second, change in enumerate(changes):
        other.read([row(change, changes.index(change) + 1)], start + second)
        may.append(other.may_take())
    return may


def test_a_lease_is_taken_if_it_does_not_change_for_six_seconds() -> None:
    change, other = held("first").beat(), lease()
    assert look(other, [change] * 8) == [False] * 6 + [True] * 2


def test_a_lease_that_still_beats_is_never_taken() -> None:
    first, other = held("first"), lease()
    beats = [first.beat()._replace(version=n) for n in range(40)]
    assert not any(look(other, beats))


def test_time_in_which_the_store_was_away_or_no_process_looked_does_not_count() -> None:
    change, other = held("first").beat(), lease()
    assert not any(look(other, [change] * 5))
    other.count_again()
    assert look(other, [change] * 7, 5.0) == [False] * 6 + [True]
    other = lease()
    assert not any(look(other, [change] * 5))
    # It was paused.
    assert look(other, [change] * 7, 50.0) == [False] * 6 + [True]


def test_what_the_store_has_is_not_known_after_a_refusal() -> None:
    mine = held()
    mine.forget()
    assert not mine.holds and not mine.may_take()


@pytest.mark.parametrize(
    "data",
    [
        *(
            "",
            "{}",
            "[]",
            "[" * 9999,
            '{"holder":"a","batch":1,"rows":[[1]],"prior":["",0]}',
        ),
        '{"holder":"a","batch":1,"rows":[["1",2]],"prior":["",0]}',
    ],
)
def test_a_lease_that_can_not_be_read_is_an_error(data: str) -> None:
    change = Change(OUTBOX, "shop", LEASE, data)
    with pytest.raises(ValueError, match="the outbox 'shop' can't be read"):
        lease().read([row(change, 1)], 0.0)


@pytest.mark.parametrize("ids", [[], [1], [1, 2, 3, 5, 9, 10], [10, 9, 2, 2]])
def test_numbers_of_rows_become_ranges_and_back(ids: list[int]) -> None:
    assert ids_in(ranges_of(ids)) == sorted({*ids})
