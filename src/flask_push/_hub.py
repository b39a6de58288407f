"""All streams of a process, on one loop.

The hub does what the :class:`Log` says. A feed hands it events in turns; what a turn
brings is written to all live connections in one tight loop over descriptors, the same
bytes to each. Everything else a connection needs (to begin, to be replayed to, to go on
after its socket was full) is one function, :meth:`Hub._pump`, that writes what
:meth:`Log.read` gives until the connection is live or has to wait.

Descriptors are in a poller of our own, which is one reader of the asyncio loop: the hot
path stays out of asyncio, and everything else is ordinary asyncio. All of it runs on
the loop's thread. Nothing here knows Flask, or a broker by name, or whether the loop is
in a thread of an app or in a process of its own.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import logging
import os
import random
from dataclasses import replace
from functools import partial

from . import _wire
from . import sse
from ._channel import ChannelSet
from ._connection import Connection
from ._connection import Poller
from ._event import Entry
from ._event import Page
from ._event import Position
from ._limits import Limits
from ._log import Log
from ._stream import Options
from ._stream import Stream
from .brokers import Broker

logger = logging.getLogger("flask_push")

# Bytes that are read from the log, and written to one connection before others' turn.
_PIECE = 64 * 1024
_TURN = 512 * 1024
# Seconds to wait for a store that does not say what is missing.
_PATIENCE = 0.05


class Hub:
    def __init__(
        self, broker: Broker, options: Options, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.options = options
        self._loop = loop
        self._limits = Limits(options)
        self._log = Log(
            encode=self._limits.encode, wait=self._wait, max_bytes=options.log_bytes
        )
        self._connections: dict[int, Connection] = {}
        # Connections that can't begin before the feed has taken up their channels.
        self._joining: dict[ChannelSet, list[Connection]] = {}
        # Connections that can't go on before the next turn.
        self._waiting: list[Connection] = []
        self._filling = False
        self._poller = Poller()
        loop.add_reader(self._poller, self._ready)
        self._pause = min(1, options.heartbeat / 4)
        self._timer = loop.call_later(self._pause, self._tick)
        self._feed = broker.feed(self, loop)

    def __repr__(self) -> str:
        live = sum(len(set.live) for set in self._log.sets.values())
        channels = len({name for set in self._log.sets.values() for name in set.names})
        count = len(self._connections)
        return f"<Hub [{channels} channels, {count} connections, {count - live} behind]>"

    # What workers ask for.

    def adopt(self, stream: Stream, fd: int, drain: int | None = None) -> None:
        """Take over a client's socket, and everything that becomes of it.

        :param drain: Where its server writes what the client is not to see. Read and
            thrown away until the server closes it.
        """
        now = self._loop.time()
        lifetime = stream.lifetime * random.uniform(0.9, 1.1) or float("inf")
        connection = Connection(fd, stream, now, now + lifetime)
        try:
            if drain is not None:
                self._poller.add_drain(drain)
            connection.prepare()
            first = stream.head + _wire.first_bytes(self.options.jittered_retry())
            admitted = self._limits.admit(len(self._connections), now)
            if connection.write(first) < len(first) or not admitted:
                # It comes back later: any status but 200 would be final.
                connection.close()
                return
            # Of many idle streams, it would be half of the memory.
            connection.stream = replace(stream, head=b"")
            self._poller.add(fd)
        except OSError:
            connection.close()
            return
        self._connections[fd] = connection
        new = self._log.join(connection, stream.channels)
        if new:
            self._feed.watch(new)
        if connection.set.missing:
            self._joining.setdefault(connection.set, []).append(connection)
        else:
            self._start(connection)

    def stop(self) -> None:
        """End all streams. Each browser is told when to come back, if no half frame
        stands in the way."""
        self._timer.cancel()
        for connection in list(self._connections.values()):
            self._end(connection)
        # Last, since a store in trouble may keep it waiting.
        self._feed.close()
        self._loop.remove_reader(self._poller)
        self._poller.close()

    def descriptors(self) -> list[int]:
        """Everything that a forked child has to close, not to keep it open."""
        return [*self._poller.descriptors(), *self._connections]

    # What the feed says.

    def deliver(self, epoch: str, entries: cabc.Sequence[Entry], end: int | None) -> None:
        start = self._log.end
        self._flush(self._log.turn(epoch, entries, end), start)
        if self._log.hole and not self._filling:
            self._fill()
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            if connection.fd < 0:
                continue
            if connection.begun:
                self._pump(connection)
            else:
                self._start(connection)

    def watched(self, channels: cabc.Sequence[str]) -> None:
        for set in self._log.hold(channels):
            for connection in self._joining.pop(set, ()):
                self._start(connection)

    def _fill(self) -> None:
        self._filling = True
        self._feed.read(self._log.holds(), self._filled, after=self._log.end)

    def _filled(self, page: Page) -> None:
        start = self._log.end
        self._flush(self._log.fill(page), start)
        self._filling = bool(self._log.hole)
        if not self._filling:
            return
        if self._log.end > start:
            self._fill()
        else:
            self._loop.call_later(_PATIENCE, self._fill)

    def _flush(self, touched: cabc.Iterable[ChannelSet], start: int) -> None:
        """Send what the turn brought, from `start` on."""
        now = self._loop.time()
        for set in touched:
            pieces, set.turn = set.turn, []
            apart, set.gaps = set.gaps, False
            if apart:
                for connection in list(set.live.values()):
                    self._fall_behind(connection, start)
                    self._pump(connection)
                continue
            frames = [
                (number, frame) for number, frame in pieces if isinstance(frame, bytes)
            ]
            chunk = b"".join([frame for _, frame in frames])
            for connection, written in _write_all(set.live, chunk):
                if written < 0:
                    self._drop(connection)
                else:
                    self._fall_behind(connection, start)
                    connection.advance(frames, written)
                    self._block(connection)
            set.told, set.stamp = frames[-1][0], now

    # What a connection needs.

    def _start(self, connection: Connection) -> None:
        """Find out where the connection begins, all its channels being held."""
        stream = connection.stream
        names = connection.set.names
        if stream.position:
            position = Position.parse(stream.position)
            if position.epoch:
                answer = partial(self._begin, connection, position)
                self._feed.read(names, answer, after=position.number)
                return
            self._log.begin(connection, stream.connection, position)
        elif stream.last:
            self._feed.read(names, partial(self._begin, connection, None), last=stream.last)
            return
        else:
            self._log.begin(connection, stream.connection)
        connection.begun = True
        self._pump(connection)

    def _begin(self, connection: Connection, position: Position | None, page: Page) -> None:
        if connection.fd < 0:
            return
        position = position or Position(page.epoch, page.after)
        name = connection.stream.connection
        if self._log.begin(connection, name, position, page):
            connection.begun = True
            self._pump(connection, page)
        else:
            self._waiting.append(connection)

    def _pump(self, connection: Connection, page: Page | None = None) -> None:
        """Write to the connection until it is live, or has to wait: for its socket, for
        a page, or for the next turn."""
        try:
            self._pump_out(connection, page)
        except OSError:
            self._drop(connection)
        except Exception:
            logger.exception("A stream failed, and will be resumed: %r", connection)
            self._drop(connection)

    def _pump_out(self, connection: Connection, page: Page | None) -> None:
        budget = _TURN
        while True:
            frames = self._log.read(connection, _PIECE, page)
            if frames is None:
                break
            if not frames:
                self._come_live(connection)
                return
            data = b"".join([frame for _, frame in frames])
            written = connection.write(data)
            connection.since = self._loop.time()
            connection.advance(frames, written)
            budget -= written
            if written < len(data) or budget < 0:
                self._block(connection)
                return
        self._unblock(connection)
        in_vain = page is not None and connection.cursor == page.after
        if in_vain or connection.cursor > self._log.end:
            self._waiting.append(connection)
        else:
            answer = partial(self._go_on, connection)
            self._feed.read(connection.set.names, answer, after=connection.cursor)

    def _go_on(self, connection: Connection, page: Page) -> None:
        if connection.fd >= 0:
            self._pump(connection, page)

    def _come_live(self, connection: Connection) -> None:
        self._unblock(connection)
        if connection.stream.poll:
            self._end(connection)
        else:
            connection.set.admit(connection.fd, connection)

    def _fall_behind(self, connection: Connection, cursor: int) -> None:
        del connection.set.live[connection.fd]
        connection.cursor = cursor

    def _block(self, connection: Connection) -> None:
        if not connection.blocked:
            connection.blocked = True
            self._poller.want_to_write(connection.fd, True)

    def _unblock(self, connection: Connection) -> None:
        if connection.blocked:
            connection.blocked = False
            self._poller.want_to_write(connection.fd, False)

    def _drop(self, connection: Connection) -> None:
        """The browser has left, or has to."""
        del self._connections[connection.fd]
        self._poller.remove(connection.fd)
        connection.set.live.pop(connection.fd, None)
        connection.close()
        joining = self._joining.get(connection.set)
        if joining and connection in joining:
            joining.remove(connection)
            if not joining:
                del self._joining[connection.set]
        unread = self._log.leave(connection)
        if unread:
            self._feed.unwatch(unread)

    def _end(self, connection: Connection) -> None:
        """End the stream from our side."""
        if not connection.rest:
            try:
                connection.write(_wire.last_word(self.options.jittered_retry()))
            except OSError:
                pass
        self._drop(connection)

    # What happens by itself.

    def _ready(self) -> None:
        for fd, heard, gone, writable in self._poller.poll():
            connection = self._connections.get(fd)
            if connection is None:
                continue
            if gone or heard and not connection.listen():
                self._drop(connection)
            elif writable:
                self._pump(connection)

    def _tick(self) -> None:
        """One timer for all: heartbeats, lifetimes, and ids that grow old."""
        self._timer = self._loop.call_later(self._pause, self._tick)
        now = self._loop.time()
        silent = now - self.options.heartbeat
        for connection in list(self._connections.values()):
            if connection.ends <= now:
                self._end(connection)
            elif connection.since <= silent and not connection.blocked:
                if connection.fd not in connection.set.live:
                    self._beat(connection)
                elif connection.set.stamp <= silent:
                    self._beat(connection)
        for sub in self._log.aged(self._feed.retention // 4):
            assert isinstance(sub, Connection)
            del sub.set.live[sub.fd]
            self._log.reopen(sub, sub.stream.connection)
            self._pump(sub)

    def _beat(self, connection: Connection) -> None:
        connection.since = self._loop.time()
        try:
            written = connection.write(sse.HEARTBEAT)
        except OSError:
            self._drop(connection)
            return
        if 0 < written < len(sse.HEARTBEAT):
            if connection.set.live.pop(connection.fd, None):
                connection.cursor = self._log.end
            connection.rest = sse.HEARTBEAT[written:]
            self._block(connection)

    def _wait(self) -> float:
        """Seconds before a reader refetches: a thousand streams in each second."""
        return random.uniform(0, len(self._connections) / 1000)


def _write_all(live: dict[int, Connection], chunk: bytes) -> list[tuple[Connection, int]]:
    """The hot path. Says who took less than all of it; nothing at all, -1, if gone."""
    size = len(chunk)
    write = os.write
    less = []
    for fd, connection in live.items():
        try:
            if (written := write(fd, chunk)) != size:
                less.append((connection, written))
        except BlockingIOError:
            less.append((connection, 0))
        except OSError:
            less.append((connection, -1))
    return less
