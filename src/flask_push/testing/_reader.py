"""Reading the streams of Flask's test client."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import queue
import secrets
import threading
import time
import typing as t
import weakref
from collections import deque

from .. import sse
from .._delivery import wire
from .._delivery.presence_wire import COUNTED
from .._delivery.presence_wire import JOINED
from .._delivery.presence_wire import LEFT
from .._event import Event
from .._event import UNSET
from .._system.unpatched import start_apart

_STREAM = "text/event-stream"

# The events of Flask-Push's own that tell what an app has done.
_COUNTED = frozenset({UNSET, JOINED, LEFT, COUNTED})

_MARKS = "silence-"
_MARKER = wire.probe("", _MARKS)


class StreamResponse(t.Protocol):
    """What is needed of a response: Flask's and Werkzeug's test clients give such."""

    @property
    def response(self) -> t.Any: ...


def read_events(
    response: StreamResponse, count: int, *, timeout: float = 5, own: bool = False
) -> list[Event]:
    """The next events of a stream, in order. Called again, it goes on where it was.

    Open the response without ``buffered=True``, and close it at the end, best by
    ``with client.get("/stream") as response:``.

    :param timeout: Seconds for all of them together.
    :param own: Whether events of Flask-Push's own count, such as ``push:open``. An item
        that is unset, ``push:unset``, always counts, and so do ``push:joined``,
        ``push:left`` and ``push:count``.
    :raises TimeoutError: If too few have come. They are in its message.
    :raises EOFError: If the stream has ended.
    :raises ValueError: If the response is no stream.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise ValueError(f"count is a number of events, not {count!r}.")
    return reader_of(response).read(count, time.monotonic() + timeout, own)


def read_to_end(
    response: StreamResponse, *, timeout: float = 5, own: bool = False
) -> list[Event]:
    """All events that are left of a stream, until it ends: because it was disconnected, its
    run is over, or it has reached its lifetime. As :func:`read_events`.

    :raises TimeoutError: If the stream does not end in time. The events are in its message.
    :raises ValueError: If the response is no stream.
    """
    return reader_of(response).read_to_end(time.monotonic() + timeout, own)


def reader_of(response: StreamResponse) -> Reader:
    # Not by the response itself: some classes compare responses, and then have no hash.
    key = id(response)
    if key not in _readers:
        _check(response)
        _readers[key] = Reader(response.response)
        weakref.finalize(response, _readers.pop, key).atexit = False
    return _readers[key]


def _check(response: StreamResponse) -> None:
    if not hasattr(response, "response"):
        raise TypeError(f"This takes the response of a test client, not {response!r:.80}.")
    kind = getattr(response, "mimetype", _STREAM)
    if kind != _STREAM:
        status = getattr(response, "status", "")
        raise ValueError(f"The response, {status} with {kind}, is no stream.")


class Reader:
    """A thread that waits, so that the test need not for ever."""

    def __init__(self, chunks: cabc.Iterable[bytes]) -> None:
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        # Those that came before others were looked for.
        self._ahead: deque[Event] = deque()
        self._connection = ""
        args = (chunks, self._events)
        start_apart(threading.Thread(target=_pump, args=args, daemon=True))

    def read(self, count: int, deadline: float, own: bool) -> list[Event]:
        found: list[Event] = []
        while len(found) < count:
            try:
                event = self._next(deadline)
            except queue.Empty:
                raise TimeoutError(
                    f"{len(found)} of {count} events came in time: {found}"
                ) from None
            if event is None:
                raise EOFError(f"The stream ended after {len(found)} of {count}: {found}")
            if own or _counts(event):
                found.append(event)
        return found

    def read_to_end(self, deadline: float, own: bool) -> list[Event]:
        found: list[Event] = []
        try:
            while (event := self._next(deadline)) is not None:
                if own or _counts(event):
                    found.append(event)
        except queue.Empty:
            raise TimeoutError(
                "The stream has not ended in time. Before you read to its end, end it: with"
                " push.disconnect, or at the end of its run. Until now, it had"
                f" {len(found)} events: {found}"
            ) from None
        return found

    def connection(self, deadline: float) -> str:
        """The id of the connection, from ``push:open``. Empty if the stream has ended.

        :raises TimeoutError: If the stream has not begun in time.
        """
        with _in_time("The stream has not begun with push:open in time."):
            while not self._connection:
                event = self._take(deadline)
                if event is None:
                    break
                self._ahead.append(event)
        return self._connection

    def read_ahead(self, marker: str | None, deadline: float) -> None:
        """Get all events before the marker with this data, or all of the stream, for later.

        :raises TimeoutError: If it has not come in time.
        """
        with _in_time("The stream has not got so far in time. Is it written to slowly?"):
            while (event := self._take(deadline)) is not None:
                if not _marks(event):
                    self._ahead.append(event)
                elif event.data == marker:
                    break

    def ends(self, deadline: float) -> bool:
        """Get all events until the stream ends, for later. Returns whether it does."""
        with contextlib.suppress(TimeoutError):
            self.read_ahead(None, deadline)
            return True
        return False

    def unread(self) -> list[Event]:
        """Those that :meth:`read_ahead` got and that tell what the app has done."""
        return [event for event in self._ahead if _counts(event)]

    def _next(self, deadline: float) -> Event | None:
        """The next event; ``None`` from the end of the stream on.

        :raises queue.Empty: If none comes in time.
        """
        if self._ahead:
            return self._ahead.popleft()
        event = self._take(deadline)
        while event is not None and _marks(event):
            event = self._take(deadline)
        return event

    def _take(self, deadline: float) -> Event | None:
        event = self._events.get(timeout=max(0, deadline - time.monotonic()))
        if event is None:
            self._events.put(None)
        elif event.type == "push:open":
            self._connection = json.loads(event.data)["connection"]
        return event


@contextlib.contextmanager
def _in_time(text: str) -> cabc.Iterator[None]:
    try:
        yield
    except queue.Empty:
        raise TimeoutError(text) from None


def new_marker() -> Event:
    """An event that only marks a place in a stream, and that no test reads."""
    return wire.probe("", _MARKS + secrets.token_hex(8))


def _marks(event: Event) -> bool:
    return event.type == _MARKER.type and event.data.startswith(_MARKER.data[:-2])


def _counts(event: Event) -> bool:
    """Whether it tells what the app has done."""
    return event.type in _COUNTED or not event.type.startswith("push:")


def _pump(chunks: cabc.Iterable[bytes], events: queue.SimpleQueue[Event | None]) -> None:
    parser = sse.Parser()
    try:
        for chunk in chunks:
            for event in parser.feed(chunk):
                events.put(event)
    finally:
        events.put(None)


# By the id of a response, for as long as it is there.
_readers: dict[int, Reader] = {}
