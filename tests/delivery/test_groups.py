"""One group for all readers of the same channels and rosters."""

from __future__ import annotations

from flask_push._delivery.groups import drop_group
from flask_push._delivery.groups import join_group
from flask_push._delivery.log import Log
from flask_push._delivery.stream import Stream
from flask_push._delivery.stream_presence import StreamPresence
from flask_push._event import OwnChannel

ROSTER = OwnChannel("present", "a")


def new_log() -> Log:
    return Log(report=lambda *_: None)


def test_readers_of_the_same_channels_and_rosters_share_a_group() -> None:
    log = new_log()
    group, new = join_group(log, ["b", ROSTER, "a", "b"], False, 0)
    assert new == ["a", "b", ROSTER]
    assert group.names == ("a", "b")
    assert group.watch == ["a"]
    assert join_group(log, ["a", "b", ROSTER], False, 0) == (group, [])
    # A roster is not the channel of its name.
    plain, new = join_group(log, ["a", "b"], False, 0)
    assert plain is not group
    assert new == [] and not plain.watch
    assert join_group(log, ["a", ROSTER], True, 5)[1] == []
    assert len(log.groups) == 3


def test_a_group_that_is_dropped_takes_its_channels_and_rosters_with_it() -> None:
    log = new_log()
    group, _ = join_group(log, ["a", ROSTER], False, 0)
    paced, _ = join_group(log, ["b", ROSTER], True, 5)
    assert drop_group(log, group) == ["a"]
    assert log.rosters
    assert drop_group(log, paced) == ["b", ROSTER]
    assert not log.channels and not log.groups and not log.rosters
    assert not log.rosters.partial


def test_streams_that_watch_the_same_channels_are_in_one_group() -> None:
    presence = StreamPresence(present=(("c", "1"),), watch=("d", "a"))
    names, *others = Stream(("a", "b"), "x", presence=presence).group
    assert {*names} == {"a", "b", ROSTER, OwnChannel("present", "d")}
    # Where a stream's own user is present is not of the group.
    same = Stream(("a", "b"), "y", presence=StreamPresence(watch=("d", "a"))).group
    assert same == (names, *others)
    assert Stream(("a", "b"), "x").group == (("a", "b"), False, 0)
