"""The other hubs of a store, and the rows of those that are dead."""

from __future__ import annotations

import json
import typing as t

import pytest

from flask_push import Position
from flask_push._delivery.other_hubs import OtherHubs
from flask_push._delivery.presence_plan import fence
from flask_push._delivery.presence_plan import Found
from flask_push._delivery.presence_plan import Plan
from flask_push._delivery.presence_plan import Step
from flask_push._delivery.roster import PRESENT
from flask_push._event import ItemRow

OWN = fence("me", "e0000-1")


def row(number: int, name: str = "h", **values: t.Any) -> ItemRow:
    data = json.dumps({"members": 1, **values}).encode()
    return ItemRow(Position("e0000", number), "hubs", name, "message", data, 7)


def beat(hubs: OtherHubs, *rows: ItemRow, times: int = 1) -> Plan | None:
    """This hub stores beats, and then plans something."""
    for _ in range(times):
        hubs.take(rows, 1)
    return hubs.plan(0.0, OWN)


def test_a_record_that_does_not_change_for_six_beats_is_that_of_a_dead_hub() -> None:
    hubs = OtherHubs()
    assert beat(hubs, row(5), times=6) is None
    plan = beat(hubs, row(5))
    assert plan is not None and plan.step is Step.DEAD and plan.owner == "h"
    own, dead = plan.changes
    assert own == OWN
    assert dead[1:4] == ("hubs", "h", '{"dead":true}')
    assert (dead.version, dead.expect) == (8, "e0000-5")


def test_a_hub_that_stores_a_beat_is_counted_again() -> None:
    hubs = OtherHubs()
    assert beat(hubs, row(5), times=6) is None
    assert beat(hubs, row(6), times=6) is None
    hubs.count_again()
    assert beat(hubs, row(6), times=5) is None
    # Records that are read without a beat of this hub don't count.
    for _ in range(9):
        hubs.take([row(6)], 0)
    assert hubs.plan(0, OWN) is None
    assert beat(hubs, row(6)) is not None


@pytest.mark.parametrize(("leaving", "beats"), [(0, 6), (1, 7), (5, 7), (25.5, 12)])
def test_a_hub_whose_browsers_stay_away_is_dead_later(leaving: float, beats: int) -> None:
    hubs = OtherHubs()
    assert beat(hubs, row(5, leaving=leaving), times=beats) is None
    assert beat(hubs, row(5, leaving=leaving)) is not None


@pytest.mark.parametrize(
    ("rows", "matter"),
    [
        ([], False),
        ([row(5, members=0)], False),
        ([row(5, members=0), row(6, "g")], True),
        ([row(5, members=0, dead=True)], True),
    ],
)
def test_hubs_without_members_do_not_keep_each_other_running(
    rows: list[ItemRow], matter: bool
) -> None:
    hubs = OtherHubs()
    hubs.take(rows, 1)
    assert hubs.matter is matter


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"[" * 100_000, b"7", b"[1]", b'{"members":"many","leaving":null,"new":1}'],
)
def test_a_record_that_cannot_be_read_is_that_of_a_hub_with_members(data: bytes) -> None:
    hubs = OtherHubs()
    unreadable = row(5)._replace(data=data, version=None)
    assert beat(hubs, unreadable, times=6) is None and hubs.matter
    plan = beat(hubs, unreadable)
    assert plan is not None and plan.step is Step.DEAD


def test_the_rows_of_a_dead_hub_are_unset_and_then_its_record() -> None:
    hubs = OtherHubs()
    find = beat(hubs, row(5, dead=True))
    assert find == Plan(Step.FIND, 0.0, owner="h")
    rows = [
        ItemRow(Position("e0000", 3), "a", f"h.{user}", "message", b"1") for user in "uv"
    ]
    hubs.done(find, Found(rows=rows), [])
    sweep = hubs.plan(0, OWN)
    assert sweep is not None and sweep.step is Step.SWEEP
    own, dead, *unsets = sweep.changes
    assert (own, dead) == (OWN, fence("h", "e0000-5"))
    assert [change[:4] for change in unsets] == [
        (PRESENT, "a", "h.u", None),
        (PRESENT, "a", "h.v", None),
    ]
    hubs.done(sweep, Found(), [])
    assert hubs.plan(0, OWN) == find
    hubs.done(find, Found(), [])
    forget = hubs.plan(0, OWN)
    assert forget is not None and forget.step is Step.FORGET
    assert forget.changes[1][1:4] == ("hubs", "h", None)
    assert forget.changes[1].expect == "e0000-5"
    assert repr(hubs) == "<OtherHubs [1 hubs, 1 dead]>" and hubs.matter
    hubs.done(forget, Found(), [])
    assert hubs.plan(0, OWN) is None and not hubs.matter


def test_a_hub_that_was_marked_as_dead_is_swept_without_another_read() -> None:
    hubs = OtherHubs()
    dead = beat(hubs, row(5), times=7)
    assert dead is not None
    hubs.done(dead, Found(), [Position("e0000", 1), Position("e0000", 9)])
    find = hubs.plan(0, OWN)
    assert find is not None and find.step is Step.FIND
    hubs.done(find, Found(), [])
    forget = hubs.plan(0, OWN)
    assert forget is not None and forget.changes[1].expect == "e0000-9"


def test_a_hub_whose_record_another_process_has_changed_is_read_again() -> None:
    hubs = OtherHubs()
    assert beat(hubs, row(5), times=7) is not None
    hubs.forget("h")
    assert hubs.plan(0, OWN) is None
    assert beat(hubs, row(8), times=6) is None
    hubs.take([row(9, "g")], 1)
    assert repr(hubs) == "<OtherHubs [1 hubs, 0 dead]>"
