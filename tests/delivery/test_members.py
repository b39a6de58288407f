"""Which users are present at a hub, and for how long."""

from __future__ import annotations

import json

from flask_push._delivery.members import MAX_LISTED
from flask_push._delivery.members import Members
from flask_push._delivery.stream_presence import StreamPresence

GRACE = 10.0


def shows(info: str = "1", channel: str = "a") -> StreamPresence:
    return StreamPresence(present=((channel, info),))


COUNTED = StreamPresence(counted=("a",))


def test_a_user_is_wanted_for_the_grace_after_the_last_stream() -> None:
    members = Members(GRACE)
    members.enter("ann", shows())
    members.enter("ann", shows())
    members.leave("ann", shows(), 100)
    assert members.wanted(200) == {("a", "ann"): "1"} and members.next_end is None
    members.leave("ann", shows(), 200)
    assert members.next_end == 210
    assert members.wanted(209.9) == {("a", "ann"): "1"} and members.users == 1
    assert members.wanted(210) == {} and members.users == 0
    assert members.next_end is None


def test_a_user_who_returns_within_the_grace_stays() -> None:
    members = Members(GRACE)
    members.enter("ann", shows())
    members.leave("ann", shows(), 100)
    members.enter("ann", shows())
    assert members.wanted(1000) == {("a", "ann"): "1"}


def test_the_grace_begins_when_the_last_browser_may_reconnect() -> None:
    members = Members(GRACE)
    members.enter("ann", shows())
    members.enter("ann", shows())
    members.leave("ann", shows(), 300)
    members.leave("ann", shows(), 100)
    assert members.next_end == 310
    # One that has reconnected, and ends again.
    members.enter("ann", shows())
    members.leave("ann", shows(), 120)
    assert members.next_end == 130


def test_each_grace_that_has_begun_begins_again() -> None:
    members = Members(GRACE)
    for user, since in (("ann", 100), ("bob", 150)):
        members.enter(user, shows())
        members.leave(user, shows(), since)
    members.patient(120)
    assert members.wanted(129) == {("a", "ann"): "1", ("a", "bob"): "1"}
    assert members.wanted(130) == {("a", "bob"): "1"} and members.next_end == 160


def test_the_info_of_the_newest_stream_is_wanted() -> None:
    members = Members(GRACE)
    members.enter("ann", shows("1"))
    members.enter("ann", shows("2"))
    members.leave("ann", shows("2"), 0)
    assert members.wanted(100) == {("a", "ann"): "2"}


def test_users_are_counted_once_on_each_channel() -> None:
    members = Members(0)
    for user in ("ann", "ann", "bob"):
        members.enter(user, COUNTED)
    members.enter("ann", shows(channel="b"))
    assert members.wanted(0) == {("a", ""): "2", ("b", "ann"): "1"} and members.users == 3
    members.leave("ann", COUNTED, 0)
    members.leave("bob", COUNTED, 0)
    assert members.wanted(0) == {("a", ""): "1", ("b", "ann"): "1"}
    members.leave("ann", COUNTED, 0)
    assert members.wanted(0) == {("b", "ann"): "1"}


def test_a_user_who_is_listed_is_not_counted_too() -> None:
    members = Members(GRACE)
    members.enter("ann", COUNTED)
    members.enter("ben", COUNTED)
    members.enter("ann", shows())
    assert members.wanted(0) == {("a", "ann"): "1", ("a", ""): "1"}
    members.leave("ann", shows(), 0)
    assert members.wanted(GRACE) == {("a", ""): "2"}


def test_no_more_users_are_listed_than_a_presence_may_have() -> None:
    full: list[str] = []
    members = Members(0, full.append)
    for number in range(MAX_LISTED):
        members.enter(f"u{number}", shows())
    assert not full
    members.enter("late", shows())
    members.enter("later", shows())
    assert full == ["a"]
    wanted = members.wanted(0)
    assert len(wanted) == MAX_LISTED and ("a", "late") not in wanted
    # Another user makes place.
    members.leave("u5", shows(), 0)
    wanted = members.wanted(0)
    assert len(wanted) == MAX_LISTED
    assert ("a", "late") in wanted and ("a", "later") not in wanted


def test_a_successor_goes_on_with_users_and_their_graces() -> None:
    members, counted = Members(GRACE), StreamPresence(counted=("b",))
    for user in ("ann", "bob", "cid"):
        members.enter(user, shows(user))
        members.enter(user, counted)
    members.leave("bob", shows(), 95)
    members.leave("cid", counted, 130)
    rows = json.loads(json.dumps(members.to_rows(100)))
    successor = Members(GRACE)
    successor.restore([[*row, "new"] for row in rows], 1000)
    for user in ("ann", "cid"):
        successor.enter(user, shows(user))
    for user in ("ann", "bob"):
        successor.enter(user, counted)
    assert successor.wanted(1004) == members.wanted(104)
    wanted = successor.wanted(1004)
    assert [*wanted] == [*(("a", "ann"), ("a", "bob"), ("a", "cid"), ("b", ""))]
    assert wanted["b", ""] == "3"
    assert ("a", "bob") not in successor.wanted(1005)
    assert successor.wanted(1039)["b", ""] == "3"
    assert successor.wanted(1040)["b", ""] == "2"


def test_a_user_of_a_predecessor_whose_streams_are_missing_stays_for_the_grace() -> None:
    members = Members(GRACE)
    members.restore([["a", "ann", "1", False, 0]], 100)
    assert members.wanted(109) == {("a", "ann"): "1"}
    assert members.wanted(110) == {}
    assert repr(members) == "<Members [0 users, 0 without streams]>"
