"""Finds out where each stream begins: at the end, at a position, or some events back.

A stream begins when the feed watches all of its channels. If it has a position, the store
is asked for a page first: only the store can say whether it has that position, and what
the log does not have.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from functools import partial
from itertools import islice

from .._delivery.log import Log
from .._delivery.subscription import ChannelSet
from .._event import Page
from .._event import Position
from .connection import Connection
from .failstop import FailStop
from .feeding import Feeding

# Streams that begin with one page, after which the loop has other things to do.
_TOGETHER = 50


class Pump(t.Protocol):
    """Writes to connections that have begun."""

    def pump_out(self, connection: Connection, page: Page | None = None) -> None: ...

    def wait_for_turn(self, connection: Connection) -> None: ...


class Starts:
    def __init__(self, log: Log, feed: Feeding, failstop: FailStop, pump: Pump) -> None:
        self._log = log
        self._feed = feed
        self._alone = failstop.alone
        self._pump = pump
        # Connections that can't begin before the feed has taken up their channels.
        self._joining: dict[ChannelSet, list[Connection]] = {}
        # By set, those that come while others of it wait for the page that they begin
        # with: they share the next, for the store has to be asked after they came.
        self._late: dict[ChannelSet, dict[Connection, Position]] = {}

    def watched(self, channels: cabc.Iterable[str]) -> None:
        """Begin the streams of which the feed now watches the last channel."""
        for set in self._log.hold(channels):
            for connection in self._joining.pop(set, ()):
                self.start(connection)

    def forget(self, connection: Connection) -> None:
        """Begin without the connection, whose stream has ended."""
        joining = self._joining.get(connection.set)
        if joining and connection in joining:
            joining.remove(connection)
            if not joining:
                del self._joining[connection.set]
        self._late.get(connection.set, {}).pop(connection, None)

    def start_if_whole(self, connection: Connection) -> None:
        if connection.set.missing:
            self._joining.setdefault(connection.set, []).append(connection)
        else:
            self.start(connection)

    def start(self, connection: Connection) -> None:
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
        self._pump.pump_out(connection)

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
            self._pump.pump_out(connection, page)
        else:
            self._pump.wait_for_turn(connection)
