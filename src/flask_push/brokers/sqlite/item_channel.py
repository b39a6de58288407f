"""The rows of a channel's items, while they are changed.

Every function works within a transaction of the caller's.
"""

from __future__ import annotations

import sqlite3
import typing as t
from functools import lru_cache

from ..._event import Position
from .._items import check_bounds
from ..base import Retention
from ..items import MIN_TOMBSTONES
from ..items import row_bytes
from .retention import broken

# How many rows are read at once.
_AT_ONCE = 20
# How many channels are forgotten at once.
_FORGET_CHANNELS = 100

_CHANNEL = """
SELECT id, coalesce(horizon, floor), coalesce(living, 0), coalesce(size, 0),
    coalesce(tombs, 0), items, max_bytes,
    CASE WHEN tombs > 0 THEN
        (SELECT number FROM item WHERE home = id AND data IS NULL ORDER BY number LIMIT 1)
    END,
    (SELECT newest FROM item_channel WHERE living = 0 ORDER BY newest LIMIT 1)
FROM item_store LEFT JOIN item_channel ON kind = ? AND channel = ?
"""
_ADD_CHANNEL = "INSERT INTO item_channel VALUES (NULL, ?, ?, ?, 0, 0, 0, 0, 0)"
_COUNT = """
UPDATE item_channel SET living = ?, size = ?, tombs = ?, newest = ? WHERE id = ?
"""
_RAISE = "UPDATE item_channel SET horizon = ?, raised = ? WHERE id = ?"
_ROW = """
SELECT number, epoch, type, data, version, until, owner FROM item
WHERE home = ? AND item = ?
"""
# Takes less time than IN, for which SQLite makes and sorts a table.
_ROWS = """
WITH wanted(name) AS (VALUES {})
SELECT item, number, epoch, type, data, version, until, owner
FROM wanted CROSS JOIN item ON home = ? AND item = name
"""
_ADD = "INSERT INTO item VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_REPLACE = """
UPDATE item SET number = ?, epoch = ?, type = ?, data = ?, version = ?, until = ?, owner = ?
WHERE home = ? AND item = ?
"""
# If neither the row nor the one before it has more: it takes less time, because SQLite need
# not look at the indexes of deadlines and owners.
_REPLACE_PLAIN = """
UPDATE item SET number = ?, epoch = ?, type = ?, data = ? WHERE home = ? AND item = ?
"""
_PLAIN = (None, None, None)
_MOVE = "UPDATE item SET until = ? WHERE home = ? AND item = ?"
_TOMBS = "SELECT number FROM item WHERE home = ? AND data IS NULL ORDER BY number"
_FORGET = "DELETE FROM item WHERE home = ? AND data IS NULL AND number <= ?"
_EMPTIED = """
SELECT id, newest FROM item_channel WHERE living = 0 AND newest < ?
ORDER BY newest LIMIT ?
"""


@lru_cache(_AT_ONCE)
def _rows(count: int) -> str:
    return _ROWS.format(", ".join(["(?)"] * count))


@lru_cache(_AT_ONCE)
def _bounds(items: int, max_bytes: int) -> Retention:
    return Retention(items=items, item_bytes=max_bytes)


class Row(t.NamedTuple):
    """The newest set of an item, or a tombstone."""

    number: int
    epoch: str
    type: str
    #: None for a tombstone.
    data: bytes | None
    version: int | None = None
    until: int | None = None
    owner: str | None = None

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.number)


class Channel:
    """A channel's rows, and what its own row says of them."""

    def __init__(self, connection: sqlite3.Connection, kind: str, name: str) -> None:
        self._execute, self._execute_many = connection.execute, connection.executemany
        self._kind, self._name = kind, name
        row = self._execute(_CHANNEL, (kind, name)).fetchone()
        self._id: int | None
        #: The number of the newest row of a channel without living rows: of all such
        #: channels, the one whose number is the least.
        self.first_emptied: int | None
        try:
            self._id, self._horizon, self._living, self._size, self._tombs, *more = row
            items, max_bytes, self._first_tomb, self.first_emptied = more
            counts = self._horizon + self._living + self._size + self._tombs
            counts + items + max_bytes  # noqa: B018
        except (TypeError, ValueError):
            raise broken("a row of its items is missing, or is none of ours") from None
        self._bounds = _bounds(items, max_bytes)
        self._before = self._living, self._size
        #: The items that the call names.
        self.named: list[str] = []
        # By item, the rows from before the call that were read.
        self._old: dict[str, Row | None] = {}
        #: Those that the call stores.
        self.new: dict[str, Row] = {}
        # The number of the row that was stored last.
        self._newest = 0

    def load(self) -> None:
        """Read the rows of all items that the call names."""
        if self._id is None:
            return
        items, old = self.named, self._old
        for start in range(0, len(items), _AT_ONCE):
            some = items[start : start + _AT_ONCE]
            old.update(dict.fromkeys(some))
            for row in self._execute(_rows(len(some)), (*some, self._id)):
                old[row[0]] = Row._make(row[1:])

    def row(self, item: str) -> Row | None:
        """An item's row, with what this call has changed."""
        row = self.new.get(item)
        if row is not None or self._id is None:
            return row
        if item not in self._old:
            found = self._execute(_ROW, (self._id, item)).fetchone()
            self._old[item] = None if found is None else Row._make(found)
        return self._old[item]

    def put(self, item: str, row: Row) -> None:
        """Replace an item's row. It is written at the end of the call."""
        self.new[item] = row
        self._newest = row.number

    def move(self, item: str, row: Row, until: int) -> None:
        """Give a row another deadline."""
        if item in self.new:
            self.new[item] = row._replace(until=until)
        else:
            self._execute(_MOVE, (until, self._id, item))

    def check(self) -> None:
        """
        :raises ItemsFull: If it exceeds its bounds, and by more than before.
        """
        for item, (_, _, type, data, *_) in self.new.items():
            old = self._old.get(item)
            if old is None or old.data is None or data is None or old.type != type:
                self._count(item, type, data, 1)
                if old is not None:
                    self._count(item, old.type, old.data, -1)
            else:
                self._size += len(data) - len(old.data)
        after = self._living, self._size
        check_bounds(self._kind, self._name, self._bounds, self._before, after)

    def _count(self, item: str, type: str, data: bytes | None, by: int) -> None:
        if data is None:
            self._tombs += by
        else:
            self._living += by
            self._size += by * row_bytes(item, type, data)

    def finish(self, last: int, oldest: int) -> None:
        """Write the rows, and forget tombstones that are too old or too many.

        :param last: The number of the last row of the call, on whatever channel.
        :param oldest: The number before which tombstones are too old.
        """
        if not self.new:
            return
        self._write()
        many = self._tombs - max(MIN_TOMBSTONES, self._living)
        if many > 0 or (self._first_tomb or oldest) < oldest:
            self._forget(many, oldest, last)
        counts = self._living, self._size, self._tombs, self._newest
        self._execute(_COUNT, (*counts, self._id))

    def _write(self) -> None:
        if self._id is None:
            about = (self._kind, self._name, self._horizon)
            self._id = self._execute(_ADD_CHANNEL, about).lastrowid
        added, replaced, plain = [], [], []
        for item, row in self.new.items():
            old = self._old.get(item)
            if old is None:
                added.append((self._id, item, *row))
            elif row[4:] == _PLAIN == old[4:]:
                plain.append((*row[:4], self._id, item))
            else:
                replaced.append((*row, self._id, item))
        for statement, rows in (
            (_ADD, added),
            (_REPLACE, replaced),
            (_REPLACE_PLAIN, plain),
        ):
            if rows:
                self._execute_many(statement, rows)

    def _forget(self, many: int, oldest: int, last: int) -> None:
        count, upto = 0, 0
        for (number,) in self._execute(_TOMBS, (self._id,)):
            if number == self._newest or not (count < many or number < oldest):
                break
            count, upto = count + 1, number
        if count:
            self._execute(_FORGET, (self._id, upto))
            self._tombs -= count
            # It may have been raised to a greater number, by an older clock.
            self._horizon = max(self._horizon, upto)
            self._execute(_RAISE, (self._horizon, last, self._id))


def forget_emptied(connection: sqlite3.Connection, last: int, oldest: int) -> None:
    """Forget channels of which all rows are tombstones that are too old.

    :param last: The number of the last row of the call.
    """
    execute = connection.execute
    found = execute(_EMPTIED, (oldest, _FORGET_CHANNELS)).fetchall()
    for id, _ in found:
        execute("DELETE FROM item WHERE home = ?", (id,))
        execute("DELETE FROM item_channel WHERE id = ?", (id,))
    for _, newest in found[-1:]:
        rise = "UPDATE item_store SET floor = max(floor, ?), raised = ?"
        execute(rise, (newest, last))
