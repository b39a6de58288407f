"""The judge of the runs finds each mistake that a reader can make."""

from __future__ import annotations

import json

import pytest
from support.checker import Cause
from support.checker import judge
from support.checker import Trace
from support.checker import Truth

from flask_push import Event
from flask_push import Position


def event(number: int, channel: str = "a", epoch: str = "oneee") -> Event:
    return Event(channel, "", id=f"{Position(epoch, number)}.{channel}")


def opening(number: int, epoch: str = "oneee") -> Event:
    return Event("", "", "push:open", id=str(Position(epoch, number)))


def gap(number: int, reason: str, *channels: str, epoch: str = "oneee") -> Event:
    data = json.dumps({"channels": channels, "reason": reason})
    return Event("", data, "push:gap", id=str(Position(epoch, number)))


def judged(*events: Event, causes: tuple[Cause, ...] = ()) -> list[str]:
    """Of a reader of a and b, to which the numbers 11 to 19 were published by turns."""
    truth = Truth()
    for number in range(11, 20):
        channel = "ab"[number % 2]
        truth.add(event(number, channel).id, channel, str(number))
    return judge(Trace(["a", "b"], list(events), [100] * len(events)), truth, causes)


def said(*numbers: int) -> list[Event]:
    return [event(number, "ab"[number % 2]) for number in numbers]


def test_who_has_had_all_has_no_complaint() -> None:
    assert judged(opening(13), *said(14, 15), opening(15), *said(16)) == []


@pytest.mark.parametrize(
    "events",
    [
        (opening(13), *said(14, 16)),
        (opening(13), *said(14, 15, 15)),
        (opening(13), *said(15, 14)),
        (opening(13), *said(14), opening(17)),
        (opening(13), *said(14), event(15, "b", "twooo")),
        (opening(13), *said(14), gap(19, "restarted", "a", epoch="twooo")),
    ],
)
def test_what_is_lost_doubled_reordered_or_of_another_life_is_found(
    events: tuple[Event, ...],
) -> None:
    loss = Cause("loss", 0, 200)
    assert judged(*events, causes=(loss,))


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("restarted", "loss"), ("trimmed", "retention"), ("unknown", "eviction")],
)
def test_a_gap_needs_a_cause_since_what_the_reader_had_last(reason: str, kind: str) -> None:
    if reason == "restarted":
        told = gap(3, reason, "a", "b", epoch="twooo")
    else:
        told = gap(16, reason, "a", "b")
    events = opening(13), *said(14), told
    assert judged(*events, causes=(Cause(kind, 15, 90),)) == []
    assert judged(*events, causes=(Cause(kind, 5, 14),)) == []
    for cause in Cause(kind, 5, 13), Cause(kind, 101, 110), Cause("keys", 15, 90):
        assert "without a cause" in judged(*events, causes=(cause,))[0]


def test_a_gap_where_nothing_is_missing_is_one_too_many() -> None:
    events = opening(13), *said(14), gap(14, "trimmed", "a"), *said(15)
    assert judged(*events, causes=(Cause("retention", 0, 100),))
    assert judged(*events, causes=(Cause("eviction", 14, 20),)) == []


def test_what_is_stored_twice_is_found_unless_keys_were_lost() -> None:
    truth = Truth()
    for number in 11, 17:
        truth.add(event(number).id, "a", "same")
    truth.add(event(30, epoch="twooo").id, "a", "same")
    assert truth.doubled() == ["same was stored twice"]
    assert truth.doubled([Cause("keys", 18, 20)])
    assert truth.doubled([Cause("keys", 12, 20)]) == []
