"""What a feed does for a hub that takes items."""

from __future__ import annotations

import collections.abc as cabc
import sqlite3

from .._items import Timed
from ..base import Sink
from ..items import ItemSink
from . import item_reads
from .history import Unread
from .item_reads import FoundHorizons

# Seconds between two reads. A feed also looks when no event comes: see sqlite/feed.py.
_PAUSE_SECONDS = 0.4


class ItemLooks:
    """Reads items with the events, and gives horizons to the sink.

    It is false if the sink is no :class:`.ItemSink`. Then there is nothing to read.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink if isinstance(sink, ItemSink) else None
        # The epoch of the horizons that were given, and the number up to which those that
        # were raised are known.
        self._epoch, self._seen = "", 0

    def __bool__(self) -> bool:
        return self._sink is not None

    def look(
        self,
        connection: sqlite3.Connection,
        unread: Unread,
        after: int | None,
        channels: cabc.Set[str],
        wanted: cabc.Set[str],
    ) -> tuple[Unread, FoundHorizons]:
        """Read the items, in the transaction in which the events were read.

        :param unread: What was read of the events.
        :param after: The number after which, or ``None`` if their epoch is a new one.
        :param channels: Those that the feed watches.
        :param wanted: Those that it begins to watch.
        """
        known = unread.epoch == self._epoch
        names = set(wanted) if known else channels | wanted
        if after is not None:
            seen = self._seen if known else unread.last
            unread, raised = item_reads.look(connection, unread, after, seen, channels)
            names |= set(raised)
        return unread, item_reads.horizons(connection, sorted(names))

    def give(self, unread: Unread, horizons: FoundHorizons) -> None:
        """Give the sink the horizons, before all else that the look has found."""
        self._epoch, self._seen = unread.epoch, unread.last
        if self._sink is not None and horizons.numbers:
            self._sink.horizons(unread.epoch, horizons.numbers, horizons.without)


class TimedLooks:
    """Says to a sink that is a :class:`.TimedSink` whether rows have a time to live. Half a
    second may pass until it does, so that the other looks cost no more."""

    def __init__(self, sink: Sink) -> None:
        self._timed = Timed(sink)
        self._some = False
        self._next = 0.0

    def look(self, connection: sqlite3.Connection, now: float) -> None:
        """Read it, in a transaction of the caller's.

        :param now: The time in seconds, since any time.
        """
        if self._timed and now >= self._next:
            self._some = item_reads.is_timed(connection)
            self._next = now + _PAUSE_SECONDS

    def give(self) -> None:
        self._timed.give(self._some)
