"""The text of a row: an event, a change of an item or a disconnect, as JSON in ASCII, for
which the encoding of the database does not matter."""

from __future__ import annotations

import json
from dataclasses import replace

from .._changes import Change
from .._delivery.disconnect import Disconnect
from .._event import Event
from .._event_checks import EventChecks
from .._event_checks import unset_change
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


def from_text(text: str, checks: EventChecks) -> Change:
    """
    :raises ValueError: If a newer version wrote it, or if it was changed by hand.
    """
    try:
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("it is no object")
        if "disconnect" in values:
            return Disconnect.from_bytes(json.dumps(values["disconnect"]).encode())
        names = _ITEM if "item" in values else _EVENT
        if unknown := values.keys() - {"channel", "item", "data", *names}:
            raise ValueError(f"it has {', '.join(sorted(unknown))}")
        if "item" in values and values["data"] is None:
            version = values.get("version")
            return unset_change(values["channel"], values["item"], version)
        if not isinstance(values["data"], str):
            raise ValueError("its data is no text")
        if values.get("item") == "":
            raise ValueError("its item has no name")
        # It is the public part already.
        exclude = values.pop("exclude", None)
        change = checks.check(Event(**values))
        if exclude is None or isinstance(change, ItemChange):
            return change
        if not isinstance(exclude, str):
            raise ValueError(f"its exclude is {exclude!r:.80}")
        return replace(change, exclude=exclude)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"The row can't be read: {error}") from error
