"""The formats in which a run is sent to its readers.

The wire ``push`` is that of all streams: each event has an id, so that a browser resumes.
The others are *plain*: they are for clients of AI protocols, which know neither ids nor
types, and take all of the body but comments for events of the run. So a plain wire has
nothing but ``data:`` lines and comments, and its last words say how the run ended (laws R62
and R64). Tests run these clients, and compare which bytes they accept.
"""

from __future__ import annotations

import collections.abc as cabc
import json
import typing as t

from .. import sse
from .._event import base62
from .._event import escape
from .run_rows import PROGRESS
from .run_rows import STATUS
from .wire import to_json

#: Why a plain wire ends before its run, beside the ends of runs.
Why: t.TypeAlias = t.Literal["gap", "disconnected", "restarted"]

_DONE = b"data: [DONE]\n\n"


class Row(t.NamedTuple):
    """A row of a run, with its events."""

    epoch: str
    number: int
    channel: str
    type: str
    events: cabc.Sequence[bytes]


class Wire(t.Protocol):
    #: Whether it has nothing but the events of the run.
    is_plain: bool
    #: Whether its last words depend on the event before them.
    looks_back: bool
    #: Headers that its clients expect.
    headers: cabc.Mapping[str, str]

    def row(self, row: Row) -> bytes:
        """The events of a row."""

    def end(self, row: Row, status: str, text: str, last: bytes) -> bytes:
        """The last words of a run that has ended.

        :param row: That of the event which says so.
        :param text: What the app says to the user. It may be empty.
        :param last: The last event before it.
        """

    def broken(self, why: Why) -> bytes:
        """The last words of a stream that ends before its run."""


class PushWire:
    is_plain = looks_back = False
    headers: cabc.Mapping[str, str] = {}

    def row(self, row: Row) -> bytes:
        """Each event has an id. That of the last one says that the row is complete. Those
        of the others say how many of the row there were, and a position before the row."""
        name, type = escape(row.channel), sse.type_line(row.type)
        before = f"{row.epoch}-{base62(row.number - 1)}.{name}"
        ids = [f"{before}.{count}" for count in range(1, len(row.events))]
        ids.append(f"{row.epoch}-{base62(row.number)}.{name}")
        pairs = zip(ids, row.events, strict=True)
        return b"".join(sse.frame(f"id: {id}\n".encode() + type, e) for id, e in pairs)

    def end(self, row: Row, status: str, text: str, last: bytes) -> bytes:
        return status_frame(row)

    def broken(self, why: Why) -> bytes:
        return b""


def status_frame(row: Row) -> bytes:
    """``push:run``, which says a status of the run."""
    id = f"{row.epoch}-{base62(row.number)}.{escape(row.channel)}"
    head = f"id: {id}\nevent: {STATUS}\n".encode()
    return sse.frame(head, b"".join(row.events))


def progress_frame(events: cabc.Sequence[bytes]) -> bytes:
    """``push:progress``, which has no id, because only the newest is sent."""
    return sse.frame(f"event: {PROGRESS}\n".encode(), b"".join(events))


def skip(frame: bytes, count: int) -> bytes:
    """The events of a row behind so many."""
    for _ in range(count):
        _, _, frame = frame.partition(b"\n\n")
    return frame


class _PlainWire:
    is_plain, looks_back = True, False
    headers: cabc.Mapping[str, str] = {}

    def row(self, row: Row) -> bytes:
        return b"".join(sse.frame(b"", event) for event in row.events)

    def end(self, row: Row, status: str, text: str, last: bytes) -> bytes:
        return self._last(status, text or status)

    def broken(self, why: Why) -> bytes:
        return self._last(why, why)

    def _last(self, status: str, text: str) -> bytes:
        raise NotImplementedError


class AISDKWire(_PlainWire):
    """The UI message stream of the AI SDK, versions 6 and 7."""

    headers: cabc.Mapping[str, str] = {"x-vercel-ai-ui-message-stream": "v1"}

    def _last(self, status: str, text: str) -> bytes:
        if status == "done":
            return _DONE
        if status == "stopped":
            return _event({"type": "abort", "reason": "stopped"}) + _DONE
        return _event({"type": "error", "errorText": text}) + _DONE


class AGUIWire(_PlainWire):
    """The events of AG-UI, version 1. If the app has written ``RUN_ERROR``, the run ends
    there, because nothing may follow."""

    looks_back = True

    def end(self, row: Row, status: str, text: str, last: bytes) -> bytes:
        return b"" if _is_error(last) else super().end(row, status, text, last)

    def _last(self, status: str, text: str) -> bytes:
        if status == "done":
            return b""
        return _event({"type": "RUN_ERROR", "message": text, "code": status})


class OpenAIWire(_PlainWire):
    """The chunks of OpenAI's API, and of others that end with ``[DONE]``."""

    def _last(self, status: str, text: str) -> bytes:
        if status == "done":
            return _DONE
        error = {"message": text, "type": "server_error", "code": status}
        return _event({"error": error}) + _DONE


def _is_error(event: bytes) -> bool:
    try:
        said = json.loads(event)
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("type") == "RUN_ERROR"


def _event(data: dict[str, t.Any]) -> bytes:
    return sse.frame(b"", to_json(data).encode())


#: By the name that a view passes to :meth:`.Push.follow`.
WIRES: dict[str, Wire] = {
    "push": PushWire(),
    "ai-sdk": AISDKWire(),
    "ag-ui": AGUIWire(),
    "openai": OpenAIWire(),
}
