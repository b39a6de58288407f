"""The runs that readers follow: what the log does with their rows."""

from __future__ import annotations

import typing as t

import pytest
from support.follows_store import CHANNEL
from support.follows_store import OWN
from support.follows_store import RunStore
from support.follows_store import TAG
from support.follows_world import fail
from support.follows_world import FollowClient
from support.follows_world import FollowHub

from flask_push._delivery.follow import Follow
from flask_push._delivery.followed import RunGroup
from flask_push._delivery.log import Log
from flask_push._delivery.run_rows import pack
from flask_push._event import Entry
from flask_push._event import OwnChannel


def make_log(max_bytes: int = 10**6) -> Log:
    log = Log(report=fail, max_bytes=max_bytes)
    log.turn("epoch", [], 10)
    return log


def join(log: Log, tag: str = TAG, **how: t.Any) -> RunGroup:
    group, new = log.runs.join(Follow(CHANNEL, tag, **how), log.end)
    log.hold(new)
    group.members += 1
    return group


def row(number: int, prev: int, item: str = f"{TAG}.0", text: str = "x") -> Entry:
    return Entry(number, prev, OWN, "message", pack([text]).encode(), item=item)


def test_streams_of_one_attempt_and_format_are_one_group() -> None:
    log = make_log()
    assert not list(log.runs)
    group, new = log.runs.join(Follow(CHANNEL, TAG), 10)
    assert new == [OWN] == list(log.runs) and group.missing == 1
    assert log.hold(new) == [group] and group.missing == 0
    assert log.runs.join(Follow(CHANNEL, TAG, after=7, skip=2), 10) == (group, [])
    others = [
        log.runs.join(Follow(CHANNEL, TAG, "openai", framing="chunked"), 10),
        log.runs.join(Follow(CHANNEL, TAG, "openai", framing="close"), 10),
        log.runs.join(Follow(CHANNEL, "2.2"), 10),
    ]
    assert [new for _, new in others] == [[], [], []]
    groups = {group, *(other for other, _ in others)}
    assert len(groups) == 4 and set(log.runs.groups()) == groups
    assert repr(log.runs) == "<Runs [1 channels, 4 groups]>"
    assert repr(log.runs.by_name[OWN]) == "<FollowedChannel 'chat:1': 4 groups>"
    assert not log.groups and not log.channels
    assert log.runs.drop(group) == log.runs.drop(others[0][0]) == []
    assert log.runs.drop(others[2][0]) == [] and log.runs.drop(others[1][0]) == [OWN]
    assert not list(log.runs) and not log.budget


def test_rows_are_only_for_those_that_follow_their_run() -> None:
    log = make_log()
    group, other = join(log), join(log, "2.2")
    touched = log.turn(
        "epoch",
        [
            row(11, 10),
            row(12, 11, "now"),
            row(13, 12, "2.10.0"),
            row(14, 13, "2.2.0"),
            row(15, 14, f"{TAG}.p")._replace(type="push:progress", data=b"{}"),
        ],
    )
    assert touched == [group, other]
    assert [number for number, _ in group.turn] == [11, 15]
    assert [number for number, _ in other.turn] == [14]
    assert [number for number, _ in group.kept.between(0, 99)] == [11], "no progress"
    assert log.end == 15 and not group.gaps
    # Rows of a channel that no reader follows.
    assert log.turn("epoch", [row(16, 1)._replace(channel=OwnChannel("run", "b"))]) == []


def test_a_run_that_was_published_as_an_app_s_event_is_none() -> None:
    log = make_log()
    group = join(log)
    assert log.turn("epoch", [row(11, 10)._replace(prev=None)]) == [] == group.turn


@pytest.mark.parametrize("max_bytes", [0, 10**6])
def test_the_frames_count_in_the_budget_of_the_log(max_bytes: int) -> None:
    log = make_log(max_bytes)
    group, plain = join(log), join(log, wire="openai", framing="close")
    log.turn("epoch", [row(11, 10), row(12, 11, f"{TAG}.1")])
    assert len(log.budget) == len(group.kept) + len(plain.kept) == (4 if max_bytes else 0)
    assert group.reaches(11) == bool(max_bytes) and group.reaches(12)
    # The same numbers of both do not confuse it.
    log.budget.drop(group.kept, 12)
    for number in range(13, 113):
        log.turn("epoch", [row(number, number - 1, f"{TAG}.{number}")])
        log.budget.drop(plain.kept, number)
    assert log.runs.drop(group) == [] and log.runs.drop(plain) == [OWN]
    assert len(log.budget) == 0


def test_a_row_that_names_another_before_it_makes_readers_read_again() -> None:
    log = make_log()
    group, other = join(log), join(log, "1.1")
    log.turn("epoch", [row(11, 10)])
    group.turn.clear()
    touched = log.turn("epoch", [row(15, 14, f"{TAG}.4")])
    assert touched == [group, other] and group.gaps and other.gaps
    assert group.place(14) == other.place(14) == 11
    assert not group.reaches(13) and group.reaches(14)
    assert [number for number, _ in group.kept.between(0, 99)] == [15]


def test_what_the_feed_has_proved_is_not_missing() -> None:
    log = make_log()
    group = join(log)
    log.turn("epoch", [], 14)
    log.turn("epoch", [row(15, 14)])
    assert not group.gaps and group.reaches(10)


def test_a_horizon_beyond_the_end_makes_readers_read_again_when_the_end_is_there() -> None:
    log = make_log()
    group = join(log)
    log.take_horizons("epoch", t.cast("dict[str, int]", {OWN: 9}), ())
    assert group.reaches(10), "all up to here is known"
    log.take_horizons("epoch", t.cast("dict[str, int]", {OWN: 13}), ())
    assert not group.reaches(12)
    assert log.turn("epoch", [row(12, 10)]) == [] and not group.gaps
    assert log.turn("epoch", [row(14, 13, f"{TAG}.1")]) == [group] and group.gaps
    assert group.place(13) == 10


def test_what_the_feed_has_missed_makes_readers_read_again() -> None:
    store = RunStore()
    hub = FollowHub(store, 10**6)
    client = FollowClient(store)
    client.connect(hub)
    hub.settle()
    reader = client.reader
    assert reader is not None and id(reader) in reader.group.live
    store.write(1)
    hub.miss()
    assert reader.wants_page and reader.cursor < store.number
    hub.settle()
    client.check()
    assert client.received == 1 and client.gaps == 0


def test_a_horizon_is_of_its_epoch() -> None:
    log = make_log()
    group = join(log)
    log.take_horizons("epoch", t.cast("dict[str, int]", {OWN: 30}), ())
    log.turn("other", [], 5)
    assert group.reaches(5) and group.place(7) == 5


@pytest.mark.parametrize("wire", ["push", "ai-sdk"])
def test_a_new_epoch_ends_all_that_is_followed(wire: str) -> None:
    store = RunStore()
    hub = FollowHub(store, 10**6)
    client = FollowClient(store, wire, "none" if wire == "push" else "chunked")
    client.takes_all = True
    client.connect(hub)
    store.write(2)
    hub.settle()
    last_id = client.last_id
    store.epoch = "other"
    hub.turn([], 5)
    assert client.is_done and not hub.readers and not list(hub.log.runs)
    if wire == "push":
        # The gap has no id. So the page gets all of the run again.
        assert client.reasons == ["restarted"] and client.last_id == last_id
    else:
        assert b'"errorText":"restarted"' in client.body


@pytest.mark.parametrize("wire", ["push", "openai"])
def test_a_follow_of_another_epoch_ends_at_once(wire: str) -> None:
    store = RunStore()
    hub = FollowHub(store, 10**6)
    store.epoch = "other"
    client = FollowClient(store, wire, "none" if wire == "push" else "close")
    client.takes_all = True
    client.connect(hub)
    assert client.reader is not None
    hub.grant(client.reader, 10**6)
    assert client.is_done and client.opened == (wire == "push")


@pytest.mark.parametrize("max_bytes", [0, 10**6])
@pytest.mark.parametrize("is_live", [True, False])
@pytest.mark.parametrize("wire", ["push", "openai"])
def test_a_row_that_cannot_be_sent_is_missing(
    wire: str, is_live: bool, max_bytes: int
) -> None:
    store = RunStore()
    hub = FollowHub(store, max_bytes)
    reported: list[int] = []
    hub.log.encoder.report = lambda entry, *_: reported.append(entry.number)
    client = FollowClient(store, wire, "none" if wire == "push" else "chunked")
    client.takes_all = True
    store.write(1)
    client.connect(hub)
    if is_live:
        hub.settle()
    store.store(f"{TAG}.1", "message", "5\nabc")
    store.texts.append("never sent")
    store.write(1)
    store.end("done")
    hub.settle()
    assert client.is_done and set(reported) == {store.number - 3}
    if wire == "push":
        assert client.reasons == ["unknown"] and client.status == "done"
        assert client.received == 3
    else:
        assert client.body.startswith(b"data: 0\n\ndata: ")
        assert b'"code":"gap"' in client.body and b"data: 2" not in client.body
