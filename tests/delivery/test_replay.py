"""What many readers have missed is read once, and gaps are told where the store forgot."""

from __future__ import annotations

import json
import typing as t
from collections import Counter

import pytest
from support.laws import tell
from support.world import fail

from flask_push._delivery import wire
from flask_push._delivery.channel import Channel
from flask_push._delivery.channel import MOST_LOST
from flask_push._delivery.log import Log
from flask_push._delivery.readers import Readers
from flask_push._delivery.subscription import Subscription
from flask_push._event import Entry
from flask_push._event import Page
from flask_push._event import Position
from flask_push._event import Proof


@pytest.mark.parametrize("most", [1, 2])
def test_a_channel_that_lost_something_many_times_tells_each_reader(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above a number of times the ends of the gaps are forgotten."""
    monkeypatch.setattr("flask_push._delivery.channel.MOST_LOST", most)
    story = "start 0; replace 0; connect 0 ab nothing; watch 0 2"
    for _ in range(3):
        story += "; publish b; publish a; lose 0 1 1; publish a; publish b; replace 0"
    tell(f"{story}; replace 0; lose 0 1 1", None)


def test_ranges_of_what_was_lost_are_kept_over_a_take_over() -> None:
    before, after, older = (Channel[t.Any](name) for name in "abc")
    for number in range(10, 10 * MOST_LOST + 20, 10):
        before.lose(number)
        before.last = number
    assert len(before.lost) == MOST_LOST and before.blurred == 20
    for channel in before, after, older:
        channel.floor = 1000
    after.restore_lost(json.loads(json.dumps(before.lost)))
    assert (after.lost, after.blurred) == (before.lost, before.blurred)
    assert [after.is_blurred(cursor) for cursor in (0, 5, 15, 20)] == [
        False,
        True,
        True,
        False,
    ]
    assert [after.lost_until(cursor) for cursor in (20, 25, 35, 95)] == [0, 30, 40, 0]
    # One range of an older version may be several in one.
    older.restore_lost([10, 30])
    assert [older.is_blurred(cursor) for cursor in (10, 15, 30)] == [False, True, False]
    older.restore_lost([0, 0])
    assert older.lost == () and not older.is_blurred(5)


def test_a_hub_that_filled_a_hole_may_tell_a_gap_where_the_store_forgot() -> None:
    """The store names what it forgot of another channel as the predecessor."""
    tell(
        "start 0; replace 0; publish a; trim a 1; publish a; replace 0;"
        " connect 0 a nothing; publish b; trim b 1; cut 0; connect 0 a nothing;"
        " watch 0 1; fill 1; trim a 1; publish a; connect 0 a nothing",
        None,
    )


@pytest.mark.parametrize("max_bytes", [0, 10_000])
def test_frames_that_many_readers_missed_are_made_once(
    max_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, event = Counter[int](), wire.event

    def count(entry: Entry, epoch: str, number: int, limit: int) -> bytes:
        made[number] += 1
        return event(entry, epoch, number, limit)

    monkeypatch.setattr(wire, "event", count)

    log = Log(report=fail, max_bytes=max_bytes)
    readers = Readers(log, lambda: 0.5)
    log.turn("e", (), 3)
    entries = [Entry(number, number - 1, "a", "message", b"x") for number in (1, 2, 3)]
    page = Page("e", 0, 3, 3, entries, {"a": Proof(0)})
    three = [Subscription() for _ in range(3)]
    for reader in three:
        readers.join(reader, ["a"])
    log.hold(["a"])
    read = []
    for reader in three:
        assert readers.begin(reader, "r", Position("e", 0), page)
        reader.advance_all(readers.read(reader, 1000, page) or [])
        read.append(readers.read(reader, 1000, page))
    assert read[0] and read[0] == read[1] == read[2]
    assert made == {1: 1, 2: 1, 3: 1}


def test_a_log_keeps_no_order_of_frames_that_it_has_dropped() -> None:
    log = Log(report=fail, max_bytes=3000)
    readers = Readers(log, lambda: 0.5)
    log.turn("e", (), 0)
    for name in "xyz":
        readers.join(Subscription(), [name])
    log.hold("xyz")

    def publish(channel: str) -> None:
        number = log.end + 1
        log.turn("e", [Entry(number, log.end, channel, "message", b"x")], number)

    for name in "xyzxyz":
        publish(name)
    for n in range(1000):
        comes = Subscription()
        readers.join(comes, [f"c{n}"])
        log.hold([f"c{n}"])
        publish(f"c{n}")
        readers.leave(comes)
        assert len(log.budget._order) <= 2 * len(log.budget) + 64
    # What is left is in the order of its age still.
    assert [len(log.channels[name]) for name in "xyz"] == [2, 2, 2]
    readers.join(Subscription(), ["new"])
    log.hold(["new"])
    while len(log.budget) == 6 + len(log.channels["new"]):
        publish("new")
    publish("new")
    publish("new")
    assert [len(log.channels[name]) for name in "xyz"] == [1, 1, 1]
    assert log.budget._size <= 3000


def test_only_one_long_run_is_kept() -> None:
    log = Log(report=fail, max_bytes=0)
    readers = Readers(log, lambda: 0.5)
    log.turn("e", (), 20)
    reader, other = Subscription(), Subscription()
    readers.join(reader, ["a"])
    readers.join(other, ["a"])
    log.hold(["a"])
    proofs = {"a": Proof(0)}
    for number in range(1, 20):
        entries = [Entry(number, number - 1, "a", "message", bytes(1_000_000))]
        page = Page("e", number - 1, number, 20, entries, proofs)
        position = Position("e", number - 1)
        assert readers.begin(reader, "r", position, page)
        reader.advance_all(readers.read(reader, 1000, page) or [])
        assert readers.read(reader, 1000, page) == readers.read(reader, 1000, page)
    kept = [*readers._runs._runs, *readers._runs._long]
    assert sum(len(frame) for run in kept for _, frame in run.frames) < 1_100_000


def test_a_new_hub_may_send_a_gap_for_events_that_were_dropped_before_it_started() -> None:
    """It knows no predecessor of what its feed begins with, and tells too much."""
    story = "start 0; connect 0 abc nothing; watch 0 3; publish a; " + "elsewhere; " * 3
    tell(story + "publish b; publish a; elsewhere; replace 0", None)


def test_a_reader_may_get_a_gap_because_another_channel_was_trimmed() -> None:
    """That the store has forgotten up to there, a hub can't tell from an event lost."""
    story = "start 600; connect 1 ab nothing; watch 1 2; publish a; trim a 1; publish b"
    tell(story, None)
