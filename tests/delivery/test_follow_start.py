"""Which run a stream follows, and from where."""

from __future__ import annotations

import pytest

from flask_push._delivery.follow_start import Place
from flask_push._delivery.follow_start import place_of
from flask_push._delivery.follow_start import Start
from flask_push._delivery.follow_start import start_of_channel
from flask_push._delivery.follow_start import start_of_run
from flask_push._delivery.run_record import PastRun
from flask_push._delivery.run_record import Record
from flask_push._delivery.run_record import Status
from flask_push._event import base62
from flask_push._event import Position

# Runs 1 and 2 have ended, after their events up to 39 and 69. The number of a record is one
# less than that of the event which says the same.
PAST = PastRun(2, "b", "", "done", 1, 40, 68), PastRun(1, "a", "", "lost", 2, 10, 38)


def record(
    status: Status, number: int, attempt: int = 1, first: int = 70, last_attempt: int = 0
) -> Record:
    """The record of a channel whose newest run is the third."""
    at = Position("epoch", number)
    made = Record(3, "c", "", status, attempt, past=PAST, position=at)
    return made._replace(first=first, last_attempt=last_attempt)


RUNNING = record("running", 75)
DONE = record("done", 98)
# The second attempt begins at 100. The first one has ended at 98, with the event 99.
AGAIN = record("running", 100, attempt=2, first=100, last_attempt=98)

BEHIND_AN_END = [(RUNNING, 69), (DONE, 99), (DONE, 150), (AGAIN, 99), (RUNNING, 39)]


@pytest.mark.parametrize(
    ("newest", "number", "start"),
    [
        *((RUNNING, number, ("3.1", number)) for number in (70, 71, 90)),
        *((DONE, number, ("3.1", number)) for number in (70, 97, 98)),
        *((RUNNING, number, ("2.1", number)) for number in (40, 68)),
        *((RUNNING, number, ("1.2", number)) for number in (10, 38)),
        (AGAIN, 100, ("3.2", 100)),
        (AGAIN, 50, ("2.1", 50)),
    ],
)
def test_a_position_inside_a_run_is_followed_by_its_rest(
    newest: Record, number: int, start: tuple[str, int]
) -> None:
    assert start_of_channel(newest, Place(number, 2), False) == Start(*start, 2)


@pytest.mark.parametrize(("newest", "number"), BEHIND_AN_END)
@pytest.mark.parametrize("late", [False, True])
def test_behind_the_end_of_a_run_nothing_follows(
    newest: Record, number: int, late: bool
) -> None:
    assert start_of_channel(newest, Place(number), late) is None


@pytest.mark.parametrize("place", [None, Place(9), Place(0, 3)])
def test_without_a_place_in_a_run_what_runs_begins_at_its_first_event(
    place: Place | None,
) -> None:
    assert start_of_channel(RUNNING, place, False) == Start("3.1", 70)
    assert start_of_channel(AGAIN, place, False) == Start("3.2", 100)
    assert start_of_channel(DONE, place, False) is None
    assert start_of_channel(DONE, place, True) == Start("3.1", 70)
    queued = record("queued", 70, first=0)
    assert start_of_channel(queued, place, False) == Start("3.1", 70), "its own number"


def test_a_position_in_an_older_attempt_begins_the_newest_one() -> None:
    for number in 71, 80, 98:
        assert start_of_channel(AGAIN, Place(number), False) == Start("3.2", 100)
        assert start_of_run(AGAIN, 3, Place(number)) == Start("3.2", 100)


def test_a_stream_of_one_run_gets_no_other_one() -> None:
    for place in None, Place(9), Place(39):
        assert start_of_run(RUNNING, 3, place) == Start("3.1", 70)
        assert start_of_run(RUNNING, 2, place) == Start("2.1", 40)
    assert start_of_run(RUNNING, 1, Place(9)) == Start("1.2", 10)
    assert start_of_run(RUNNING, 3, Place(72, 1)) == Start("3.1", 72, 1)
    assert start_of_run(RUNNING, 2, Place(41, 1)) == Start("2.1", 41, 1)
    assert start_of_run(DONE, 3, None) == Start("3.1", 70), "also if it has ended"


def test_a_reader_that_has_all_of_a_run_gets_nothing() -> None:
    assert start_of_run(DONE, 3, Place(99)) is None
    assert start_of_run(AGAIN, 3, Place(99)) is None
    assert start_of_run(RUNNING, 2, Place(69)) is None
    assert start_of_run(RUNNING, 1, Place(39)) is None


def test_a_run_that_the_record_no_longer_has_can_not_be_followed() -> None:
    assert start_of_run(RUNNING._replace(past=PAST[:1]), 1, None) is None


def test_an_id_says_how_many_events_of_a_row_its_reader_has() -> None:
    at = f"epoch-{base62(77)}"
    assert place_of(at, "a b", "epoch", 80) == Place(77)
    assert place_of(f"{at}.a~20b", "a b", "epoch", 80) == Place(77)
    assert place_of(f"{at}.a~20b.12", "a b", "epoch", 80) == Place(77, 12)
    assert place_of(f"{at}.other.12", "a b", "epoch", 80) == Place(77), "an item's id"
    assert place_of(f"{at}.a~20b.x", "a b", "epoch", 80) == Place(77)
    assert place_of(f"{at}.a~20b.{'9' * 5000}", "a b", "epoch", 80) == Place(77, 1000)
    assert place_of(f"{at}.a~20b.²", "a b", "epoch", 80) == Place(77)


@pytest.mark.parametrize("id", ["", "x", f"other-{base62(77)}", f"epoch-{base62(81)}"])
def test_the_store_does_not_have_each_position(id: str) -> None:
    assert place_of(id, "a", "epoch", 80) is None
    assert place_of(id, "a", "", 80) is None
