"""The ``text/event-stream`` format: an encoder and an incremental parser.

Useful alone; nothing here does I/O or knows the rest of Flask-Push.

Both follow the WHATWG specification (HTML, section 9.2, *Server-sent events*). The
encoder is stricter, because the format's many parsers differ:

- lines end with LF only; data is split at CR LF, CR and LF and nowhere else;
- a blank line follows data only, because some parsers make an empty event of any other, so
  comments and ``retry`` are single lines;
- ids have only characters, and a length, that every client sends back unchanged;
- ``type`` and ``id`` cannot have a line break, so they cannot add a field.
"""

from __future__ import annotations

import re
import typing as t
import warnings
from functools import lru_cache

from ._event import channel_of
from ._event import Event
from ._event import item_of
from ._event import MAX_TYPE

__all__ = ["encode", "HEARTBEAT", "ParseError", "Parser"]

#: A comment, so that proxies do not close an idle connection. One newline: a blank line
#: would be an empty event to some parsers.
HEARTBEAT = b":\n"

# Ids that clients send back unchanged when they reconnect: no CORS preflight, no double
# encoding (Safari), no invalid header (Node).
_ID = re.compile(r"[0-9A-Za-z._~-]{1,192}\Z")
_BREAKS_FIELD = re.compile(r"[\r\n\0]")
_LINE_END = re.compile(rb"\r\n|\n|\r")
# sse.js, a common polyfill, fires these itself.
_AMBIGUOUS = frozenset({"abort", "load", "readystatechange"})


def encode(
    data: str | None = None,
    *,
    type: str = "message",
    id: str | None = None,
    retry: int | None = None,
) -> bytes:
    """One event as bytes, or the line ``retry`` alone if there is no data.

    :param data: The text. An empty string is an event, ``None`` is none.
    :param type: The event's type; ``message`` is the default and not written.
    :param id: A client sends it as ``Last-Event-ID`` when it reconnects.
    :param retry: Milliseconds after which a client reconnects.
    :raises ValueError: For anything that would break the stream or a client.
    """
    if data is None:
        if id is not None or type != "message":
            raise ValueError(
                "An event without data reaches no browser, and some clients take its"
                ' type or id for an empty event. Pass data="", or retry alone.'
            )
        return b"" if retry is None else _retry_line(retry)
    if not isinstance(data, str):
        raise TypeError(f"Data is text, not {data!r:.80}. Decode it, or make JSON of it.")
    try:
        body = data.encode()
    except UnicodeEncodeError:
        raise ValueError("The data holds a lone surrogate, which is not text.") from None
    head = b"" if id is None else b"id: %b\n" % check_id(id).encode()
    if retry is not None:
        head += _retry_line(retry)
    return frame(head + type_line(type), body)


def sent_size(data: bytes) -> int:
    """How many bytes the data takes in a frame: a line break takes seven."""
    breaks = data.count(b"\n") + data.count(b"\r")
    # A line break of two bytes counts once.
    return len(data) + (6 * breaks - 7 * data.count(b"\r\n") if breaks else 0)


def frame(head: bytes, data: bytes) -> bytes:
    """An event from its other lines, already encoded, and its data."""
    return b"%bdata: %b\n\n" % (head, data_lines(data))


def data_lines(data: bytes) -> bytes:
    """The data with a ``data:`` before each line but the first."""
    # LF and CR as numbers: with bytes, this takes three times as long.
    if 10 in data or 13 in data:
        return _LINE_END.sub(b"\ndata: ", data)
    return data


@lru_cache(1024)
def type_line(type: str) -> bytes:
    """The line that names an event's type, empty for ``message``.

    :raises ValueError: If no client could listen for the type.
    """
    check_type(type)
    return b"" if type == "message" else b"event: %b\n" % type.encode()


def check_type(type: str) -> None:
    """:raises ValueError: If no client could listen for the type, or it is too long."""
    if not isinstance(type, str) or not type:
        raise ValueError(f"An event's type is a non-empty string, not {type!r:.80}.")
    if _BREAKS_FIELD.search(type):
        raise ValueError(f"The type {type[:80]!r} holds a line break or NUL.")
    if type in ("open", "error"):
        raise ValueError(
            f"Every browser fires {type!r} itself when a connection opens or breaks;"
            " an event of that type would call onopen or onerror. Use another name."
        )
    try:
        size = len(type.encode())
    except UnicodeEncodeError:
        raise ValueError(f"The type {type[:80]!r} holds a lone surrogate.") from None
    if size > MAX_TYPE:
        raise ValueError(
            f"The type {type[:80]!r} has {size:,} bytes, {MAX_TYPE} at most. Use a short"
            " name, and put what differs from event to event into the data."
        )
    if type in _AMBIGUOUS:
        warnings.warn(
            f"Some EventSource polyfills fire {type!r} themselves; another type"
            " spares their users a surprise.",
            stacklevel=3,
        )


def check_id(id: str) -> str:
    """:raises ValueError: If a client might not send the id back unchanged."""
    if not isinstance(id, str) or _ID.match(id) is None:
        raise ValueError(
            f"The id {id!r} has to be 1 to 192 of the characters 0-9 A-Z a-z . _ ~ -,"
            " which every client sends back unchanged."
        )
    return id


def _retry_line(retry: int) -> bytes:
    if isinstance(retry, bool) or not isinstance(retry, int) or retry < 500:
        raise ValueError(
            f"retry is a whole number of milliseconds, 500 or more, not {retry!r}:"
            " with less, some browsers reconnect without pause."
        )
    return b"retry: %d\n" % retry


#: Bytes that an id or a type may have: few servers take a request with longer headers.
_MAX_NAME = 8192


class ParseError(ValueError):
    """The stream holds an event larger than the parser's ``max_size``, or an id or a type
    of more than 8,192 bytes.

    Close the connection: the parser cannot find the end of this event.
    """


class Parser:
    """Makes events of a stream's bytes, however they are split.

    It is for one connection. Call :meth:`reset` before the next one, and send
    :attr:`last_event_id` as ``Last-Event-ID``.

    :param max_size: Bytes that an unfinished event may have before
        :exc:`ParseError` is raised. While the event is made of them, the parser needs
        about six times as much memory.
    """

    def __init__(self, *, max_size: int = 16 * 2**20) -> None:
        self.max_size = max_size
        #: A client sends it when it reconnects. It changes with a block's last line.
        self.last_event_id = ""
        #: Milliseconds to wait before reconnecting, if the server has sent ``retry``.
        self.retry: int | None = None
        self.reset()

    def reset(self) -> None:
        """Drop an event that is not complete, as at the end of a connection."""
        self._line = bytearray()
        self._started = self._skip_lf = False
        self._error = ""
        self._id = self.last_event_id
        self._has_id = False
        self._type = ""
        # Each line of data with an LF behind it. As bytes: a list of short strings takes
        # fifty times as much memory as they have characters.
        self._data = bytearray()

    def feed(self, chunk: bytes) -> list[Event]:
        """Take bytes, and return the events that are complete now.

        :raises ParseError: If an event, an id or a type is too large, and from then on.
            Events that were complete before it are returned first.
        """
        events: list[Event] = []
        try:
            self._feed(chunk, events)
        except ParseError:
            if not events:
                raise
        return events

    def _feed(self, chunk: bytes, events: list[Event]) -> None:
        start = 1 if self._skip_lf and chunk[:1] == b"\n" else 0
        self._skip_lf = chunk.endswith(b"\r") or (self._skip_lf and not chunk)
        for end in _LINE_END.finditer(chunk, start):
            line = chunk[start : end.start()]
            start = end.end()
            if self._line or len(line) + len(self._data) > self.max_size or self._error:
                self._grow(line)
                line = bytes(self._line)
                self._line.clear()
            if not self._started:
                self._started = True
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line:
                self._take_field(line)
            else:
                self._dispatch(events)
        self._grow(chunk[start:])

    def _grow(self, data: bytes) -> None:
        if self._error:
            raise ParseError(self._error)
        if len(self._data) + len(self._line) + len(data) > self.max_size:
            self._fail(f"An event is larger than {self.max_size} bytes.")
        self._line += data

    def _fail(self, why: str) -> t.NoReturn:
        self._error = why
        self._line.clear()
        self._data.clear()
        raise ParseError(why)

    def _take_field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data += value
            self._data += b"\n"
        elif name == b"event":
            self._type = self._read_name(value, "type")
        elif name == b"id" and b"\0" not in value:
            self._id = self._read_name(value, "id")
            self._has_id = True
        elif name == b"retry" and value.isdigit() and len(value) < 16:
            self.retry = int(value)

    def _read_name(self, value: bytes, what: str) -> str:
        if len(value) > _MAX_NAME:
            self._fail(f"An event's {what} has more than {_MAX_NAME:,} bytes.")
        return value.decode(errors="replace")

    def _dispatch(self, events: list[Event]) -> None:
        self.last_event_id = self._id
        if self._data:
            # No line ends within a character, so all lines can be decoded at once.
            del self._data[-1]
            data = self._data.decode(errors="replace")
            type = self._type or "message"
            # Without a line `id`, an event keeps the id before it, but not the channel.
            id = self._id if self._has_id else ""
            item = item_of(id) if id.count(".") > 1 else ""
            events.append(Event(channel_of(id), data, type, id=self._id, item=item))
            self._data.clear()
        self._type = ""
        self._has_id = False
