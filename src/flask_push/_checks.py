"""Checks of what an app passes to several functions."""

from __future__ import annotations

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
