"""The rosters of a log: when they are whole, and what is kept of those who have left."""

from __future__ import annotations

import typing as t

import pytest

from flask_push._delivery import roster as roster_module
from flask_push._delivery import rosters
from flask_push._delivery.groups import join_group
from flask_push._delivery.log import Log
from flask_push._delivery.roster import COUNT
from flask_push._delivery.rosters import WatchedRoster
from flask_push._event import Entry
from flask_push._event import ItemRow
from flask_push._event import OwnChannel
from flask_push._event import Page
from flask_push._event import Position
from flask_push._event import Proof
from flask_push._event import UNSET

ROSTER = OwnChannel("present", "a")


class Scene:
    """A log with one roster, of which the store was read at a number."""

    def __init__(self, **options: t.Any) -> None:
        self.errors: list[str] = []
        self.log = Log(report=lambda *args: self.errors.append(str(args[2])), **options)
        self.group, _ = join_group(self.log, ["c", ROSTER], False, 0)
        for group in self.log.turn("epoch", (), 10):
            group.turn = []
        self.roster.is_watched = True

    @property
    def roster(self) -> WatchedRoster[t.Any]:
        return self.log.rosters.by_name[ROSTER]

    def row(self, number: int, item: str, data: bytes | None, prev: int = 0) -> Entry:
        type = UNSET if data is None else "message"
        return Entry(number, prev, ROSTER, type, data or b"", item=item)

    def turn(self, *rows: Entry, end: int | None = None) -> list[bytes]:
        groups = self.log.turn("epoch", rows, end)
        frames = [piece for group in groups for _, piece in group.turn]
        for group in groups:
            group.turn = []
        assert all(isinstance(frame, bytes) for frame in frames)
        return t.cast("list[bytes]", frames)

    def read(self, end: int, *items: tuple[int, str, bytes]) -> None:
        self.roster.reading.read(
            [ItemRow(Position("epoch", n), ROSTER, i, "message", d) for n, i, d in items],
            end,
        )
        self.roster.reading.is_done = True

    def is_whole(self) -> bool:
        return self.log.settle_rosters() == [self.roster]

    def members(self) -> list[str]:
        pieces = self.roster.items.between(0, self.log.end)
        return [piece.item for piece in pieces if piece.living]


def test_a_roster_is_whole_when_the_log_has_reached_what_was_read() -> None:
    scene = Scene()
    assert scene.turn(scene.row(11, "A.ada", b"1")) == []
    scene.read(20, (11, "A.ada", b"1"), (13, "B.bob", b"2"))
    assert not scene.is_whole()
    assert scene.roster.horizon > 10**18
    assert scene.turn(scene.row(13, "B.bob", b"2")) == []
    assert scene.is_whole()
    assert scene.roster.horizon == 13
    assert scene.members() == ["ada", "bob"]
    (frame,) = scene.turn(scene.row(14, "A.ada", None, 13))
    assert b"event: push:left\n" in frame and b"id: epoch-E.a.ada\n" in frame
    assert scene.members() == ["bob"]


def test_a_roster_that_lacks_a_row_is_read_again() -> None:
    scene = Scene()
    scene.read(10, (9, "A.ada", b"1"))
    assert scene.is_whole()
    assert scene.turn(scene.row(12, "A.bob", b"1", prev=9)) != []
    # The row of the number 13 has not arrived.
    assert scene.turn(scene.row(14, "A.cyd", b"1", prev=13)) == []
    assert not scene.roster.is_whole and scene.roster in scene.log.rosters.partial
    scene.read(14, (9, "A.ada", b"1"), (12, "A.bob", b"1"), (13, "B", b"3"))
    assert scene.is_whole()
    assert scene.members() == ["ada", "bob", COUNT, "cyd"]


def test_a_roster_is_read_again_when_others_can_be_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(roster_module, "MAX_MEMBERS", 3)
    monkeypatch.setattr(roster_module, "_FEW_MEMBERS", 1)
    scene = Scene()
    scene.read(10, (7, "A.ada", b"1"), (8, "A.bob", b"1"), (9, "B.cyd", b"1"))
    assert scene.is_whole()
    # A hub stores those who come before those who leave.
    assert scene.turn(scene.row(11, "B.dan", b"1", 9)) == []
    assert len(scene.turn(scene.row(12, "A.ada", None, 11))) == 1
    assert scene.turn(scene.row(13, "A.bob", None, 12), scene.row(14, "B", b"2", 13)) == []
    assert not scene.roster.is_whole
    scene.read(14, (9, "B.cyd", b"1"), (11, "B.dan", b"1"), (14, "B", b"2"))
    assert scene.is_whole()
    assert scene.members() == ["cyd", "dan", COUNT]


def test_a_row_that_is_lost_while_a_roster_is_read_makes_it_read_again() -> None:
    scene = Scene()
    scene.turn(scene.row(12, "A.ada", b"1", prev=8))
    # The row of the number 13 has not arrived, and came after the roster was read.
    scene.turn(scene.row(14, "A.bob", b"1", prev=13))
    scene.read(12, (12, "A.ada", b"1"))
    assert not scene.is_whole()
    assert not scene.roster.reading.is_done
    scene.read(14, (12, "A.ada", b"1"), (13, "B.bob", b"1"), (14, "A.bob", b"1"))
    assert scene.is_whole()


def test_a_store_without_rows_is_not_read() -> None:
    scene = Scene()
    scene.roster.is_watched = False
    scene.log.take_horizons("epoch", {ROSTER: 5, "c": 5}, {ROSTER, "c"})
    assert not scene.is_whole()
    scene.roster.is_watched = True
    assert scene.is_whole()
    assert scene.members() == []


def test_a_roster_is_lost_if_unsets_were_forgotten_that_have_not_arrived() -> None:
    scene = Scene()
    scene.read(10)
    assert scene.is_whole()
    scene.log.take_horizons("epoch", {ROSTER: 10}, ())
    assert scene.roster.is_whole
    scene.log.take_horizons("epoch", {ROSTER: 11}, ())
    assert not scene.roster.is_whole


def test_a_hole_of_the_log_loses_rosters() -> None:
    scene = Scene()
    scene.log.hold(["c"])
    scene.read(10)
    assert scene.is_whole()
    scene.log.hole = 15
    assert scene.turn(scene.row(12, "A.ada", b"1")) == []
    assert scene.log.settle_rosters() == []
    scene.log.fill(Page("epoch", 10, 15, 15, [], {"c": Proof(10)}, {}))
    assert not scene.roster.is_whole


def test_unsets_are_forgotten_when_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rosters, "_MIN_UNSETS", 3)
    scene = Scene()
    scene.read(10, (9, "A.ada", b"1"))
    assert scene.is_whole()
    for number in range(11, 31, 2):
        user = f"A.user {number}"
        scene.turn(
            scene.row(number, user, b"1", number - 1),
            scene.row(number + 1, user, None, number),
        )
        # Who is behind the horizon gets all members.
        left = [p.number for p in scene.roster.items.between(scene.roster.horizon, 99)]
        assert left[-1] == number + 1
        assert len(scene.roster.items) <= 2 * 3 + 2
    assert 10 < scene.roster.horizon < 30
    assert scene.members() == ["ada"]


def test_info_that_is_no_json_counts_as_unset_and_is_reported() -> None:
    scene = Scene()
    scene.read(10)
    assert scene.is_whole()
    (frame,) = scene.turn(scene.row(11, "A.ada", b"no JSON"))
    assert b"event: push:left\n" in frame
    assert len(scene.errors) == 1
    # Not even the name can be sent.
    assert scene.turn(scene.row(12, f"A.{'x' * 65}", b"1", 11)) == []
    assert len(scene.errors) == 2


def test_rosters_say_what_they_are() -> None:
    scene = Scene()
    assert repr(scene.log.rosters) == "<Rosters [1 rosters, 1 partial]>"
    assert repr(scene.roster) == "<WatchedRoster 'a': partial>"
    scene.read(10, (9, "A.ada", b"1"))
    assert scene.is_whole()
    assert repr(scene.roster) == "<WatchedRoster 'a': 1 members>"


def test_info_may_be_longer_than_the_events_of_an_app_but_not_as_long_as_you_like() -> None:
    scene = Scene(max_event=10)
    scene.read(10)
    assert scene.is_whole()
    (frame,) = scene.turn(scene.row(11, "A.ada", b'"%s"' % (b"x" * 1022)))
    assert b"event: push:joined\n" in frame
    (frame,) = scene.turn(scene.row(12, "A.bob", b'"%s"' % (b"x" * 5000), 11))
    assert b"event: push:left\n" in frame and len(scene.errors) == 1
