"""Finds out where each stream begins: at the end, at a position, or some events back.

A stream begins when the feed watches all of its channels. If it has a position, the hub
reads a page of the store first. Only the store knows whether it has that position, and it
has events that are no longer in the log.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from functools import partial
from itertools import islice

from .._delivery.readers import Readers
from .._delivery.subscription import ReaderGroup
from .._event import Page
from .._event import Position
from .connection import Connection
from .disconnects import Disconnects
from .failstop import FailStop
from .feeding import Feeding
from .hub_presence import HubPresence

# How many streams begin with one page, before the loop does other things.
_STREAMS_PER_PAGE = 50


class Pump(t.Protocol):
    """Writes to connections that have begun."""

    presence: HubPresence

    def pump_out(self, connection: Connection, page: Page | None = None) -> None: ...

    def wait_for_turn(self, connection: Connection) -> None: ...


class Starts:
    def __init__(
        self,
        readers: Readers,
        feed: Feeding,
        failstop: FailStop,
        pump: Pump,
        disconnects: Disconnects,
    ) -> None:
        self._readers = readers
        self._feed = feed
        self._alone = failstop.alone
        self._pump = pump
        self._admits = disconnects.admits
        # Connections that cannot begin before the feed watches their channels.
        self._joining: dict[ReaderGroup, list[Connection]] = {}
        # By group, connections that come while others of the group wait for a page. They
        # share the next one, because a page has to be read after a connection came.
        self._late: dict[ReaderGroup, dict[Connection, Position]] = {}

    def watched(self, channels: cabc.Iterable[str]) -> None:
        """Begin the streams of which the feed now watches the last channel."""
        for group in self._readers.log.hold(channels):
            for connection in self._joining.pop(group, ()):
                self.start(connection)

    def forget(self, connection: Connection) -> None:
        """Do not begin a stream that has ended."""
        joining = self._joining.get(connection.group)
        if joining and connection in joining:
            joining.remove(connection)
            if not joining:
                del self._joining[connection.group]
        self._late.get(connection.group, {}).pop(connection, None)

    def start_if_whole(self, connection: Connection) -> None:
        if connection.group.missing:
            self._joining.setdefault(connection.group, []).append(connection)
        else:
            self.start(connection)

    def start(self, connection: Connection) -> None:
        """Find out where the connection begins. The feed watches all of its channels."""
        self._alone(connection, self._find_start)

    def _find_start(self, connection: Connection) -> None:
        if not self._admits(connection):
            return
        stream = connection.stream
        names = connection.group.names
        if stream.position:
            position = Position.parse(stream.position)
            if position.epoch:
                self._ask(connection, position)
                return
            self._readers.begin(connection, connection.connection_id, position)
        elif stream.last:
            answer = partial(self._begin, connection, None)
            self._feed.read(names, answer, last=stream.last)
            return
        else:
            self._readers.begin(connection, connection.connection_id)
        self._go(connection)

    def _ask(self, connection: Connection, position: Position) -> None:
        """Read a page: does the store have the position, and what is not in the log?"""
        late = self._late.get(connection.group)
        if late is None:
            self._ask_for(connection.group, {connection: position})
            self._late[connection.group] = {}
        else:
            late[connection] = position

    def _ask_for(self, group: ReaderGroup, together: dict[Connection, Position]) -> None:
        after = min(
            self._readers.lacks(connection, together[connection]) for connection in together
        )
        self._feed.read(group.names, partial(self._begin_all, group, together), after=after)

    def _begin_all(
        self, group: ReaderGroup, together: dict[Connection, Position], page: Page
    ) -> None:
        late = self._late.pop(group, None)
        if late:
            next_together = dict(islice(late.items(), _STREAMS_PER_PAGE))
            self._late[group] = {c: late[c] for c in late if c not in next_together}
            self._ask_for(group, next_together)
        for connection, position in together.items():
            self._begin(connection, position, page)

    def _begin(self, connection: Connection, position: Position | None, page: Page) -> None:
        self._alone(connection, self._begin_with, position, page)

    def _begin_with(
        self, connection: Connection, position: Position | None, page: Page
    ) -> None:
        # Its user may have been disconnected while the page was read.
        if not self._admits(connection):
            return
        position = position or Position(page.epoch, page.after)
        if self._readers.begin(connection, connection.connection_id, position, page):
            self._go(connection, page)
        else:
            self._pump.wait_for_turn(connection)

    def _go(self, connection: Connection, page: Page | None = None) -> None:
        connection.begin()
        self._pump.presence.enter(connection)
        self._pump.pump_out(connection, page)
