"""The streams of a hub, each from its first byte to its last.

Whatever a connection needs (to begin, to be replayed to, to go on after its socket was
full) is one function, :meth:`Streams._pump`, that writes what :meth:`Log.read` gives
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
from itertools import islice

from .._delivery import wire
from .._delivery.channel import join
from .._delivery.log import Log
from .._delivery.options import Options
from .._delivery.subscription import ChannelSet
from .._event import Page
from .._event import Position
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

# Bytes that are read from the log, and written to one connection before others' turn.
_PIECE = 64 * 1024
_TURN = 512 * 1024
# Streams that begin with one page, after which the loop has other things to do.
_TOGETHER = 50
# Bytes of frames that slow readers are in, together, however few the log may keep.
_RESTS = 16 * 2**20


class Streams(FailStop):
    """What a :class:`Hub` does for its connections. Everything on the loop's thread."""

    _feed: Feeding

    def __init__(self, options: Options, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._limits = Limits(options)
        self._connections: dict[int, Connection] = {}
        self._forget()
        self._poller = Poller()
        loop.add_reader(self._poller, self._guard, self._ready)
        self._timer = loop.call_later(self._pause, self._guard, self._tick)

    def __repr__(self) -> str:
        live = sum(len(set.live) for set in self._log.sets.values())
        channels = len({name for set in self._log.sets.values() for name in set.names})
        count = len(self._connections)
        failed = f", {self.failures} failures" if self.failures else ""
        return (
            f"<Hub [{channels} channels, {count} connections,"
            f" {count - live} behind{failed}]>"
        )

    def _forget(self) -> None:
        """Begin with a log of nothing."""
        self._log = Log(
            encode=self._limits.encode, wait=self._wait, max_bytes=self.options.log_bytes
        )
        # Connections that can't begin before the feed has taken up their channels.
        self._joining: dict[ChannelSet, list[Connection]] = {}
        # By set, those that come while others of it wait for the page that they begin
        # with: they share the next, for the store has to be asked after they came.
        self._late: dict[ChannelSet, dict[Connection, Position]] = {}
        # Connections that can't go on before the end is another.
        self._waiting: dict[Connection, None] = {}
        self._rests = Rests()
        # Sets of which a member may have half a frame that is not noted yet.
        self._doubtful: cabc.Sequence[ChannelSet] = ()
        self._torn = False

    @property
    def options(self) -> Options:
        """How streams are treated. May be changed at any time."""
        return self._limits.options

    @options.setter
    def options(self, options: Options) -> None:
        self._limits.options = options
        self._log.budget.max_bytes = options.log_bytes

    @property
    def _pause(self) -> float:
        return min(1, self.options.heartbeat / 4)

    # What a connection needs.

    def _start_if_whole(self, connection: Connection) -> None:
        if connection.set.missing:
            self._joining.setdefault(connection.set, []).append(connection)
        else:
            self._start(connection)

    def _start(self, connection: Connection) -> None:
        """Find out where the connection begins, all its channels being held."""
        self._alone(connection, self._find_start)

    def _find_start(self, connection: Connection) -> None:
        stream = connection.stream
        names = connection.set.names
        if stream.position:
            position = Position.parse(stream.position)
            if position.epoch:
                self._ask(connection, position)
                return
            self._log.begin(connection, connection.called, position)
        elif stream.last:
            answer = partial(self._begin, connection, None)
            self._feed.read(names, answer, last=stream.last)
            return
        else:
            self._log.begin(connection, connection.called)
        connection.begin()
        self._pump_out(connection)

    def _ask(self, connection: Connection, position: Position) -> None:
        """Ask the store whether it has the position, and for what we have not."""
        late = self._late.get(connection.set)
        if late is None:
            self._ask_for(connection.set, {connection: position})
            self._late[connection.set] = {}
        else:
            late[connection] = position

    def _ask_for(self, set: ChannelSet, group: dict[Connection, Position]) -> None:
        after = min(self._log.lacks(connection, group[connection]) for connection in group)
        self._feed.read(set.names, partial(self._begin_all, set, group), after=after)

    def _begin_all(
        self, set: ChannelSet, group: dict[Connection, Position], page: Page
    ) -> None:
        late = self._late.pop(set, None)
        if late:
            group_next = dict(islice(late.items(), _TOGETHER))
            self._late[set] = {c: late[c] for c in late if c not in group_next}
            self._ask_for(set, group_next)
        for connection, position in group.items():
            self._begin(connection, position, page)

    def _begin(self, connection: Connection, position: Position | None, page: Page) -> None:
        self._alone(connection, self._begin_with, position, page)

    def _begin_with(
        self, connection: Connection, position: Position | None, page: Page
    ) -> None:
        position = position or Position(page.epoch, page.after)
        if self._log.begin(connection, connection.called, position, page):
            connection.begin()
            self._pump_out(connection, page)
        else:
            self._waiting[connection] = None

    def _pump(self, connection: Connection, page: Page | None = None) -> None:
        """Write to the connection until it is live, or has to wait: for its socket, for
        a page, or for the next turn."""
        self._alone(connection, self._pump_out, page)

    def _pump_out(self, connection: Connection, page: Page | None = None) -> None:
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
                self._block(connection)
                return
        self._unblock(connection)
        in_vain = page is not None and connection.cursor == page.after
        if in_vain or connection.cursor > self._log.end:
            self._waiting[connection] = None
        else:
            answer = partial(self._pump, connection)
            self._feed.read(connection.set.names, answer, after=connection.cursor)

    def _come_live(self, connection: Connection) -> None:
        self._unblock(connection)
        if connection.stream.poll:
            self._end(connection)
        else:
            connection.enter_live()

    def _block(self, connection: Connection) -> None:
        self._rests.note(connection)
        if not connection.blocked:
            connection.mask |= WRITES
            self._poller.change(connection.fd, connection.mask)

    def _unblock(self, connection: Connection) -> None:
        if connection.blocked:
            self._rests.forget(connection)
            connection.mask &= ~WRITES
            self._poller.change(connection.fd, connection.mask)

    def _send_rest(self, connection: Connection) -> None:
        """Send what the connection begins with, and be done with one that is gone."""
        rest = connection.rest
        if connection.write(rest) == len(rest):
            connection.rest = b""
        else:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        """The browser has left, or has to."""
        fd = connection.fd
        if self._connections.get(fd) is not connection:
            connection.close()
            return
        self._torn = True
        self._poller.remove(fd)
        connection.close()
        del self._connections[fd]
        self._limits.leave(connection.stream)
        self._rests.forget(connection)
        self._waiting.pop(connection, None)
        connection.set.live.pop(fd, None)
        joining = self._joining.get(connection.set)
        if joining and connection in joining:
            joining.remove(connection)
            if not joining:
                del self._joining[connection.set]
        self._late.get(connection.set, {}).pop(connection, None)
        unread = self._log.leave(connection)
        if unread:
            self._feed.unwatch(unread)
        self._torn = False

    def _end(self, connection: Connection, streams: int = 0) -> None:
        """End the stream from our side.

        :param streams: How many end with it.
        """
        if not connection.rest:
            with contextlib.suppress(OSError):
                connection.write(self._last_word(connection, streams))
        self._drop(connection)

    def _last_word(self, connection: Connection, streams: int) -> bytes:
        retry = self.options.jittered_retry(streams)
        word = wire.last_word(retry, connection.stream.visible)
        return connection.set.code(word)

    # What happens by itself.

    def _ready(self) -> None:
        for fd, mask in self._poller.poll():
            connection = self._connections.get(fd)
            if connection is not None:
                self._alone(connection, self._hear, mask)

    def _hear(self, connection: Connection, mask: int) -> None:
        polls = connection.stream.poll
        if mask & GONE or (mask & LEFT and not polls):
            self._drop(connection)
        elif mask & HEARS and not connection.listen():
            self._drop(connection)
        elif not connection.mask & HEARS and mask & HEARS:
            # Or its end would be found again and again.
            self._poller.change(connection.fd, connection.mask)
        elif mask & WRITES:
            self._pump_out(connection)

    def _tick(self) -> None:
        """One timer for all: heartbeats, lifetimes, and ids that grow old."""
        self._timer = self._loop.call_later(self._pause, self._guard, self._tick)
        self._poller.look_after_drains()
        now = self._loop.time()
        silent = now - self.options.heartbeat
        for connection in list(self._connections.values()):
            if connection.ends <= now:
                self._alone(connection, self._end)
            elif connection.since <= silent and not connection.blocked:
                if connection.fd not in connection.set.live:
                    self._alone(connection, self._beat)
                elif connection.set.stamp <= silent:
                    self._alone(connection, self._beat)
        for sub in self._log.aged(self._feed.retention // 4):
            assert isinstance(sub, Connection)
            sub.leave_live(self._log.end)
            self._log.reopen(sub, sub.called)
            self._pump(sub)

    def _beat(self, connection: Connection) -> None:
        connection.since = self._loop.time()
        seconds, visible = self.options.heartbeat, connection.stream.visible
        beat = connection.set.code(wire.heartbeat(seconds, visible))
        written = connection.write(beat)
        if 0 < written < len(beat):
            connection.leave_live(self._log.end)
            connection.rest = memoryview(beat)[written:]
            self._block(connection)

    def _wait(self) -> float:
        """Seconds before a reader refetches: a thousand streams in each second."""
        return random.uniform(0, len(self._connections) / 1000)

    # What becomes of all when something fails.

    def _is_torn(self) -> bool:
        return self._log.budget.torn or self._rests.torn

    def _tidy(self) -> None:
        limit = max(self.options.log_bytes, _RESTS)
        for stuck in self._rests.stuck(limit):
            assert isinstance(stuck, Connection)
            self._drop(stuck)
            self._quiet.warning(
                "Ended the costliest stream, because slow browsers had been sent parts of"
                " %d bytes of events; the browser resumes. PUSH_LOG_BYTES allows more.",
                limit,
            )

    def _cut(self, connection: Connection) -> None:
        with contextlib.suppress(OSError, ValueError):
            # One that is closed, or was not adopted yet, is not polled.
            self._poller.remove(connection.fd)
        connection.close()

    def _end_all(self) -> int:
        streams, doubtful = len(self._connections), {*self._doubtful}
        for connection in self._connections.values():
            with contextlib.suppress(OSError):
                if not connection.rest and connection.set not in doubtful:
                    connection.write(self._last_word(connection, streams))
            self._cut(connection)
        self._connections.clear()
        self._limits.forget()
        return streams
