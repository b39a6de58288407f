"""The frame of an event says what the event is, in bytes that any reader understands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_push import sse
from flask_push._delivery.channel import ExcludingFrame
from flask_push._delivery.event_frame import event_frame
from flask_push._event import Entry
from flask_push._event import event_id
from flask_push._event import MAX_NUMBER
from flask_push._event import Position

CHANNELS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)
TYPES = st.sampled_from(["message", "price", "ö"])


@given(st.integers(1, MAX_NUMBER), CHANNELS, TYPES, st.text("a\n\r:ü ", max_size=9))
def test_a_reader_gets_what_was_stored(
    number: int, channel: str, type: str, text: str
) -> None:
    entry = Entry(number, 0, channel, type, text.encode())
    parser = sse.Parser()
    (event,) = parser.feed(event_frame(entry, "kQ3fZ", number))
    assert event.id == event_id(Position("kQ3fZ", number), channel)
    assert event.type == type
    assert event.data == text.replace("\r\n", "\n").replace("\r", "\n")


def test_the_number_may_be_that_of_an_event_before() -> None:
    """An event that the store does not keep has the position of the log's end."""
    frame = event_frame(Entry(9, None, "a", "message", b"x"), "kQ3fZ", 7)
    assert frame == b"id: kQ3fZ-7.a\ndata: x\n\n"


def test_an_event_that_was_stored_too_large_is_refused() -> None:
    entry = Entry(9, 0, "a", "message", b"x\ny\nz")
    # Each line break is sent as seven bytes.
    assert event_frame(entry, "kQ3fZ", 9, 17)
    with pytest.raises(ValueError, match="17 bytes of data are more"):
        event_frame(entry, "kQ3fZ", 9, 16)


def test_an_event_may_exclude_a_connection() -> None:
    frame = event_frame(Entry(9, 0, "a", "message", b"x", "me"), "kQ3fZ", 9)
    assert isinstance(frame, ExcludingFrame) and frame.excluded == "me"
    assert type(event_frame(Entry(9, 0, "a", "message", b"x"), "kQ3fZ", 9)) is bytes
