"""Whether a stream has nothing more, without a fixed wait.

A marker is written to this one stream, after all that was published before. The hub writes
it when it has reached the end of the store, and the stream has been written all of it. So
what the test reads before the marker is all there is.
"""

from __future__ import annotations

import contextlib
import threading
import time
import typing as t
from contextvars import Context

from .. import sse
from .._event import Event
from .._event import Position
from .._hub import thread
from .._hub.connection import Connection
from .._hub.loop import HubLoop
from .._hub.thread import ThreadDoor
from .._system.fork import all_of
from ._reader import new_marker
from ._reader import Reader
from ._reader import reader_of
from ._reader import StreamResponse

# Seconds for all of it. It takes milliseconds, unless the stream is stuck.
_SECONDS = 5.0
# Seconds between two looks of the hub.
_PAUSE = 0.002


def assert_silent(response: StreamResponse) -> None:
    """Assert that a stream has no event that you have not read.

    It needs no fixed wait: it looks at all events of the stream that were published before
    the call. Only with Redis, events with ``store=False`` may still be on their way. Events
    of Flask-Push's own count as in :func:`read_events`. All events can still be read. The
    end of a stream does not count as an event.

    :raises AssertionError: If there are such events. They are in its message.
    :raises TimeoutError: If the stream has not got so far in five seconds.
    :raises RuntimeError: If the hub is not in a thread of this process.
    :raises ValueError: If the response is no stream.
    """
    reader, until = reader_of(response), time.monotonic() + _SECONDS
    _read_all(reader, until)
    if events := reader.unread():
        raise AssertionError(
            f"The stream is not silent. {len(events)} of its events were not read: {events}"
        )


def _read_all(reader: Reader, until: float) -> None:
    connection = reader.connection(until)
    if not connection:
        return
    door = _door_of(connection)
    if door is None:
        if not reader.ends(until):
            raise RuntimeError(
                "assert_silent needs a hub in a thread of the test, as there is while"
                " app.testing is true."
            )
        return
    marker = new_marker()
    # The hub may still have to store that users have left.
    door.settle()
    if (hub := door._hub) is not None:
        _Look(hub, connection, marker, until, _end(door, hub)).wait()
    reader.read_ahead(marker.data, until)


def _door_of(connection: str) -> ThreadDoor | None:
    """The door to the hub that has the connection. ``None`` if it has ended."""
    for door in all_of(thread._threads):
        if (hub := door._hub) is not None and any(_streams(hub, connection)):
            return door
    return None


def _end(door: ThreadDoor, hub: HubLoop) -> Position:
    """The position of the store."""
    # The hub's own connections are for its thread.
    broker = door._broker()
    try:
        page = broker.read([], after=0)
    finally:
        if broker is not hub.broker:
            broker.close()
    return Position(page.epoch, page.end)


def _streams(hub: HubLoop, connection: str) -> list[Connection]:
    streams = list(hub.hub._streams.connections.values())
    return [stream for stream in streams if stream.connection_id == connection]


class _Look:
    """What the hub's thread looks at until it can write the marker."""

    def __init__(
        self, hub: HubLoop, connection: str, marker: Event, until: float, end: Position
    ) -> None:
        self._hub, self._connection, self._until = hub, connection, until
        self._marker = sse.encode(marker.data, type=marker.type)
        self._end = end
        self._done = threading.Event()

    def wait(self) -> None:
        with contextlib.suppress(RuntimeError):  # It may just have ended.
            self._hub.loop.call_soon_threadsafe(self._look, context=Context())
            self._done.wait(max(0, self._until - time.monotonic()))

    def _look(self) -> None:
        streams = _streams(self._hub, self._connection)
        if all(map(self._has_all, streams)):
            for stream in streams:
                self._write(stream)
            self._done.set()
        elif time.monotonic() < self._until:
            self._hub.loop.call_later(_PAUSE, self._look)

    def _has_all(self, stream: Connection) -> bool:
        log, group = self._hub.hub._log, stream.group
        if stream.fd not in group.live or log.epoch != self._end.epoch:
            return False
        # A paced group may be behind.
        return group.place(log.end) >= self._end.number

    def _write(self, stream: Connection) -> None:
        """As the hub writes anything that is for one stream."""
        hub: t.Any = self._hub.hub
        stream.leave_live(stream.group.place(hub._log.end))
        stream.send_first(self._marker)
        hub._streams.pump(stream)
