"""Reads from the store who is present on the channels that streams watch.

A roster is read when the feed has begun to watch it, and again when rows of it may be
missing. Rosters that are to be read at the same time share their pages. All streams that
watch a roster that was lost are then sent all items again.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from functools import partial
from itertools import islice

from .._delivery.readers import Readers
from .._delivery.rosters import Reading
from .._delivery.rosters import WatchedRoster
from .._delivery.subscription import ReaderGroup
from .._event import ItemRow
from ..brokers import ItemsPage
from .connection import Connection
from .feeding import Feeding
from .item_reads import ItemReads
from .shared_reads import MAX_READS
from .starts import Starts

# How many rosters are read together.
_MAX_TOGETHER = 100

_Roster = WatchedRoster[ReaderGroup]
# Rosters that are read together, each with what was read of it.
_Together = dict[_Roster, Reading]


class Pump(t.Protocol):
    """All streams, and those that wait."""

    connections: dict[int, Connection]
    item_reads: ItemReads
    starts: Starts

    def continue_waiting(self) -> None: ...

    def wait_for_turn(self, connection: Connection) -> None: ...


class RosterReads:
    def __init__(self, readers: Readers, feed: Feeding, streams: Pump) -> None:
        self._readers = readers
        self._log = readers.log
        self._feed = feed
        self._streams = streams
        # How many pages were asked for.
        self._asked = 0

    def __repr__(self) -> str:
        return f"<RosterReads [{self._asked} reads, {self._log.rosters!r}]>"

    def watched(self, names: cabc.Sequence[str]) -> list[str]:
        """Read the rosters among these, which the feed now watches. Returns the others."""
        for name in names:
            if (roster := self._log.rosters.by_name.get(name)) is not None:
                roster.is_watched = True
        self.go_on()
        return [name for name in names if name not in self._log.rosters.by_name]

    def go_on(self) -> None:
        """Read the rosters that are not whole, and continue with the streams of those that
        are."""
        self._settle()
        # The log takes no rows while it has a hole.
        while not self._log.hole and self._asked < MAX_READS:
            together = dict(islice(self._wanting(), _MAX_TOGETHER))
            if not together:
                return
            for reading in together.values():
                reading.is_asked = True
            self._ask(together, 0)

    def _wanting(self) -> cabc.Iterator[tuple[_Roster, Reading]]:
        for roster in self._log.rosters.partial:
            reading = roster.reading
            if roster.is_watched and not reading.is_asked and not reading.is_done:
                yield roster, reading

    def _ask(self, together: _Together, after: int) -> None:
        names = [roster.name for roster in together]
        self._feed.read_items(names, partial(self._take, together), after=after)
        self._asked += 1

    def _take(self, together: _Together, page: ItemsPage) -> None:
        self._asked -= 1
        # Some may have lost their readers meanwhile, or were lost again.
        left = self._log.rosters.partial
        together = {
            roster: reading
            for roster, reading in together.items()
            if roster in left and roster.reading is reading
        }
        is_whole = page.reach >= page.end
        if page.epoch != self._log.epoch:
            for reading in together.values():
                reading.is_asked = False
            return
        rows: dict[str, list[ItemRow]] = {}
        for row in page.rows:
            rows.setdefault(row.channel, []).append(row)
        for roster, reading in together.items():
            reading.read(rows.get(roster.name, ()), page.end)
            reading.is_done = is_whole
        if together and not is_whole:
            self._ask(together, page.reach)
        self.go_on()

    def _settle(self) -> None:
        whole = self._log.settle_rosters()
        again = {roster for roster in whole if roster.held}
        self._streams.starts.watched([r.name for r in whole if r not in again])
        for connection in self._streams.connections.values() if again else ():
            if connection.begun and not again.isdisjoint(connection.group.rosters):
                self._send_again(connection)
        if again:
            self._streams.continue_waiting()

    def _send_again(self, connection: Connection) -> None:
        connection.leave_live(connection.group.place(self._log.end))
        self._streams.item_reads.forget(connection)
        self._readers.send_again(connection)
        # It may wait for a turn already.
        self._streams.wait_for_turn(connection)
