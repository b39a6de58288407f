"""The streams of a hub, each from its first byte to its last.

Whatever a connection needs (to begin, to be replayed to, to go on after its socket was
full) is one function, :meth:`Streams.pump`, that writes what :meth:`Log.read` gives
until the connection is live or has to wait.

Descriptors are in a poller of our own, which is one reader of the asyncio loop: the hot
path stays out of asyncio, and everything else is ordinary asyncio.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import random
from functools import partial

from .._delivery import wire
from .._delivery.channel import join
from .._delivery.log import Log
from .._delivery.options import Options
from .._delivery.subscription import ChannelSet
from .._event import Page
from .._system.logs import QuietLogger
from .connection import Connection
from .connection import GONE
from .connection import HEARS
from .connection import LEFT
from .connection import WRITES
from .failstop import FailStop
from .feeding import Feeding
from .limits import Limits
from .poller import Poller
from .rests import Rests
from .starts import Starts

# Bytes that are read from the log, and written to one connection before others' turn.
_PIECE = 64 * 1024
_TURN = 512 * 1024
# Bytes of frames that slow readers are in, together, however few the log may keep.
_RESTS = 16 * 2**20


class Streams:
    """
    :param begin_again: What is to be done when all streams were ended, because something
        failed: see :class:`FailStop`.
    """

    def __init__(
        self,
        options: Options,
        loop: asyncio.AbstractEventLoop,
        begin_again: cabc.Callable[[float], None],
    ) -> None:
        self.limits = Limits(options)
        self.connections: dict[int, Connection] = {}
        self.failstop = FailStop(loop, self, begin_again)
        self.poller = Poller()
        self._loop = loop
        self._alone = self.failstop.alone
        self._quiet = QuietLogger()
        loop.add_reader(self.poller, self.failstop.guard, self._ready)

    def begin(self, log: Log, feed: Feeding) -> None:
        """Use this log and this feed, with no connection yet."""
        self._log = log
        self._feed = feed
        self.starts = Starts(log, feed, self.failstop, self)
        # Connections that can't go on before the end is another.
        self._waiting: dict[Connection, None] = {}
        self._rests = Rests()
        #: Sets of which a member may have half a frame that is not noted yet.
        self.doubtful: cabc.Sequence[ChannelSet] = ()
        # Whether what all streams share is being changed for one of them.
        self._torn = False

    def admit(self, connection: Connection, drain: int | None) -> None:
        """Begin with a connection, or send its browser away for a while.

        :param drain: See :meth:`Hub.adopt`.
        """
        if drain is not None:
            self.poller.add_drain(drain)
        stream, now = connection.stream, self._loop.time()
        if stream.lifetime:
            connection.ends = now + stream.lifetime * random.uniform(0.9, 1.1)
        connection.prepare()
        # Those that left while a page was read for them count until it is there.
        streams = max(len(self.connections), self._feed.asked)
        admitted = self.limits.admit(stream, streams, now, connection.fd)
        retry = self.limits.options.jittered_retry(0 if admitted else streams)
        first = stream.first_bytes(retry)
        if not admitted:
            # It comes back later: any status but 200 would be final.
            connection.write(first)
            connection.close()
            # It may be descriptors that are lacking.
            self.poller.look_after_drains()
            return
        self.poller.add(connection.fd)
        self._torn = True
        self.connections[connection.fd] = connection
        new = self._log.join(connection, stream.channels, stream.gzip)
        # Mostly it begins at once, and one write has all.
        connection.rest = first
        self.limits.enter(stream)
        self._torn = False
        if new:
            self._feed.watch(new)
        self.starts.start_if_whole(connection)
        if not connection.begun:
            self._send_rest(connection)

    def go_on(self) -> None:
        """The end is another: those who wait for that try again."""
        waiting, self._waiting = self._waiting, {}
        for connection in waiting:
            if connection.begun:
                self.pump(connection)
            else:
                self.starts.start(connection)

    def wait_for_turn(self, connection: Connection) -> None:
        """Let a connection go on when the end is another."""
        self._waiting[connection] = None

    def pump(self, connection: Connection, page: Page | None = None) -> None:
        """Write to the connection until it is live, or has to wait: for its socket, for
        a page, or for the next turn."""
        self._alone(connection, self.pump_out, page)

    def pump_out(self, connection: Connection, page: Page | None = None) -> None:
        budget = _TURN
        while True:
            frames = self._log.read(connection, _PIECE, page)
            if frames is None:
                break
            if not frames:
                self._come_live(connection)
                return
            packed = connection.pack(frames)
            data = join(packed)
            written = connection.write(data)
            connection.since = self._loop.time()
            if written == len(data):
                connection.advance_all(packed)
            else:
                connection.advance(packed, written)
            budget -= written
            if written < len(data) or budget < 0:
                self.block(connection)
                return
        self._unblock(connection)
        in_vain = page is not None and connection.cursor == page.after
        if in_vain or connection.cursor > self._log.end:
            self.wait_for_turn(connection)
        else:
            answer = partial(self.pump, connection)
            self._feed.read(connection.set.names, answer, after=connection.cursor)

    def _come_live(self, connection: Connection) -> None:
        self._unblock(connection)
        if connection.stream.poll:
            self.end(connection)
        else:
            connection.enter_live()

    def block(self, connection: Connection) -> None:
        self._rests.note(connection)
        if not connection.blocked:
            connection.mask |= WRITES
            self.poller.change(connection.fd, connection.mask)

    def _unblock(self, connection: Connection) -> None:
        if connection.blocked:
            self._rests.forget(connection)
            connection.mask &= ~WRITES
            self.poller.change(connection.fd, connection.mask)

    def _send_rest(self, connection: Connection) -> None:
        """Send what the connection begins with, and be done with one that is gone."""
        rest = connection.rest
        if connection.write(rest) == len(rest):
            connection.rest = b""
        else:
            self.drop(connection)

    def drop(self, connection: Connection) -> None:
        """The browser has left, or has to."""
        fd = connection.fd
        if self.connections.get(fd) is not connection:
            connection.close()
            return
        self._torn = True
        self.poller.remove(fd)
        connection.close()
        del self.connections[fd]
        self.limits.leave(connection.stream)
        self._rests.forget(connection)
        self._waiting.pop(connection, None)
        connection.set.live.pop(fd, None)
        self.starts.forget(connection)
        unread = self._log.leave(connection)
        if unread:
            self._feed.unwatch(unread)
        self._torn = False

    def end(self, connection: Connection, streams: int = 0) -> None:
        """End the stream from our side.

        :param streams: How many end with it.
        """
        if not connection.rest:
            with contextlib.suppress(OSError):
                connection.write(self._last_word(connection, streams))
        self.drop(connection)

    def _last_word(self, connection: Connection, streams: int) -> bytes:
        retry = self.limits.options.jittered_retry(streams)
        word = wire.last_word(retry, connection.stream.visible)
        return connection.set.code(word)

    # What happens by itself.

    def _ready(self) -> None:
        for fd, mask in self.poller.poll():
            connection = self.connections.get(fd)
            if connection is not None:
                self._alone(connection, self._hear, mask)

    def _hear(self, connection: Connection, mask: int) -> None:
        polls = connection.stream.poll
        if mask & GONE or (mask & LEFT and not polls):
            self.drop(connection)
        elif mask & HEARS and not connection.listen():
            self.drop(connection)
        elif not connection.mask & HEARS and mask & HEARS:
            # Or its end would be found again and again.
            self.poller.change(connection.fd, connection.mask)
        elif mask & WRITES:
            self.pump_out(connection)

    def refetch_after(self) -> float:
        """Seconds before a reader refetches: a thousand streams in each second."""
        return random.uniform(0, len(self.connections) / 1000)

    # What becomes of all when something fails.

    def is_torn(self) -> bool:
        return self._torn or self._log.budget.torn or self._rests.torn

    def keep_bounds(self) -> None:
        limit = max(self.limits.options.log_bytes, _RESTS)
        for stuck in self._rests.stuck(limit):
            assert isinstance(stuck, Connection)
            self.drop(stuck)
            self._quiet.warning(
                "Ended the costliest stream, because slow browsers had been sent parts of"
                " %d bytes of events; the browser resumes. PUSH_LOG_BYTES allows more.",
                limit,
            )

    def cut(self, connection: Connection) -> None:
        with contextlib.suppress(OSError, ValueError):
            # One that is closed, or was not adopted yet, is not polled.
            self.poller.remove(connection.fd)
        connection.close()

    def end_all(self) -> int:
        streams, doubtful = len(self.connections), {*self.doubtful}
        for connection in self.connections.values():
            with contextlib.suppress(OSError):
                if not connection.rest and connection.set not in doubtful:
                    connection.write(self._last_word(connection, streams))
            self.cut(connection)
        self.connections.clear()
        self.limits.forget()
        return streams
