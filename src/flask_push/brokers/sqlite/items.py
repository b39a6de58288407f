"""How items are changed.

Every function works within a transaction of the caller's.
"""

from __future__ import annotations

import collections.abc as cabc
import sqlite3
import typing as t
from itertools import groupby

from ..._event import Event
from ..._event import MAX_NUMBER
from ..._event import Position
from .._items import check_expectation
from ..base import PublishUncertain
from ..items import ItemChange
from ..items import UNSET
from . import statements
from .item_channel import Channel
from .item_channel import forget_emptied
from .item_channel import Row
from .retention import broken
from .retention import Head
from .retention import State
from .statements import Stored

_FIND = """
SELECT coalesce(horizon, floor), number, epoch FROM item_store
LEFT JOIN item_channel ON kind = ? AND channel = ? LEFT JOIN item ON home = id AND item = ?
"""


def change(
    connection: sqlite3.Connection,
    changes: cabc.Sequence[Event | ItemChange],
    data: cabc.Sequence[bytes],
    time: cabc.Callable[[int], int],
    noted: int,
) -> Stored:
    """Add events and change items, as :func:`.statements.store` adds events.

    :param data: Of each change. Empty for an unset.
    """
    head = Head.checked(connection, noted)
    items = _Changes(connection, head, time(head.last))
    channels = items.load(changes)
    positions: list[Position] = []
    added: list[tuple[int, str]] = []
    size = 0
    them = zip(changes, data, channels, strict=True)
    for is_item, some in groupby(them, _is_item) if None in channels else [(True, them)]:
        if is_item:
            items.make_all(t.cast("cabc.Iterable[_OfItem]", some), positions)
            continue
        items.write_last()
        events, texts, _ = zip(*some, strict=True)
        stored = statements.store(connection, events, texts, time, noted)
        items.last = items.written = stored.last
        positions += stored.positions
        added += stored.added
        size += stored.size
    items.finish()
    size += items.size
    return Stored(head.epoch, positions, items.last, size, added, items.stored)


# A change, its data, and its channel.
_OfItem = tuple[ItemChange, bytes, Channel]


def _is_item(change: tuple[Event | ItemChange, bytes, Channel | None]) -> bool:
    return change[2] is not None


class _Changes:
    """The changes of one call."""

    def __init__(self, connection: sqlite3.Connection, head: Head, time: int) -> None:
        self._connection = connection
        self._epoch = head.epoch
        self._time = max(time, head.last)
        self._age = head.age
        self._channels: dict[tuple[str, str], Channel] = {}
        #: The last number that was given, and the one that the store's row has.
        self.last = self.written = head.last
        #: By kind, channel and item, the number of the row that was stored.
        self.stored: dict[tuple[str, str, str], int] = {}
        self.size = 0

    def load(self, changes: cabc.Sequence[Event | ItemChange]) -> list[Channel | None]:
        """Read the rows, and check what the changes expect.

        :return: The channel of each change. ``None`` for events.
        :raises Conflict: If a row is not as a change expects.
        """
        channels: list[Channel | None] = []
        expecting: list[tuple[ItemChange, Channel]] = []
        channel, of = None, None
        for change in changes:
            if not isinstance(change, ItemChange):
                channels.append(None)
                continue
            if channel is None or of != (change.kind, change.channel):
                channel, of = self._channel(change), (change.kind, change.channel)
            channel.named.append(change.item)
            channels.append(channel)
            if change.expect is not None:
                expecting.append((change, channel))
        if len(changes) > 1:
            for channel in self._channels.values():
                channel.load()
        for change, channel in expecting:
            row = channel.row(change.item)
            if row is None or row.data is None or self._is_due(row):
                check_expectation(change, "")
            else:
                check_expectation(change, str(row.position))
        return channels

    def make_all(self, changes: cabc.Iterable[_OfItem], positions: list[Position]) -> None:
        """Change items. Most changes are sets that have nothing but data and a type, of
        items without a deadline: they need no decision. Neither do those that only expect
        such an item.

        :param positions: Gets that of each.
        """
        epoch, time, last = self._epoch, self._time, self.last
        for change, data, channel in changes:
            item = change.item
            row = channel.row(item)
            if (row is not None and row.until is not None) or not _is_plain(change):
                self.last = last
                positions.append(self._make(channel, change, data, row))
                last = self.last
            elif change.data is None:
                positions.append(Position(epoch, last))
            else:
                last = time if time > last else last + 1
                channel.put(item, Row(last, epoch, change.type, data))
                positions.append(Position(epoch, last))
        self.last = last

    def _make(
        self, channel: Channel, change: ItemChange, data: bytes, row: Row | None
    ) -> Position:
        """Change an item, in the steps of :meth:`.KeepsItems.change`."""
        if row is not None and row.data is not None and self._is_due(row):
            row = self._put(channel, change, UNSET, None, row.version)
        if row is not None and _is_older(change.version, row.version):
            return row.position
        if change.data is None:
            if row is None or row.data is None or change.due:
                return Position(self._epoch, self.last)
            return self._put(channel, change, UNSET, None, change.version).position
        until, owner = None, change.owner or None
        if change.ttl is not None:
            until = int(min(self._time + change.ttl * 1_000_000, MAX_NUMBER))
            new = (change.type, data, change.version, owner)
            if row is not None and (row.type, row.data, row.version, row.owner) == new:
                # No event: the row keeps its number.
                channel.move(change.item, row, until)
                return row.position
        new_row = self._put(
            channel, change, change.type, data, change.version, until, owner
        )
        return new_row.position

    def _put(
        self,
        channel: Channel,
        change: ItemChange,
        type: str,
        data: bytes | None,
        version: int | None,
        until: int | None = None,
        owner: str | None = None,
    ) -> Row:
        """Store a row under the next number."""
        self.last = max(self._time, self.last + 1)
        row = Row(self.last, self._epoch, type, data, version, until, owner)
        channel.put(change.item, row)
        return row

    def finish(self) -> None:
        """Check the bounds, forget tombstones, and write what has changed beside the rows.

        :raises ItemsFull: If a channel exceeds its bounds.
        """
        channels = self._channels.values()
        for (kind, name), channel in self._channels.items():
            channel.check()
            for item, row in channel.new.items():
                self.stored[kind, name, item] = row.number
                self.size += len(row.data or b"")
        if not self.stored:
            return
        oldest, emptied = self.last - self._age, MAX_NUMBER
        for channel in channels:
            channel.finish(self.last, oldest)
            emptied = min(emptied, channel.first_emptied or MAX_NUMBER)
        # Feeds then read all horizons, so this waits for a few more.
        if emptied < oldest - self._age // 8:
            forget_emptied(self._connection, self.last, oldest)
        self.write_last()

    def write_last(self) -> None:
        if self.last != self.written:
            self.written = self.last
            self._connection.execute("UPDATE store SET last = ?", (self.last,))

    def _channel(self, change: ItemChange) -> Channel:
        name = change.kind, change.channel
        found = self._channels.get(name)
        if found is None:
            found = self._channels[name] = Channel(self._connection, *name)
        return found

    def _is_due(self, row: Row) -> bool:
        return row.until is not None and row.until <= self._time


def _is_plain(change: ItemChange) -> bool:
    """Whether it sets an item, or changes none, whatever its row is. The row has no
    deadline."""
    if change.version is not None:
        return False
    if change.data is None:
        return change.due
    return change.ttl is None and not change.owner


def _is_older(version: int | None, standing: int | None) -> bool:
    return version is not None and standing is not None and version <= standing


def again(connection: sqlite3.Connection, stored: Stored) -> list[Position]:
    """The positions of a call that may have been stored already, if it was.

    :raises PublishUncertain: If other calls have replaced all rows that would show it.
    """
    found = statements.again(connection, stored)
    there = {
        _is_there(connection, name, Position(stored.epoch, number))
        for name, number in stored.items.items()
    }
    if found or True in there:
        # A row keeps the epoch in which it was stored, and events don't.
        events = {number for number, _ in stored.added}
        epoch = State(connection).epoch
        return [
            Position(epoch, position.number) if position.number in events else position
            for position in stored.positions
        ]
    if stored.added or False in there or not there:
        return []
    raise PublishUncertain("It may be stored, or not: the items were changed since.")


def _is_there(
    connection: sqlite3.Connection, name: tuple[str, str, str], position: Position
) -> bool | None:
    """Whether a row is stored. ``None`` if it may have been removed since."""
    row = connection.execute(_FIND, name).fetchone()
    if row is None:
        raise broken("a row of its items is missing")
    horizon, number, epoch = row
    if (epoch, number) == position:
        return True
    return None if position.number <= max(horizon, number or 0) else False
