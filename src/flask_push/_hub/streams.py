"""The streams of a hub, each from its first byte to its last.

A connection begins, replays, and continues after its socket was full, all by one function:
:meth:`Streams.pump` writes what :meth:`Readers.read` returns, until the connection is live
or has to wait.

The descriptors are in a poller of their own, which is one reader of the asyncio loop. So
the hot path does not go through asyncio, and everything else is ordinary asyncio.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import math
import random
import time
from functools import partial

from .._delivery import wire
from .._delivery.all_items import LivingPieces
from .._delivery.channel import join
from .._delivery.followed import RunPieces
from .._delivery.following import OVER
from .._delivery.options import Options
from .._delivery.readers import Readers
from .._delivery.stream import Stream
from .._event import Page
from .._system.logs import QuietLogger
from .._system.polling import GONE
from .._system.polling import LEFT
from .._system.polling import READABLE
from .._system.polling import WRITABLE
from .connection import Connection
from .disconnects import Disconnects
from .ending import StreamEnds
from .failstop import FailStop
from .feeding import Feeding
from .item_reads import ItemReads
from .partial_frames import PartialFrames
from .run_reads import RunReads
from .starts import Starts

# Bytes that are read from the log at once, and that are written to one connection before
# it is the turn of others.
_READ_BYTES = 64 * 1024
_PUMP_BYTES = 512 * 1024
# Bytes of the frames that slow readers are in. PUSH_LOG_BYTES can only raise it.
_MAX_PARTIAL_BYTES = 16 * 2**20


class Streams(StreamEnds):
    """:param begin_again: Is called when all streams have failed. See :class:`FailStop`."""

    def __init__(
        self,
        options: Options,
        loop: asyncio.AbstractEventLoop,
        begin_again: cabc.Callable[[float], None],
    ) -> None:
        super().__init__(options)
        self.failstop = FailStop(loop, self, begin_again)
        self._loop = loop
        self._alone = self.failstop.alone
        self._quiet = QuietLogger()
        self.poller.start(loop, self.failstop.guard, self._ready)

    def begin(self, readers: Readers, feed: Feeding, disconnects: Disconnects) -> None:
        """Use this log and this feed. There is no connection yet."""
        self._log = readers.log
        self._readers = readers
        self._feed = feed
        self.starts = Starts(readers, feed, self.failstop, self, disconnects)
        self.item_reads = ItemReads(self._loop, readers, feed, self.failstop, self)
        self.run_reads = RunReads(self._loop, readers, feed, self.failstop, self)
        # Connections that cannot continue before the log's end has moved.
        self._waiting: dict[Connection, None] = {}
        self._partial_frames = PartialFrames()
        self.doubtful = ()
        # True while one stream changes something that all streams share.
        self._torn = False

    def admit(self, connection: Connection, drain: int | None, kind: str = "") -> None:
        """Begin with a connection, or refuse it, so that its browser reconnects later.

        :param drain: See :meth:`Hub.adopt`.
        :param kind: The same.
        """
        if drain is not None:
            self.poller.add_drain(drain)
        stream, now = connection.stream, self._loop.time()
        connection.ends = now + _seconds_of(stream)
        connection.prepare()
        # A connection that left while a page is read for it counts until the page is there.
        streams = max(len(self.connections), self._feed.asked)
        polled = streams + self.poller.drains
        admitted = self.limits.admit(stream, streams, now, connection.fd, polled)
        retry = self.limits.options.jittered_retry(0 if admitted else streams)
        if not admitted:
            # Its browser reconnects later.
            connection.keep_whole()
            connection.write(stream.refusal(retry))
            connection.close()
            # The process may have no descriptors left.
            self.poller.look_after_drains()
            return
        self.poller.add(connection.fd)
        self._torn = True
        self.connections[connection.fd] = connection
        kind = kind or ("resumed" if stream.position else "new")
        self.counts.add(f"streams_opened:{kind}")
        new = self._readers.join(connection, *stream.group)
        # Most connections begin at once. Then one write has all.
        connection.rest = stream.first_bytes(retry)
        self.limits.enter(stream)
        self._torn = False
        if new:
            self._feed.watch(new)
        if stream.expires and connection.ends <= now:
            # On its way here, its address has expired.
            self.end(connection, own=wire.expired(), why="lifetime")
            return
        self.starts.start_if_whole(connection)
        if not connection.begun and connection.fd >= 0:
            self._send_rest(connection)

    def continue_waiting(self) -> None:
        """Continue with the connections that waited for the log's end to move."""
        waiting, self._waiting = self._waiting, {}
        for connection in waiting:
            if connection.begun:
                self.pump(connection)
            else:
                self.starts.start(connection)

    def wait_for_turn(self, connection: Connection) -> None:
        """Continue with a connection when the log's end has moved."""
        self._waiting[connection] = None

    def pump(self, connection: Connection, page: Page | None = None) -> None:
        """Write to the connection until it is live, or has to wait: for its socket, for
        a page, or for the next turn."""
        self._alone(connection, self.pump_out, page)

    def pump_out(
        self,
        connection: Connection,
        page: Page | None = None,
        rows: LivingPieces | RunPieces | None = None,
    ) -> None:
        budget = _PUMP_BYTES
        while connection.fd not in connection.group.live:
            if connection.items is not None and not self.item_reads.admits(connection):
                self._unblock(connection)
                return
            frames = self._readers.read(connection, _READ_BYTES, page, rows)
            if frames is None:
                break
            if not frames:
                self._reach_end(connection, frames is OVER)
                return
            packed = connection.pack(frames)
            data = join(packed)
            written = connection.write(data)
            if self.counts.on and not connection.rest:
                is_stored = page is not None or rows is not None
                self.counts.replay(frames, packed, written, is_stored)
            connection.since = self._loop.time()
            if written == len(data):
                connection.advance_all(packed)
            else:
                connection.advance(packed, written)
            budget -= written
            if written < len(data) or budget < 0:
                self.block(connection)
                return
        else:
            # It waited for several things, and has become live meanwhile.
            return
        self._unblock(connection)
        self._wait(connection, page, rows)

    def _wait(
        self,
        connection: Connection,
        page: Page | None,
        rows: LivingPieces | RunPieces | None,
    ) -> None:
        """Continue with a connection when it can be sent more.

        :param page: The page that it has just been given, if any.
        :param rows: The same, if it needs rows.
        """
        if connection.group.follows:
            assert not isinstance(rows, LivingPieces)
            self.run_reads.wait(connection, rows)
        elif connection.is_sent_items:
            assert not isinstance(rows, RunPieces)
            self.item_reads.wait(connection, rows)
        elif connection.got_nothing_of(page) or connection.cursor > self._log.end:
            self.wait_for_turn(connection)
        else:
            answer = partial(self.pump, connection)
            self._feed.read(connection.group.names, answer, after=connection.cursor)

    def _reach_end(self, connection: Connection, is_over: bool) -> None:
        """Be live, or end.

        :param is_over: Whether nothing can follow.
        """
        self._unblock(connection)
        if is_over:
            self.finish(connection)
        elif connection.stream.poll:
            self.end(connection)
        else:
            connection.enter_live()

    def block(self, connection: Connection) -> None:
        self._partial_frames.note(connection)
        if not connection.blocked:
            connection.mask |= WRITABLE
            self.poller.change(connection.fd, connection.mask)

    def _unblock(self, connection: Connection) -> None:
        if connection.blocked:
            self._partial_frames.forget(connection)
            connection.mask &= ~WRITABLE
            self.poller.change(connection.fd, connection.mask)

    def _send_rest(self, connection: Connection) -> None:
        """Send the first bytes of a connection. Drop it if it does not take them."""
        rest = connection.rest
        if connection.write(rest) == len(rest):
            connection.rest = b""
        else:
            self.drop(connection)

    def drop(self, connection: Connection, retry: float = 0, why: str = "left") -> None:
        fd = connection.fd
        if self.connections.get(fd) is not connection:
            connection.close()
            return
        self._torn = True
        self.poller.remove(fd)
        connection.close()
        del self.connections[fd]
        self.counts.add(f"streams_ended:{why}")
        self.limits.leave(connection.stream)
        self._partial_frames.forget(connection)
        self._waiting.pop(connection, None)
        connection.group.leave(fd)
        self.starts.forget(connection)
        self.item_reads.forget(connection)
        self.run_reads.forget(connection)
        unread = self._readers.leave(connection)
        if unread:
            self._feed.unwatch(unread)
        self._torn = False
        self.presence.leave(connection, retry)

    # When a descriptor is ready.

    def _ready(self) -> None:
        for fd, mask in self.poller.poll():
            connection = self.connections.get(fd)
            if connection is not None:
                self._alone(connection, self._handle, mask)

    def _handle(self, connection: Connection, mask: int) -> None:
        polls = connection.stream.poll
        if mask & GONE or (mask & LEFT and not polls):
            self.drop(connection)
        elif mask & READABLE and not connection.discard_input():
            self.drop(connection)
        elif not connection.mask & READABLE and mask & READABLE:
            # Otherwise the poller would find its end again and again.
            self.poller.change(connection.fd, connection.mask)
        elif mask & WRITABLE:
            self.pump_out(connection)

    def refetch_after(self) -> float:
        """Seconds before a page fetches its data again: a thousand pages in each second."""
        return random.uniform(0, len(self.connections) / 1000)

    # When something fails.

    def is_torn(self) -> bool:
        parts = self._torn, self._log.is_torn(), self._partial_frames.torn
        return any(parts) or self.item_reads.torn or self.run_reads.torn

    def keep_bounds(self) -> None:
        limit = max(self.limits.options.log_bytes, _MAX_PARTIAL_BYTES)
        for stuck in self._partial_frames.stuck(limit):
            assert isinstance(stuck, Connection)
            self.drop(stuck, why="slow")
            _log_costliest(self._quiet, limit)


def _seconds_of(stream: Stream) -> float:
    """After how many seconds the stream ends."""
    left = stream.expires - time.time() if stream.expires else math.inf
    # The lifetime of a stream that expires is never longer. That is for hubs of older
    # versions, which only know the lifetime.
    if not stream.lifetime or stream.is_plain or stream.lifetime >= left:
        return left
    return min(stream.lifetime * random.uniform(0.9, 1.1), left)


def _log_costliest(quiet: QuietLogger, limit: int) -> None:
    quiet.warning(
        "Ended the costliest stream, because slow browsers had been sent parts of %d bytes"
        " of events; the browser resumes. PUSH_LOG_BYTES allows more.",
        limit,
    )
