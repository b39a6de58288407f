"""All streams of a process, on one loop.

The hub does what the :class:`Log` says. A feed hands it events in turns, and
:class:`FanOut` sends what a turn brings to all live connections. :class:`Streams` does
everything else for a connection, from its first byte to its last.

All of it runs on the loop's thread. Nothing here knows Flask, or a broker by name, or
whether the loop is in a thread of an app or in a process of its own.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import os
import typing as t
from math import inf

from .._delivery.log import Log
from .._delivery.options import Options
from .._delivery.snapshot import HubState
from .._delivery.snapshot import LogState
from .._delivery.stream import Stream
from .._event import Entry
from .._event import Page
from .._event import Position
from .._ipc.client import Client
from ..brokers import Broker
from .connection import Connection
from .fanout import FanOut
from .feeding import Feeding
from .streams import Streams
from .timer import Timer

# Seconds to wait for a store that does not say what is missing.
_PATIENCE = 0.05


class Hub:
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
        self._broker = broker
        self._loop = loop
        self._closed = False
        self._streams = Streams(options, loop, self._begin_again)
        self._fanout = FanOut(loop, self._streams)
        self._guard = self._streams.failstop.guard
        self._begin()
        try:
            if frozen is None or not frozen.log.epoch:
                self._feed.open(broker)
            else:
                # Readers may be before the end, but nobody has had anything after it.
                after = Position(frozen.log.epoch, frozen.log.end)
                self._feed.open(broker, after, frozen.log.channels)
        except BaseException:
            self._close()
            self._streams.poller.close()
            raise
        if frozen is not None:
            self._guard(self._restore, frozen)

    def _begin(self) -> None:
        """Begin with a log of nothing, and a feed that is not open yet."""
        streams = self._streams
        self._filling = False
        self._log = Log(
            encode=streams.limits.encode,
            wait=streams.refetch_after,
            max_bytes=self.options.log_bytes,
        )
        self._feed = Feeding(self._loop, self, self._guard)
        streams.begin(self._log, self._feed)
        self._timer = Timer(self._loop, streams, self._log, self._feed)

    def __repr__(self) -> str:
        live = sum(len(set.live) for set in self._log.sets.values())
        channels = len({name for set in self._log.sets.values() for name in set.names})
        count = len(self._streams.connections)
        failed = f", {self.failures} failures" if self.failures else ""
        return (
            f"<Hub [{channels} channels, {count} connections,"
            f" {count - live} behind{failed}]>"
        )

    @property
    def options(self) -> Options:
        """How streams are treated. May be changed at any time."""
        return self._streams.limits.options

    @options.setter
    def options(self, options: Options) -> None:
        self._streams.limits.options = options
        self._log.budget.max_bytes = options.log_bytes

    @property
    def failures(self) -> int:
        """How often all streams, or one, were ended because something failed."""
        return self._streams.failstop.failures

    # What workers ask for.

    def adopt(self, stream: Stream, client: Client) -> None:
        """Hold a client, and close it when its stream ends."""
        connection = Connection(client.fd, stream, self._loop.time(), inf)
        streams = self._streams
        self._guard(streams.failstop.alone, connection, streams.admit, client.drain)
        if streams.connections.get(connection.fd) is not connection:
            connection.close()

    def stop(self) -> None:
        """End all streams. Each browser is told when to come back, if no half frame
        stands in the way."""
        self._closed = True
        self._guard(self._streams.end_all)
        # After the last words, for a store in trouble may keep it waiting.
        self._close()
        self._streams.poller.close()

    def status(self) -> dict[str, t.Any]:
        """What can be told of it in numbers."""
        live = sum(len(set.live) for set in self._log.sets.values())
        return {
            "streams": len(self._streams.connections),
            "behind": len(self._streams.connections) - live,
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
        streams, now = self._streams, self._loop.time()
        places = []
        for fd, connection in streams.connections.items():
            place = connection.freeze(now, self._log.end)
            places.append((place, fd))
        chains = LogState.of(self._log)
        try:
            self._close()
            for fd in streams.connections:
                # Even closed, a descriptor that another process has goes on to be polled.
                streams.poller.remove(fd)
            frozen = HubState(chains, places, streams.poller.release())
            streams.poller.close()
        except BaseException as error:
            streams.failstop.fail(error)
            streams.failstop.give_up()
            raise
        streams.connections.clear()
        return frozen

    def _restore(self, frozen: HubState) -> None:
        # All of them first: whatever fails after that ends all of them.
        try:
            streams, now = self._streams, self._loop.time()
            for place, fd in frozen.readers:
                streams.connections[fd] = Connection(fd, place.stream, now, inf)
        except BaseException:
            for _, fd in frozen.readers:
                if fd not in self._streams.connections:
                    os.close(fd)
            raise
        for place, fd in frozen.readers:
            connection = streams.connections[fd]
            streams.limits.enter(connection.stream)
            streams.poller.add(fd)
            self._log.join(connection, place.stream.channels, place.stream.gzip)
            connection.resume(place, now)
        for fd in frozen.drains:
            streams.poller.add_drain(fd)
        frozen.log.restore(self._log)
        self._feed.watch([c.name for c in self._log.channels.values() if not c.held])
        for connection in list(streams.connections.values()):
            if connection.begun:
                streams.pump(connection)
            else:
                streams.starts.start_if_whole(connection)

    def _close(self) -> None:
        self._closed = True
        self._timer.cancel()
        self._feed.close()
        if not self._streams.poller.closed:
            self._loop.remove_reader(self._streams.poller)

    def descriptors(self) -> list[int]:
        """Everything that a forked child has to close, not to keep it open."""
        return [*self._streams.poller.descriptors(), *self._streams.connections]

    # What becomes of it when something fails.

    def _begin_again(self, delay: float) -> None:
        self._feed.give_up()
        self._timer.cancel()
        self._begin()
        if self._closed:
            self._timer.cancel()
            return
        self._loop.call_later(delay, self._guard, self._open, self._feed)

    def _open(self, feed: Feeding) -> None:
        feed.open(self._broker)
        feed.watch(list(self._log.channels))

    # What the feed says.

    def deliver(self, epoch: str, entries: cabc.Sequence[Entry], end: int | None) -> None:
        start = self._log.end
        self._fanout.send(self._log.turn(epoch, entries, end), start)
        if self._log.hole and not self._filling:
            self._fill()
        self._streams.go_on()

    def missed(self, end: int) -> None:
        self._log.hole = max(self._log.hole, end)
        self.deliver(self._log.epoch, (), None)

    def watched(self, channels: cabc.Sequence[str]) -> None:
        self._streams.starts.watched(channels)

    def _fill(self) -> None:
        self._filling = True
        self._feed.read(self._log.holds(), self._filled, after=self._log.end)

    def _filled(self, page: Page) -> None:
        start = self._log.end
        self._fanout.send(self._log.fill(page), start)
        self._filling = bool(self._log.hole)
        if self._log.end > start:
            if self._filling:
                self._fill()
            self._streams.go_on()
        elif self._filling:
            self._loop.call_later(_PATIENCE, self._guard, self._fill_later, self._log)

    def _fill_later(self, log: Log) -> None:
        if log is self._log and not self._closed:
            self._fill()
