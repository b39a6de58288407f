"""Logs of Flask-Push's own, in tables beside those of the events.

Processes of a version that doesn't know these tables use the same file: they leave them as
they are, give numbers after those in them, and make files without them. So the tables are
made whenever a file is opened, and the version of the file stays what it was.

Every function works within a transaction of the caller's.
"""

from __future__ import annotations

import collections.abc as cabc
import sqlite3

from ..._event import Position
from ..own import MAX_OWN_BYTES
from ..own import MAX_OWN_ENTRIES
from ..own import OwnEntry
from ..own import OwnPage
from .retention import broken
from .retention import State

_TABLES = """
CREATE TABLE IF NOT EXISTS own_log (
    log TEXT PRIMARY KEY,
    horizon INTEGER NOT NULL, -- entries up to this number have expired
    newest INTEGER NOT NULL,  -- the number of the last entry
    held INTEGER NOT NULL,    -- how many entries it has
    size INTEGER NOT NULL     -- the bytes of their data
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS own_entry (
    log TEXT NOT NULL, number INTEGER NOT NULL,
    until INTEGER NOT NULL,   -- the number at which its time is over
    data BLOB NOT NULL,
    PRIMARY KEY (log, number)
);
"""
_ROW = """
SELECT coalesce(horizon, birth), coalesce(held, 0), coalesce(size, 0)
FROM store LEFT JOIN own_log ON log = ?
"""
_LOOK = """
SELECT epoch, last, coalesce(horizon, birth), coalesce(newest, 0)
FROM store LEFT JOIN own_log ON log = ?
"""
_ADDS_UP = """
SELECT (SELECT total(held) FROM own_log), (SELECT total(size) FROM own_log),
    (SELECT count(*) FROM own_entry), (SELECT total(length(data)) FROM own_entry)
"""


def make(connection: sqlite3.Connection) -> None:
    """Make the tables if there are none."""
    for statement in _TABLES.split(";\n"):
        connection.execute(statement)


def adds_up(connection: sqlite3.Connection) -> bool:
    """Whether the rows of the logs count the entries that there are."""
    logs, log_bytes, entries, bytes = connection.execute(_ADDS_UP).fetchone()
    return bool(logs == entries and log_bytes == bytes)


def append(
    connection: sqlite3.Connection,
    log: str,
    data: bytes,
    keep: float,
    time: cabc.Callable[[int], int],
    noted: int,
) -> Position:
    """Add an entry, and remove those that have expired.

    :param time: The time, in numbers, given the last number.
    :param noted: The last number that is known to have been committed.
    """
    execute = connection.execute
    state = State.checked(connection, noted)
    number = state.last = max(time(state.last), state.last + 1)
    horizon, count, bytes = _row(connection, log)
    until = number + round(keep * 1_000_000)
    execute("INSERT INTO own_entry VALUES (?, ?, ?, ?)", (log, number, until, data))
    count, bytes = count + 1, bytes + len(data)
    expired = []
    oldest = (
        "SELECT number, until, length(data) FROM own_entry WHERE log = ? ORDER BY number"
    )
    for old, its_until, size in execute(oldest, (log,)):
        if its_until >= number and count <= MAX_OWN_ENTRIES and bytes <= MAX_OWN_BYTES:
            break
        expired.append((log, old))
        horizon, count, bytes = old, count - 1, bytes - size
    connection.executemany("DELETE FROM own_entry WHERE log = ? AND number = ?", expired)
    row = (log, horizon, number, count, bytes)
    execute("INSERT OR REPLACE INTO own_log VALUES (?, ?, ?, ?, ?)", row)
    state.write(connection)
    return Position(state.epoch, number)


def _row(connection: sqlite3.Connection, log: str) -> tuple[int, int, int]:
    """The log's horizon, and its entries and bytes."""
    horizon, count, bytes = connection.execute(_ROW, (log,)).fetchone()
    try:
        horizon + count + bytes  # noqa: B018
    except TypeError:
        raise broken("the row of a log is none of ours") from None
    return horizon, count, bytes


def again(connection: sqlite3.Connection, log: str, number: int) -> list[Position]:
    """The position of an entry that may have been stored already, if it was."""
    there = "SELECT 1 FROM own_entry WHERE log = ? AND number = ?"
    if connection.execute(there, (log, number)).fetchone() is None:
        return []
    return [Position(State(connection).epoch, number)]


def page(connection: sqlite3.Connection, log: str, after: int) -> OwnPage:
    """The entries of a log after a number."""
    row = connection.execute(_LOOK, (log,)).fetchone()
    try:
        epoch, last, horizon, newest = row
        since, there = max(after, horizon), newest > after
        last + since, epoch.encode  # noqa: B018
    except (AttributeError, TypeError):
        raise broken("its row is missing, or is none of ours") from None
    found = (
        "SELECT number, data FROM own_entry WHERE log = ? AND number > ? ORDER BY number"
    )
    rows = connection.execute(found, (log, after)) if there else ()
    return OwnPage(epoch, since, last, [OwnEntry(*row) for row in rows])
