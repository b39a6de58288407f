"""What the events of a stream tell the doctor. Another program may have sent them, so each
value is checked."""

from __future__ import annotations

import contextlib
import json
import typing as t

from .._event import escape
from .._event import Event
from .browser import BrowserRequest

# PUSH_MAX_CHANNELS can't be more.
_MAX_CHANNELS = 10_000


def is_open(request: BrowserRequest) -> bool:
    return bool(request.of_type("push:open"))


def has_probe(request: BrowserRequest, word: str) -> bool:
    return any(
        fields_of(event).get("probe") == word for event in request.of_type("push:doctor")
    )


def fields_of(event: Event) -> dict[str, t.Any]:
    """The fields of an event's JSON; none, if it is not a JSON object."""
    with contextlib.suppress(ValueError, RecursionError):
        data = json.loads(event.data)
        if isinstance(data, dict):
            return data
    return {}


def channels_of(request: BrowserRequest) -> list[str]:
    """The channels that ``push:open`` names; none, if Flask-Push can't have sent it."""
    (opening, *_) = request.of_type("push:open")
    channels = fields_of(opening).get("channels")
    if not isinstance(channels, list) or len(channels) > _MAX_CHANNELS:
        return []
    try:
        for channel in channels:
            escape(channel)
    except ValueError:
        return []
    return channels


def position_in(id: str) -> str:
    """The position in an event's id, without its channel."""
    return id.partition(".")[0]


def positions_of(request: BrowserRequest) -> set[str]:
    return {position_in(event.id) for event in request.events}
