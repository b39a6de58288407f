"""The text of a row: an event, a change of an item or a disconnect, as JSON in ASCII, for
which the encoding of the database does not matter."""

from __future__ import annotations

import json

from .._changes import Change
from .._delivery.disconnect import Disconnect
from .._event import Event
from ..brokers import ItemChange

_EVENT = ("type", "key", "store", "exclude")
_ITEM = ("type", "ttl", "version")
_DEFAULTS = Event("", "")


def to_text(change: Change) -> str:
    """
    :param change: It was checked.
    """
    if isinstance(change, Disconnect):
        values = {"disconnect": json.loads(change.to_bytes())}
    else:
        values = {"channel": change.channel}
        if isinstance(change, ItemChange):
            values["item"] = change.item
        values["data"] = change.data
        for name in _ITEM if isinstance(change, ItemChange) else _EVENT:
            if (value := getattr(change, name)) != getattr(_DEFAULTS, name):
                values[name] = value
    return json.dumps(values, separators=(",", ":"))


def from_text(text: str) -> Change:
    """
    :raises ValueError: If it can't be read: it was changed, or a newer version wrote it.
    """
    try:
        values = json.loads(text)
        if "disconnect" in values:
            return Disconnect.from_bytes(json.dumps(values["disconnect"]).encode())
        if "item" in values:
            return ItemChange(**values)
        return Event(**values)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"The row can't be read: {error}") from error
