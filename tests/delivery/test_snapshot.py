"""What one hub hands to the next."""

from __future__ import annotations

import json
import typing as t

from support.laws import tell

from flask_push._delivery.channel import Channel
from flask_push._delivery.channel import MOST_LOST
from flask_push._delivery.snapshot import stream_from_json
from flask_push._delivery.snapshot import stream_to_json
from flask_push._delivery.stream import LISTENER
from flask_push._delivery.stream import Stream


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


def test_a_new_hub_may_send_a_gap_for_events_that_were_dropped_before_it_started() -> None:
    """It knows no predecessor of what its feed begins with, and tells too much."""
    story = "start 0; connect 0 abc nothing; watch 0 3; publish a; " + "elsewhere; " * 3
    tell(story + "publish b; publish a; elsewhere; replace 0", None)


def test_a_take_over_keeps_what_the_app_itself_listens_to() -> None:
    listener = Stream(("a",), "x", session=LISTENER)
    sent = json.loads(json.dumps(stream_to_json(listener)))
    assert stream_from_json(sent) == listener and listener.is_listener
    # A hub of an older version returns it too: it knows the field.
    assert sent["session"] == LISTENER
