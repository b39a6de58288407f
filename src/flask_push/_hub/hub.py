"""The hub: all streams of a process, on one loop.

A feed hands events to the hub in turns. The :class:`Log` takes a turn, and :class:`FanOut`
sends it to all live connections. :class:`Streams` does everything else for a connection,
from its first byte to its last.

All of it runs on the loop's thread. Nothing here knows Flask, or the name of a broker, or
whether the loop runs in a thread of an app or in a process of its own.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t
from functools import partial
from math import inf

from .._delivery.log import Log
from .._delivery.options import Options
from .._delivery.presence_plan import HUBS
from .._delivery.readers import Readers
from .._delivery.run_rows import HOLDERS
from .._delivery.snapshot import HubState
from .._delivery.stream import Stream
from .._delivery.subscription import ReaderGroup
from .._event import Entry
from .._event import Position
from .._ipc.client import Client
from .._system.logs import QuietLogger
from ..brokers import Broker
from ..brokers import DISCONNECT_LOG
from ..brokers import KeepsOwnLogs
from ..brokers import OwnChannel
from ..brokers import OwnPage
from .connection import Connection
from .deadlines import Deadlines
from .disconnects import Disconnects
from .fanout import FanOut
from .feeding import Feeding
from .figure_keeper import FigureKeeper
from .figure_keeper import Measure
from .figure_keeper import Take
from .filling import Filling
from .handover import freeze
from .handover import restore
from .hub_presence import HubPresence
from .listing import Listing
from .numbers import numbers
from .pacing import Pacing
from .roster_reads import RosterReads
from .run_keeper import RunKeeper
from .streams import Streams
from .timer import Timer
from .writer import Writer


class Hub:
    """
    :param frozen: The streams of another hub. This one takes them over.
    :param note: Writes the hub's position for processes of the app. See
        :class:`.Disconnects`.
    :param take: Returns what processes of the app have counted. See :class:`.Measure`.
    """

    def __init__(
        self,
        broker: Broker,
        options: Options,
        loop: asyncio.AbstractEventLoop,
        frozen: HubState | None = None,
        note: cabc.Callable[[Position], None] = lambda position: None,
        take: Take | None = None,
    ) -> None:
        self._broker = broker
        self._loop = loop
        self._closed = False
        self._quiet = QuietLogger()
        self._streams = Streams(options, loop, self._begin_again)
        kept = isinstance(broker, KeepsOwnLogs)
        #: Which streams the app has disconnected.
        self.disconnects = Disconnects(self._streams, loop, kept, note)
        self._fanout = FanOut(loop, self._streams)
        self._guard = self._streams.failstop.guard
        self._writer = Writer(broker, loop, self._guard)
        #: Who is present.
        self.presence = self._streams.presence = HubPresence(
            broker, self._writer, loop, self._guard, options.grace
        )
        #: Ends the runs of processes that are dead.
        self.run_keeper = RunKeeper(
            *(broker, self._writer, loop, self._guard),
            *(self._retention, options.lost_after, self._streams.counts.run_ended),
        )
        #: Stores what the hub measures.
        measure = Measure(self._streams, lambda: self._log, take)
        self.figures = FigureKeeper(broker, self._writer, loop, self._guard, measure)
        after = None if frozen is None else frozen.log.position
        self._begin(after)
        try:
            names = frozen.watched if frozen and after else ()
            self._feed.open(broker, after, names)
        except BaseException:
            self._close()
            self._streams.poller.close()
            raise
        if self._watches:
            self._feed.watch(self._watches)
        if frozen is not None:
            now = loop.time()
            self._guard(restore, frozen, self._streams, self._readers, self._feed, now)
            self.figures.take_over(frozen.figures)
        self._turn_metrics(options.metrics)

    def _begin(self, after: Position | None = None) -> None:
        """Begin with an empty log, and a feed that is not open yet.

        :param after: Where another hub ended.
        """
        streams, loop = self._streams, self._loop
        self._log = Log(
            report=partial(_log_unsendable, self._quiet),
            max_event=self.options.max_event,
            max_bytes=self.options.log_bytes,
            notices={HUBS: self.presence.look, HOLDERS: self.run_keeper.look},
        )
        self._readers = Readers(self._log, streams.refetch_after, streams.counts.gap)
        feed = self._feed = Feeding(loop, self, self._guard)
        self._filling = Filling(loop, self._log, feed, self._guard, self._send)
        self._deadlines = Deadlines(
            self._writer, loop, self._guard, streams.counts.run_ended
        )
        self.disconnects.begin(self._log, after)
        streams.begin(self._readers, feed, self.disconnects)
        #: What a command or the admin page sees of the streams.
        self.listing = Listing(streams.connections, self._log, loop.time)
        self._roster_reads = RosterReads(self._readers, feed, streams)
        pacing = self._fanout.pacing = Pacing(loop, streams, feed, self._fanout.send_paced)
        self._timer = Timer(loop, streams, self._readers, feed, self.disconnects, pacing)

    @property
    def _watches(self) -> list[OwnChannel]:
        """What the feed watches for the hub itself."""
        return [*self.presence.watches, *self.run_keeper.watches]

    def _retention(self) -> int:
        return self._feed.retention

    def __repr__(self) -> str:
        groups = *self._log.groups.values(), *self._log.runs.groups()
        live = sum(group.up_to_date() for group in groups)
        channels = len({name for group in groups for name in group.names})
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
        before, self._streams.limits.options = self.options, options
        self._log.encoder.max_event = options.max_event
        self.presence.grace = options.grace
        self.run_keeper.lost_after = options.lost_after
        self._log.budget.max_bytes = options.log_bytes
        self._log.item_budget.max_bytes = options.log_bytes
        if not before.disconnect:
            self.disconnects.turn_on()
        self._turn_metrics(options.metrics)

    def _turn_metrics(self, on: bool) -> None:
        self._streams.counts.on = on
        self.figures.turn(on)

    @property
    def failures(self) -> int:
        """How often the hub ended one stream, or all, because of an exception."""
        return self._streams.failstop.failures

    # For workers.

    def adopt(self, stream: Stream, client: Client, kind: str = "") -> None:
        """Hold a client, and close it when its stream ends.

        :param kind: As the metric ``streams_opened`` has it, if that has to be said.
        """
        connection = Connection(client.fd, stream, self._loop.time(), inf)
        streams = self._streams
        admit = streams.admit, client.drain, kind
        self._guard(streams.failstop.alone, connection, *admit)
        if streams.connections.get(connection.fd) is not connection:
            connection.close()

    def stop(self) -> None:
        """End all streams. Each browser gets a ``retry``, unless it is in the middle of a
        frame."""
        self._closed = True
        self._guard(self._streams.end_all, "shutdown")
        # After the streams have ended, because a broken store may make it wait.
        self.presence.finish()
        self.figures.finish()
        self._close()
        self._streams.poller.close()

    def status(self) -> dict[str, t.Any]:
        """The hub in numbers."""
        return numbers(self._log, self._streams, self.disconnects, self._feed)

    @property
    def whole(self) -> bool:
        """Whether it can be frozen: it has all events up to its end, and writes none."""
        return self._log.is_whole() and not self._writer.busy

    def freeze(self) -> HubState:
        """Give away all streams. This hub no longer writes to any of them (law 10)."""
        self._guard(self._fanout.pacing.flush)
        frozen = freeze(self._streams, self._log, self._loop.time(), self._close)
        return frozen._replace(figures=self.figures.state())

    def _close(self) -> None:
        self._closed = True
        self._timer.cancel()
        self._filling.cancel()
        self._feed.close()
        self._streams.poller.stop(self._loop)
        self.presence.close()
        self.run_keeper.close()
        self.figures.close()
        self._writer.close()

    def descriptors(self) -> list[int]:
        """The descriptors that a forked child has to close."""
        return [*self._streams.poller.descriptors(), *self._streams.connections]

    # When something fails.

    def _begin_again(self, delay: float) -> None:
        self._feed.give_up()
        self._filling.cancel()
        self._timer.cancel()
        self._deadlines.timed(False)
        self._begin()
        if self._closed:
            self._timer.cancel()
            return
        self._loop.call_later(delay, self._guard, self._open, self._feed)

    def _open(self, feed: Feeding) -> None:
        feed.open(self._broker)
        log = self._log
        own = *log.rosters.by_name, *log.runs, *self._watches
        feed.watch([*log.channels, *own])

    # For the feed.

    def deliver(self, epoch: str, entries: cabc.Sequence[Entry], end: int | None) -> None:
        start, counts = self._log.end, self._streams.counts
        oldest = counts.receive(entries) if counts.on and entries else 0
        self._fanout.send(self._log.turn(epoch, entries, end), start)
        if oldest:
            counts.write(oldest)
        if self._log.hole:
            self._filling.fill()
        if self._log.rosters.partial:
            self._roster_reads.go_on()
        self._streams.continue_waiting()

    def missed(self, end: int) -> None:
        self._log.hole = max(self._log.hole, end)
        self.presence.look()
        self.run_keeper.look()
        self.deliver(self._log.epoch, (), None)

    def watched(self, channels: cabc.Sequence[str]) -> None:
        if self._log.rosters:
            channels = self._roster_reads.watched(channels)
        self._streams.starts.watched(channels)

    def horizons(self, epoch: str, *horizons: t.Any) -> None:
        self.presence.horizons(*horizons)
        self.run_keeper.horizons(*horizons)
        self._log.take_horizons(epoch, *horizons)

    def timed(self, some: bool) -> None:
        self._deadlines.timed(some)

    def own(self, log: str, page: OwnPage) -> None:
        if log == DISCONNECT_LOG:
            self.disconnects.take(page)

    def _send(self, touched: list[ReaderGroup], start: int) -> None:
        """Send what a page has filled in."""
        self._fanout.send(touched, start)
        if self._log.rosters.partial:
            self._roster_reads.go_on()
        if self._log.end > start:
            self._streams.continue_waiting()


def _log_unsendable(
    quiet: QuietLogger, entry: Entry, position: Position, error: Exception
) -> None:
    quiet.error(
        "Could not send event %s of %r; its readers were told of a gap: %s",
        *(position, entry.channel, error),
    )
