"""All streams of a process, on one loop.

The hub does what the :class:`Log` says. A feed hands it events in turns; what a turn
brings is written to all live connections in one tight loop over descriptors, the same
bytes to each. What else becomes of a connection is the matter of :class:`Streams`.

All of it runs on the loop's thread. Nothing here knows Flask, or a broker by name, or
whether the loop is in a thread of an app or in a process of its own.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import os
import random
import typing as t
from math import inf

from .._delivery.channel import Chunk
from .._delivery.channel import Frame
from .._delivery.channel import join
from .._delivery.log import Log
from .._delivery.options import Options
from .._delivery.snapshot import HubState
from .._delivery.snapshot import LogState
from .._delivery.stream import Stream
from .._delivery.subscription import ChannelSet
from .._event import Entry
from .._event import Page
from .._event import Position
from ..brokers import Broker
from .connection import Connection
from .feeding import Feeding
from .streams import Streams

# Seconds to wait for a store that does not say what is missing.
_PATIENCE = 0.05
# Sets whose bytes are made before any are written, and bytes after which it is enough. To
# go to and fro between the two takes longer than either does, and the bytes of all sets
# might be too many to hold.
_SETS = 64
_BYTES = 4 * 2**20

#: What a turn brings a set: frames, the same as they are written, the bytes of them all;
#: and who has had them already.
Turn = tuple[ChannelSet, list[Frame], list[Frame], Chunk, cabc.Sequence[Connection]]


class Hub(Streams):
    """
    :param frozen: What another hub has left. This one goes on with it.
    """

    def __init__(
        self,
        broker: Broker,
        options: Options,
        loop: asyncio.AbstractEventLoop,
        frozen: HubState | None = None,
    ) -> None:
        super().__init__(options, loop)
        self._broker = broker
        self._filling = self._closed = False
        self._feed = Feeding(loop, self, self._guard)
        try:
            if frozen is None or not frozen.log.epoch:
                self._feed.open(broker)
            else:
                # Readers may be before the end, but nobody has had anything after it.
                after = Position(frozen.log.epoch, frozen.log.end)
                self._feed.open(broker, after, frozen.log.channels)
        except BaseException:
            self._close()
            self._poller.close()
            raise
        if frozen is not None:
            self._guard(self._restore, frozen)

    # What workers ask for.

    def adopt(self, stream: Stream, fd: int, drain: int | None = None) -> None:
        """Take over a client's socket, and everything that becomes of it.

        :param drain: Where its server writes what the client is not to see. Read and
            thrown away until the server closes it.
        """
        connection = Connection(fd, stream, self._loop.time(), inf)
        self._guard(self._alone, connection, self._admit, drain)
        if self._connections.get(connection.fd) is not connection:
            connection.close()

    def _admit(self, connection: Connection, drain: int | None) -> None:
        if drain is not None:
            self._poller.add_drain(drain)
        stream, now = connection.stream, self._loop.time()
        if stream.lifetime:
            connection.ends = now + stream.lifetime * random.uniform(0.9, 1.1)
        connection.prepare()
        # Those that left while a page was read for them count until it is there.
        streams = max(len(self._connections), self._feed.asked)
        admitted = self._limits.admit(stream, streams, now, connection.fd)
        retry = self.options.jittered_retry(0 if admitted else streams)
        first = stream.first_bytes(retry)
        if not admitted:
            # It comes back later: any status but 200 would be final.
            connection.write(first)
            connection.close()
            # It may be descriptors that are lacking.
            self._poller.look_after_drains()
            return
        self._poller.add(connection.fd)
        self._torn = True
        self._connections[connection.fd] = connection
        new = self._log.join(connection, stream.channels, stream.gzip)
        # Mostly it begins at once, and one write has all.
        connection.rest = first
        self._limits.enter(stream)
        self._torn = False
        if new:
            self._feed.watch(new)
        self._start_if_whole(connection)
        if not connection.begun:
            self._send_rest(connection)

    def stop(self) -> None:
        """End all streams. Each browser is told when to come back, if no half frame
        stands in the way."""
        self._closed = True
        self._guard(self._end_all)
        # After the last words, for a store in trouble may keep it waiting.
        self._close()
        self._poller.close()

    def status(self) -> dict[str, t.Any]:
        """What can be told of it in numbers."""
        live = sum(len(set.live) for set in self._log.sets.values())
        return {
            "streams": len(self._connections),
            "behind": len(self._connections) - live,
            "channels": len(self._log.channels),
            "position": str(Position(self._log.epoch, self._log.end)),
            "failures": self.failures,
        }

    @property
    def whole(self) -> bool:
        """Whether it can be frozen: nothing of what it has handed over is in doubt."""
        return self._log.is_whole()

    def freeze(self) -> HubState:
        """Give away all streams, of which no byte is written here any more (law 10)."""
        now = self._loop.time()
        places = []
        for fd, connection in self._connections.items():
            place = connection.freeze(now, self._log.end)
            places.append((place, fd))
        chains = LogState.of(self._log)
        try:
            self._close()
            for fd in self._connections:
                # Even closed, a descriptor that another process has goes on to be polled.
                self._poller.remove(fd)
            frozen = HubState(chains, places, self._poller.release())
            self._poller.close()
        except BaseException as error:
            self._fail(error)
            self._give_up()
            raise
        self._connections.clear()
        return frozen

    def _restore(self, frozen: HubState) -> None:
        # All of them first: whatever fails after that ends all of them.
        try:
            now = self._loop.time()
            for place, fd in frozen.readers:
                self._connections[fd] = Connection(fd, place.stream, now, inf)
        except BaseException:
            for _, fd in frozen.readers:
                if fd not in self._connections:
                    os.close(fd)
            raise
        for place, fd in frozen.readers:
            connection = self._connections[fd]
            self._limits.enter(connection.stream)
            self._poller.add(fd)
            self._log.join(connection, place.stream.channels, place.stream.gzip)
            connection.resume(place, now)
        for fd in frozen.drains:
            self._poller.add_drain(fd)
        frozen.log.restore(self._log)
        self._feed.watch([c.name for c in self._log.channels.values() if not c.held])
        for connection in list(self._connections.values()):
            if connection.begun:
                self._pump(connection)
            else:
                self._start_if_whole(connection)

    def _close(self) -> None:
        self._closed = True
        self._timer.cancel()
        self._feed.close()
        if not self._poller.closed:
            self._loop.remove_reader(self._poller)

    def descriptors(self) -> list[int]:
        """Everything that a forked child has to close, not to keep it open."""
        return [*self._poller.descriptors(), *self._connections]

    # What becomes of it when something fails.

    def _begin_again(self, delay: float) -> None:
        self._feed.give_up()
        self._timer.cancel()
        self._filling = False
        self._forget()
        if self._closed:
            return
        self._timer = self._loop.call_later(self._pause, self._guard, self._tick)
        self._feed = Feeding(self._loop, self, self._guard)
        self._loop.call_later(delay, self._guard, self._open, self._feed)

    def _open(self, feed: Feeding) -> None:
        feed.open(self._broker)
        feed.watch(list(self._log.channels))

    def _give_up(self) -> None:
        self._loop.stop()

    # What the feed says.

    def deliver(self, epoch: str, entries: cabc.Sequence[Entry], end: int | None) -> None:
        start = self._log.end
        self._flush(self._log.turn(epoch, entries, end), start)
        if self._log.hole and not self._filling:
            self._fill()
        self._let_go_on()

    def _let_go_on(self) -> None:
        """The end is another: those who wait for that try again."""
        waiting, self._waiting = self._waiting, {}
        for connection in waiting:
            if connection.begun:
                self._pump(connection)
            else:
                self._start(connection)

    def missed(self, end: int) -> None:
        self._log.hole = max(self._log.hole, end)
        self.deliver(self._log.epoch, (), None)

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
        if self._log.end > start:
            if self._filling:
                self._fill()
            self._let_go_on()
        elif self._filling:
            self._loop.call_later(_PATIENCE, self._guard, self._fill_later, self._log)

    def _fill_later(self, log: Log) -> None:
        if log is self._log and not self._closed:
            self._fill()

    def _flush(self, touched: list[ChannelSet], start: int) -> None:
        """Send what the turn brought, from `start` on."""
        self._doubtful = touched
        turns: list[Turn] = []
        size = 0
        for set in touched:
            pieces, set.turn = set.turn, []
            if set.gaps:
                self._tell(set, start)
                continue
            frames = t.cast("list[Frame]", pieces)
            packed = set.pack(frames)
            spared = self._spare(set, frames, start) if set.spared else ()
            chunk = join(packed)
            turns.append((set, frames, packed, chunk, spared))
            size += len(chunk)
            if size >= _BYTES or len(turns) >= _SETS:
                self._send(turns, start)
                turns, size = [], 0
        if turns:
            self._send(turns, start)
        self._doubtful = ()

    def _send(self, turns: list[Turn], start: int) -> None:
        now = self._loop.time()
        for (_, _, packed, _, _), connection, written in _write_all(turns):
            if written < 0:
                self._drop(connection)
            else:
                connection.leave_live(start)
                connection.advance(packed, written)
                self._block(connection)
        for set, frames, _, _, spared in turns:
            set.told, set.stamp = frames[-1][0], now
            for connection in spared:
                connection.enter_live()

    def _tell(self, set: ChannelSet, start: int) -> None:
        """Send what has a gap in it, which each is told in its own way."""
        set.gaps, set.spared = False, frozenset()
        for connection in list(set.live.values()):
            connection.leave_live(start)
            self._pump(connection)

    def _spare(self, set: ChannelSet, frames: list[Frame], start: int) -> list[Connection]:
        """Send those who are not to get all of it what is theirs. Who took it all."""
        names, set.spared = set.spared, frozenset()
        done = []
        for connection in [c for c in set.live.values() if c.name in names]:
            connection.told = max(connection.told, set.told)
            connection.leave_live(start)
            own = set.pack([(number, connection.own(frame)) for number, frame in frames])
            chunk = join(own)
            try:
                written = connection.write(chunk)
            except OSError:
                self._drop(connection)
                continue
            connection.advance(own, written)
            if written < len(chunk):
                self._block(connection)
            else:
                done.append(connection)
        return done


def _write_all(turns: list[Turn]) -> list[tuple[Turn, Connection, int]]:
    """The hot path. Says who took less than all of it; nothing at all, -1, if gone."""
    write = os.write
    less = []
    for turn in turns:
        set, _, _, chunk, _ = turn
        size = len(chunk)
        for fd, connection in set.live.items():
            try:
                if (written := write(fd, chunk)) != size:
                    less.append((turn, connection, written))
            except BlockingIOError:
                less.append((turn, connection, 0))
            except OSError:
                less.append((turn, connection, -1))
    return less
