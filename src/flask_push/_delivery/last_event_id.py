"""Where a request has the position of its browser, and the word for its items."""

from __future__ import annotations

import collections.abc as cabc

#: The parameters in which polyfills and libraries send the position.
POSITIONS = ("last_event_id", "lastEventId", "Last-Event-Id", "evs_last_event_id")
# No id is longer. The beginning of a longer text is not a valid id either, and takes less
# memory.
_LONGEST = 256
# A word of this version has 16 characters. A newer one may have more.
_LONGEST_WORD = 64


def position_of(header: str, get: cabc.Callable[[str], str | None]) -> str:
    """The position. The header is newer than the address, which stays the same when a
    browser reconnects.

    :param header: ``Last-Event-ID``.
    :param get: Returns the parameter of a name.
    """
    position = header or next(filter(None, map(get, POSITIONS)), "")
    return position[:_LONGEST]


def holds_of(get: cabc.Callable[[str], str | None]) -> str:
    """The word of the last ``push:whole`` that the page has got. Empty if the text is no
    such word.

    :param get: Returns the parameter of a name.
    """
    word = get("holds") or ""
    return word if len(word) <= _LONGEST_WORD else ""
