"""One group for all readers of the same channels and rosters."""

from __future__ import annotations

from flask_push._delivery.groups import drop_group
from flask_push._delivery.groups import join_group
from flask_push._delivery.log import Log
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
    assert new == [] and plain.watch == []
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
