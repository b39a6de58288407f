"""What a hub does when time passes, and nothing else happens."""

from __future__ import annotations

import asyncio

from .._delivery import wire
from .._delivery.readers import Readers
from .._delivery.stream import MAX_ITEMS_SECONDS
from .connection import Connection
from .disconnects import Disconnects
from .feeding import Feeding
from .pacing import Pacing
from .streams import Streams


class Timer:
    """One timer for all streams: heartbeats, lifetimes, and ids that have become old."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        streams: Streams,
        readers: Readers,
        feed: Feeding,
        disconnects: Disconnects,
        pacing: Pacing,
    ) -> None:
        self._loop = loop
        self._streams = streams
        self._readers = readers
        self._feed = feed
        self._disconnects = disconnects
        self._pacing = pacing
        self._guard = streams.failstop.guard
        self._alone = streams.failstop.alone
        self._begin()

    def cancel(self) -> None:
        self._timer.cancel()
        self._pacing.cancel()

    def _begin(self) -> None:
        pause = min(1, self._streams.limits.options.heartbeat / 4)
        self._timer = self._loop.call_later(pause, self._guard, self.tick)

    def tick(self) -> None:
        self._begin()
        self._streams.poller.look_after_drains()
        self._disconnects.tick()
        now = self._loop.time()
        silent = now - self._streams.limits.options.heartbeat
        for connection in list(self._streams.connections.values()):
            ends = connection.ends
            if connection.items is not None and not connection.stream.expires:
                # The page might never have all items (law 34).
                ends += MAX_ITEMS_SECONDS
            if ends <= now:
                self._alone(connection, self._end)
            elif connection.since <= silent and not connection.blocked:
                if connection.fd not in connection.group.live:
                    self._alone(connection, self._beat)
                elif connection.group.stamp <= silent:
                    self._alone(connection, self._beat)
        for sub in self._readers.aged(self._feed.retention // 4):
            assert isinstance(sub, Connection)
            sub.leave_live(self._readers.log.end)
            self._readers.reopen(sub, sub.connection_id)
            self._streams.pump(sub)

    def _end(self, connection: Connection) -> None:
        own = wire.expired() if connection.has_expired else b""
        self._streams.end(connection, own=own, why="lifetime")

    def _beat(self, connection: Connection) -> None:
        connection.since = self._loop.time()
        seconds, visible = self._streams.limits.options.heartbeat, connection.stream.visible
        beat = connection.group.code(wire.heartbeat(seconds, visible))
        written = connection.write(beat)
        if 0 < written < len(beat):
            connection.leave_live(connection.group.place(self._readers.log.end))
            connection.rest = memoryview(beat)[written:]
            self._streams.block(connection)
