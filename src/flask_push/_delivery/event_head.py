"""The lines of an event before its data: its id, and its type. Made for every event."""

from __future__ import annotations

from functools import lru_cache

from .. import sse
from .._event import base62
from .._event import escape

_TWO_DIGITS = 62**2
_ID_ENDS = [base62(_TWO_DIGITS + low)[1:].encode() for low in range(_TWO_DIGITS)]


def event_head(channel: str, type: str, epoch: str, number: int) -> bytes:
    # The first digits seldom change, and most channels have one type of events.
    high, low = divmod(number, _TWO_DIGITS)
    id = _id_begin(epoch, high) + _ID_ENDS[low] if high else _id_begin(epoch, number)
    return id + _after_id(channel, type)


@lru_cache(16)
def _id_begin(epoch: str, high: int) -> bytes:
    """The line of an id, up to the last two digits of the number."""
    return f"id: {epoch}-{base62(high)}".encode()


@lru_cache(4096)
def _after_id(channel: str, type: str) -> bytes:
    """What follows the number: the channel, and the line of the type."""
    return f".{escape(channel)}\n".encode() + sse.type_line(type)
