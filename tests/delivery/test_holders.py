"""The processes that hold runs, as a process sees them that looks after them."""

from __future__ import annotations

import json
import typing as t

import pytest

from flask_push._delivery.holders import Holder
from flask_push._delivery.holders import Holders
from flask_push._event import ItemRow
from flask_push._event import Position


def row(number: int, process: str = "p", **values: t.Any) -> ItemRow:
    data = json.dumps({"beat": 1, "runs": 1, **values}).encode()
    return ItemRow(Position("e0000", number), "holders", process, "message", data, 7)


def look(holders: Holders, *rows: ItemRow, start: float, until: float) -> list[float]:
    """Look each five seconds. Returns when a process was silent."""
    found, now = [], start
    while now <= until:
        found += [now for _ in holders.take(rows, now)]
        now += 5
    return found


def test_a_process_is_silent_if_its_row_does_not_change_for_thirty_seconds() -> None:
    holders = Holders(30)
    assert holders.pause == 5
    assert look(holders, row(5), start=100, until=130) == [130]
    (silent,) = holders.take([row(5)], 135)
    assert silent == Holder("p", "e0000-5", 7, False, 100)
    dead = silent.mark_dead()
    assert dead[:4] == ("holders", "holders", "p", '{"dead":true}')
    assert (dead.version, dead.expect) == (8, "e0000-5")


def test_a_process_that_stores_a_beat_is_alive() -> None:
    holders = Holders(30)
    for number in range(20):
        start = 100 + 25 * number
        assert not look(holders, row(number), start=start, until=start + 20)
    assert repr(holders) == "<Holders [1 processes, 0 dead]>"


def test_time_in_which_this_process_did_not_look_does_not_count() -> None:
    """Perhaps its machine slept, or the store could not be reached."""
    holders = Holders(30)
    assert not look(holders, row(5), start=100, until=125)
    assert not look(holders, row(5), start=133, until=158)
    # The look that was due failed.
    holders.count_again()
    assert look(holders, row(5), start=163, until=193) == [193]


def test_looks_that_are_a_little_late_count() -> None:
    holders = Holders(30)
    silent = [bool(holders.take([row(5)], 100 + 7.4 * n)) for n in range(6)]
    assert silent == [False] * 5 + [True]


def test_a_process_is_dead_if_its_row_says_so() -> None:
    holders = Holders(30)
    assert not holders.take([row(5), row(6, "q", dead=True)], 100)
    (dead,) = holders.dead
    assert (dead.process, dead.id) == ("q", "e0000-6") and len(holders) == 2
    assert repr(holders) == "<Holders [2 processes, 1 dead]>"
    forget = dead.forget()
    assert (forget.item, forget.data, forget.expect) == ("q", None, "e0000-6")
    holders.drop(dead)
    holders.drop(dead)
    assert holders.dead == [] and len(holders) == 1


def test_a_process_that_was_marked_as_dead_is_not_marked_again() -> None:
    holders = Holders(30)
    look(holders, row(5), start=100, until=125)
    (silent,) = holders.take([row(5)], 130)
    marked = silent.marked("e0000-9")
    assert (marked.id, marked.version, marked.dead) == ("e0000-9", 8, True)
    holders.put(marked)
    assert holders.dead == [marked]
    assert not look(holders, row(9, dead=True), start=135, until=200)


def test_a_process_whose_row_is_gone_is_not_known() -> None:
    holders = Holders(30)
    look(holders, row(5), start=100, until=125)
    assert not holders.take([], 130) and not len(holders)
    assert not look(holders, row(5), start=135, until=160)


@pytest.mark.parametrize("data", [b"", b"x", b"[" * 100_000, b"7", b"[1]", b'{"new":1}'])
def test_a_row_that_cannot_be_read_is_that_of_a_process_that_may_live(data: bytes) -> None:
    holders = Holders(30)
    unreadable = row(5)._replace(data=data, version=None)
    assert look(holders, unreadable, start=100, until=130) == [130]
    assert not holders.dead
