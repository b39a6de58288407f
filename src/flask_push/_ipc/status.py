"""How a command asks a hub for its status."""

from __future__ import annotations

import typing as t

from .files import HubFiles
from .messages import Messages
from .protocol import Status
from .protocol import StatusRequest

# The fields that every hub's status has. Before the first hello, the last two are missing.
_STATUS = {"pid": int, "version": str, "streams": int, "position": str}


def status_of(files: HubFiles) -> dict[str, t.Any]:
    """
    :raises OSError: If no hub answers there.
    """
    messages = Messages(files.connect())
    try:
        found = messages.ask(StatusRequest().to_json()).get(Status.key)
    except EOFError:
        raise ConnectionResetError("it closed the connection") from None
    finally:
        messages.close()
    if not isinstance(found, dict) or not all(
        isinstance({"streams": 0, "position": "", **found}.get(name), kind)
        for name, kind in _STATUS.items()
    ):
        raise ConnectionError("what answers there is not a hub of Flask-Push")
    return found
