"""Single rows of items, and rows that are forgotten: what runs need besides items.

Every function works within a transaction of the caller's.
"""

from __future__ import annotations

import collections.abc as cabc
import sqlite3
import typing as t

from ..._event import Position
from ..items import ItemRow
from ..items import ItemsPage
from ..items import ROW_BYTES
from ..runs import ENDED
from ..runs import RUN
from .item_reads import horizon_and_home
from .retention import Head
from .retention import State
from .statements import Stored

# How many rows are read at once.
_AT_ONCE = 100
# More rows than a channel has.
_ALL = 10**9

_FIND = """
SELECT number, epoch, item, type, data, version, coalesce(owner, '') FROM item
WHERE home = ? AND data IS NOT NULL AND item IN ({})
"""
_CHANNEL = """
SELECT id, horizon, living, size, tombs FROM item_channel WHERE kind = ? AND channel = ?
"""
_OLDEST = f"""
SELECT number, data IS NOT NULL, CASE WHEN data IS NULL THEN 0 ELSE {ROW_BYTES}
    + length(data) + length(CAST(type AS BLOB)) + length(CAST(item AS BLOB)) END
FROM item WHERE home = ? AND number <= ? ORDER BY number LIMIT ?
"""
_LAST = "UPDATE store SET last = ?"
_FORGET = "DELETE FROM item WHERE home = ? AND number <= ?"
# The last rows of runs that have ended, the oldest first.
_ENDED = f"""
SELECT channel, number FROM item CROSS JOIN item_channel ON id = home
WHERE owner = ? AND kind = ? ORDER BY number LIMIT {_AT_ONCE}
"""
_COUNT = """
UPDATE item_channel SET horizon = ?, raised = ?, living = ?, size = ?, tombs = ?
WHERE id = ?
"""


class ToForget(t.NamedTuple):
    """The arguments of :meth:`.KeepsRuns.forget`."""

    kind: str
    channel: str
    upto: int
    limit: int


def find(
    connection: sqlite3.Connection, channel: str, items: cabc.Collection[str], kind: str
) -> ItemsPage:
    """As :meth:`.KeepsRuns.find`."""
    epoch, end, horizon, home = horizon_and_home(connection, channel, kind)
    names, rows = [*dict.fromkeys(items)], []
    for start in range(0, len(names) if home is not None else 0, _AT_ONCE):
        some = names[start : start + _AT_ONCE]
        statement = _FIND.format(", ".join("?" * len(some)))
        for number, written, *about in connection.execute(statement, (home, *some)):
            rows.append(ItemRow(Position(written, number), channel, *about))
    rows.sort(key=lambda row: row.number)
    return ItemsPage(epoch, 0, end, end, rows, {channel: horizon})


def forget(
    connection: sqlite3.Connection,
    what: ToForget,
    data: cabc.Sequence[bytes],
    time: cabc.Callable[[int], int],
    noted: int,
) -> Stored:
    """Forget rows, as :func:`.statements.store` adds events. It has a position if there are
    more of them."""
    head = Head.checked(connection, noted)
    # Feeds find by a number that a horizon was raised.
    last = max(time(head.last), head.last + 1)
    count, more = _forget(connection, what, last)
    if not count:
        return Stored(head.epoch, [], head.last, 0, [])
    connection.execute(_LAST, (last,))
    positions = [Position(head.epoch, last)] if more else []
    return Stored(head.epoch, positions, last, 0, [])


def _forget(connection: sqlite3.Connection, what: ToForget, last: int) -> tuple[int, bool]:
    """
    :param last: The number of this change.
    :return: How many rows were forgotten, and whether there are more of them.
    """
    execute = connection.execute
    found = execute(_CHANNEL, what[:2]).fetchone()
    if found is None:
        return 0, False
    id, horizon, living, size, tombs = found
    rows = execute(_OLDEST, (id, what.upto, what.limit + 1)).fetchall()
    gone = rows[: what.limit]
    if gone:
        newest = gone[-1][0]
        execute(_FORGET, (id, newest))
        count = sum(is_living for _, is_living, _ in gone)
        size -= sum(bytes for _, _, bytes in gone)
        counts = living - count, size, tombs - len(gone) + count
        execute(_COUNT, (max(horizon, newest), last, *counts, id))
    return len(gone), len(rows) > len(gone)


def make_space(connection: sqlite3.Connection) -> bool:
    """Forget the runs that ended first, in a transaction of its own.

    :return: Whether there were some.
    """
    connection.execute("BEGIN IMMEDIATE")
    last, count = State(connection).last + 1, 0
    for channel, number in connection.execute(_ENDED, (ENDED, RUN)).fetchall():
        what = ToForget(RUN, channel, number, _ALL)
        count += _forget(connection, what, last)[0]
    connection.execute(_LAST, (last,))
    connection.execute("COMMIT")
    return count > 0


def again(connection: sqlite3.Connection, stored: Stored) -> list[Position]:
    """As :func:`.statements.again`. Rows can be forgotten twice."""
    return []
