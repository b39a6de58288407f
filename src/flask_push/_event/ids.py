"""How an id writes numbers, and the names of channels and items."""

from __future__ import annotations

import re
from functools import lru_cache

# Sorted as ASCII sorts, so that ids of equal length sort as their numbers do.
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS = [high + low for high in _DIGITS for low in _DIGITS]
#: The value of each digit.
DIGITS = {digit: value for value, digit in enumerate(_DIGITS)}
_UNSAFE = re.compile(rb"[^0-9A-Za-z_-]")
_ESCAPED = re.compile(r"(?:[0-9A-Za-z_-]|~[0-9a-f]{2})+\Z")

MAX_CHANNEL = MAX_ITEM = 64


def base62(number: int) -> str:
    # It is called for every event, and the first digits seldom change.
    high, low = divmod(number, 62**2)
    return _leading(high) + _PAIRS[low] if high else _PAIRS[low].lstrip("0") or "0"


@lru_cache(16)
def _leading(number: int) -> str:
    return base62(number)


def escape(channel: str) -> str:
    """The channel's name as part of an id: ASCII, and at most 64 bytes.

    :raises ValueError: If the name is empty, too long, or not text.
    """
    if not isinstance(channel, str) or not channel:
        raise ValueError(f"A channel's name is a non-empty string, not {channel!r:.80}.")
    if len(channel) > MAX_CHANNEL:
        raise _too_long("channel", channel, len(channel))
    return _escape(channel)


def escape_item(item: str) -> str:
    """The item's name as part of an id, as :func:`escape`.

    :raises ValueError: If the name is empty, too long, or not text.
    """
    if not isinstance(item, str) or not item:
        raise ValueError(f"An item's name is a non-empty string, not {item!r:.80}.")
    if len(item) > MAX_ITEM:
        raise _too_long("item", item, len(item))
    return _escape(item, "item")


@lru_cache(4096)
def _escape(name: str, what: str = "channel") -> str:
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"The {what} {name!r} holds a lone surrogate.") from None
    tag = _UNSAFE.sub(lambda match: b"~%02x" % match[0][0], encoded).decode()
    if len(tag) > MAX_CHANNEL:
        raise _too_long(what, name, len(tag))
    return tag


def _too_long(what: str, name: str, size: int) -> ValueError:
    return ValueError(
        f"The {what} {name[:80]!r} takes {size:,} bytes of an event's id or more,"
        f" {MAX_CHANNEL} at most: letters, digits, '_' and '-' count one, any"
        " other byte three. Use a shorter name, or a hash of it."
    )


def unescape(tag: str) -> str:
    """The channel that the part of an id after the dot names, or an empty string."""
    if _ESCAPED.match(tag) is None:
        return ""
    try:
        return re.sub(
            rb"~(..)", lambda match: bytes([int(match[1], 16)]), tag.encode()
        ).decode()
    except UnicodeDecodeError:
        return ""
