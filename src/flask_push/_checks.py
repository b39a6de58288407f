"""Checks of what an app passes to several functions."""

from __future__ import annotations

import math

from ._delivery.stream import MAX_EVERY
from ._event import MAX_KEY

# No store keeps more events of a channel (PUSH_KEEP), and some can't take a larger number.
_MOST = 10_000_000


def check_count(name: str, value: int) -> int:
    """The number, or the largest number that brokers accept.

    :raises ValueError: If it is not a number of events.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} is a number of events, not {value!r}.")
    return min(value, _MOST)


def check_key(key: str) -> None:
    if not (isinstance(key, str) and key):
        raise ValueError(f"A key is a non-empty string, not {key!r:.80}.")
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise ValueError(
            f"The key {key[:80]!r} holds a lone surrogate, which is not text."
        ) from None
    if size > MAX_KEY:
        raise ValueError(
            f"The key {key[:80]!r} has {size:,} bytes, {MAX_KEY} at most. Use a hash of it:"
            " hashlib.sha256(key.encode()).hexdigest()."
        )


def check_number(value: float, expected: str) -> None:
    """
    :param expected: What the value is, with its name.
    :raises TypeError: If it is not a number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{expected}, not {value!r:.80}.")


def check_seconds(name: str, value: float, also: str = "", cure: str = "") -> float:
    """
    :param also: What else it may be.
    :param cure: What else the app can do.
    :raises TypeError: If it is not a number.
    :raises ValueError: If it is not above 0, or without end.
    """
    check_number(value, f"{name} is a number of seconds{also}")
    if not 0 < value < math.inf:
        raise ValueError(f"{name} is a number of seconds above 0, not {value!r:.80}.{cure}")
    return value


def check_every(value: float) -> float:
    """
    :raises ValueError: If it is not a pause that a stream may have.
    :raises TypeError: If it is not a number.
    """
    check_number(value, "every is the seconds between two writes, as in every=0.5")
    if not 0 <= value <= MAX_EVERY:
        raise ValueError(
            f"every = {value!r:.80}: from 0 to {MAX_EVERY} seconds. 0 sends each event at"
            " once."
        )
    return value
