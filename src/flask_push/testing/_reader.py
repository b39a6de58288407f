"""Reading the streams of Flask's test client."""

from __future__ import annotations

import collections.abc as cabc
import queue
import threading
import time
import typing as t
import weakref

from .. import sse
from .._event import Event


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
    :param own: Whether ``push:open`` and ``push:gap`` count.
    :raises TimeoutError: If too few have come. They are in its message.
    :raises EOFError: If the stream has ended.
    """
    if response not in _readers:
        _readers[response] = _Reader(response.response)
    return _readers[response].read(count, time.monotonic() + timeout, own)


class _Reader:
    """A thread that waits, so that the test need not for ever."""

    def __init__(self, chunks: cabc.Iterable[bytes]) -> None:
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        args = (chunks, self._events)
        threading.Thread(target=_pump, args=args, daemon=True).start()

    def read(self, count: int, deadline: float, own: bool) -> list[Event]:
        found: list[Event] = []
        while len(found) < count:
            try:
                event = self._events.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(
                    f"{len(found)} of {count} events came in time: {found}"
                ) from None
            if event is None:
                self._events.put(None)
                raise EOFError(f"The stream ended after {len(found)} of {count}: {found}")
            if own or not event.type.startswith("push:"):
                found.append(event)
        return found


def _pump(chunks: cabc.Iterable[bytes], events: queue.SimpleQueue[Event | None]) -> None:
    parser = sse.Parser()
    try:
        for chunk in chunks:
            for event in parser.feed(chunk):
                events.put(event)
    finally:
        events.put(None)


_readers: weakref.WeakKeyDictionary[t.Any, _Reader] = weakref.WeakKeyDictionary()
