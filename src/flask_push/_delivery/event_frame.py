"""The frame of an event, the same for every reader. Made for every event."""

from __future__ import annotations

from functools import lru_cache

from .. import sse
from .._event import base62
from .._event import Entry
from .._event import escape
from .._event import MAX_NUMBER
from .channel import ExcludingFrame

_TWO_DIGITS = 62**2
_ID_ENDS = [base62(_TWO_DIGITS + low)[1:].encode() for low in range(_TWO_DIGITS)]


def event_frame(
    entry: Entry, epoch: str, number: int, max_bytes: int = MAX_NUMBER
) -> bytes:
    """
    :param max_bytes: How many bytes of data the event may have, as they are sent.
    :raises ValueError: If the event breaks the rules: another program has stored it.
    """
    _, _, channel, type, data, exclude, _ = entry
    if len(data) * 7 > max_bytes:
        check_size(data, max_bytes)
    # The first digits seldom change, and most channels have one type of events.
    high, low = divmod(number, _TWO_DIGITS)
    id = (_id_begin(epoch, high), _ID_ENDS[low]) if high else (_id_begin(epoch, low), b"")
    lines = sse.data_lines(data)
    frame = b"".join((*id, _after_id(channel, type), lines, b"\n\n"))
    return ExcludingFrame.of(frame, exclude) if exclude else frame


def check_size(data: bytes, most: int) -> None:
    """:raises ValueError: If the data would be sent as more bytes than this."""
    if (size := sse.sent_size(data)) > most:
        raise ValueError(f"{size} bytes of data are more than PUSH_MAX_EVENT_BYTES")


@lru_cache(16)
def _id_begin(epoch: str, high: int) -> bytes:
    """The line of an id, up to the last two digits of the number."""
    return f"id: {epoch}-{base62(high)}".encode()


@lru_cache(4096)
def _after_id(channel: str, type: str) -> bytes:
    """What is between the number and the data."""
    return f".{escape(channel)}\n".encode() + sse.type_line(type) + b"data: "
