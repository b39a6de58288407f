"""What a client does with the events of Flask-Push itself."""

from __future__ import annotations

import json
import re
import typing as t

from .._event import Event
from .._event import GAP
from .._event import UNSET
from . import wire

_ITEMS = frozenset({UNSET, "push:items", "push:whole"})
_PRESENCE = frozenset({"push:joined", "push:left", "push:count"})
_RETURNED = frozenset({GAP}) | _ITEMS | _PRESENCE
_WORD = re.compile(r"[0-9A-Za-z_-]{1,64}")


def is_returned(event: Event) -> bool:
    return not event.type.startswith(wire.RESERVED) or event.type in _RETURNED


def is_of_presence(event: Event) -> bool:
    """Whether a client that only watches has to know it."""
    return event.type in _PRESENCE or event.type in ("push:items", "push:whole")


def word_of(event: Event, name: str) -> str:
    """The text that an event of Flask-Push has in a field; empty if it has none."""
    try:
        data: t.Any = json.loads(event.data)
    except (ValueError, RecursionError):
        return ""
    word = data.get(name) if isinstance(data, dict) else None
    return word if isinstance(word, str) else ""


class HeldItems:
    """Whether a client has all items of its stream, over all its connections.

    The server sends only what has changed to a client that reconnects with the word of the
    last ``push:whole``. With it, the client says that it has each item as it was at its
    position. While a server sends all items, the client's position is newer than the items
    that it has.
    """

    def __init__(self) -> None:
        #: For the next request. Empty while the client may lack an item or an unset.
        self.word = ""
        self._is_opening = False

    def connect(self) -> None:
        """A connection begins. Its first ``push:open`` says what it sends."""
        self._is_opening = True

    def take(self, event: Event) -> None:
        """Look at the next event of the stream."""
        if event.type == "push:whole":
            word = word_of(event, "holds")
            self.word = word if _WORD.fullmatch(word) else ""
        elif event.type == "push:items":
            self.word = ""
        elif event.type == "push:open" and self._is_opening:
            # It is repeated later, and then says nothing about items.
            self._is_opening = False
            # A server of an older version sends no changes of items.
            if word_of(event, "items") != "changes":
                self.word = ""
