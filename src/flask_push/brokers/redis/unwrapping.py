"""What a program has published in Redis, as the data and the type of an event."""

from __future__ import annotations

import json
import typing as t

from ... import sse
from ..bridging import Bridge


def unwrap(published: bytes, bridge: Bridge) -> tuple[bytes, str]:
    """The data of the event and its type.

    :raises ValueError: If it can't be an event.
    """
    if not bridge.wire:
        return published, bridge.type
    if bridge.wire != "flask-sse":
        raise ValueError(
            f"This hub is of another version, which does not know the wire {bridge.wire!r}."
        )
    return _unwrap_flask_sse(published, bridge.type)


def _unwrap_flask_sse(published: bytes, type: str) -> tuple[bytes, str]:
    """Flask-SSE publishes ``{"data": …, "type": …, "id": …, "retry": …}``, of which it
    leaves out all but the data if they are empty. It sends data that is text as it is, and
    all other as JSON."""
    try:
        found = json.loads(published)
        data: t.Any = found["data"]
        type = found.get("type") or type
        # Python reads and writes NaN, and no browser could parse it.
        text = data if isinstance(data, str) else json.dumps(data, allow_nan=False)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        raise ValueError(f"Flask-SSE has not published it: {published[:80]!r}") from None
    if isinstance(type, str) and type.startswith("push:"):
        raise ValueError(f"Types that begin with 'push:' are reserved: {type[:80]!r}")
    sse.check_type(type)
    return text.encode(), type
