"""Writes to streams of a hub in a thread, as the hub itself does.

A frame is written when the hub has reached the end of the store, and the stream has been
written all of it: so it comes after all that was published before.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import threading
import time
from contextvars import Context

from .._event import Position
from .._hub import thread
from .._hub.connection import Connection
from .._hub.loop import HubLoop
from .._hub.thread import ThreadDoor
from .._system.fork import all_of

#: Seconds for all of it. It takes milliseconds, unless a stream is stuck.
SECONDS = 5.0
# Seconds between two looks of the hub.
_PAUSE = 0.002

# Finds the streams of a hub; and sends a frame to one of them, which is not live then.
Find = cabc.Callable[[HubLoop], list[Connection]]
Send = cabc.Callable[[HubLoop, Connection], None]


def by_id(connection: str) -> Find:
    """The streams with this id: those of one page."""

    def find(hub: HubLoop) -> list[Connection]:
        return [each for each in _all(hub) if each.connection_id == connection]

    return find


def by_channel(channel: str) -> Find:
    """The streams that have this channel."""
    return lambda hub: [each for each in _all(hub) if channel in each.group.names]


def _all(hub: HubLoop) -> list[Connection]:
    return list(hub.hub._streams.connections.values())


def doors(find: Find) -> list[ThreadDoor]:
    """The doors to the hubs that have such streams now."""
    found = all_of(thread._threads)
    return [door for door in found if door._hub is not None and find(door._hub)]


def write(door: ThreadDoor, find: Find, send: Send, until: float) -> bool:
    """Send a frame to the streams that are found, and wait until the hub has.

    :return: Whether it has in time.
    """
    # The hub may still have to store that users have left.
    door.settle()
    hub = door._hub
    return hub is None or _Look(hub, find, send, until, _end(door, hub)).wait()


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


class _Look:
    """What the hub's thread looks at until it can write."""

    def __init__(
        self, hub: HubLoop, find: Find, send: Send, until: float, end: Position
    ) -> None:
        self._hub, self._find, self._send, self._until = hub, find, send, until
        self._end = end
        self._done = threading.Event()

    def wait(self) -> bool:
        with contextlib.suppress(RuntimeError):  # It may just have ended.
            self._hub.loop.call_soon_threadsafe(self._look, context=Context())
            return self._done.wait(max(0, self._until - time.monotonic()))
        return True

    def _look(self) -> None:
        if time.monotonic() >= self._until:
            return
        streams = self._find(self._hub)
        if all(map(self._has_all, streams)):
            for stream in streams:
                self._write(stream)
            self._done.set()
        else:
            self._hub.loop.call_later(_PAUSE, self._look)

    def _has_all(self, stream: Connection) -> bool:
        log, group = self._hub.hub._log, stream.group
        if stream.fd not in group.live or log.epoch != self._end.epoch:
            return False
        # A paced group may be behind.
        return group.place(log.end) >= self._end.number

    def _write(self, stream: Connection) -> None:
        """As the hub writes anything that is for one stream."""
        hub = self._hub.hub
        stream.leave_live(stream.group.place(hub._log.end))
        self._send(self._hub, stream)
        hub._streams.pump(stream)
