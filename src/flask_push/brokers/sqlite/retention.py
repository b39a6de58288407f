"""The store's row, and how events and keys expire.

Every function works within a transaction of the caller's.
"""

from __future__ import annotations

import sqlite3
import typing as t
from heapq import merge

from ..base import PASSING
from ..base import PASSING_PART
from ..base import ROW

# Rows that a publish forgets for each that it adds, and bytes: more than one, to catch up.
# Of many, it is twice as many and some more: others wait.
_PRUNE, _PRUNE_MANY, _PRUNE_BYTES = 8, 500, 2

OF_CHANNEL = "WHERE channel = ? AND prev IS NOT NULL"

_STATE = """
SELECT epoch, last, floor, bytes, passing, age, count, max_bytes,
    (SELECT number FROM event ORDER BY number LIMIT 1),
    (SELECT number FROM event WHERE prev IS NULL ORDER BY number LIMIT 1),
    (SELECT number FROM key ORDER BY number LIMIT 1)
FROM store
"""
_HEAD = "SELECT epoch, last, age FROM store"
# Why a store is broken.
_MISSING, _STRANGE = "its row is missing", "its row is none of ours"
_OLDER = "it is older than what was written into it"


def broken(why: str) -> sqlite3.DatabaseError:
    """The error for a store with contents that we never write."""
    error = sqlite3.DatabaseError(why)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def is_broken(error: BaseException) -> bool:
    """Whether the file is no database, or no longer; or a part of it is missing."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_IOERR_SHORT_READ:
        return True
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_busy(error: BaseException) -> bool:
    """Whether another connection has a lock of SQLite's that this one needs."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def is_full(error: BaseException) -> bool:
    """Whether the disk was full, or maybe a quota was reached."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL or (
        may_be_full(error)
    )


def may_be_full(error: BaseException) -> bool:
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_WRITE


class Head(t.NamedTuple):
    """As much of the store's row as changes need that add no events."""

    epoch: str
    last: int
    #: For so long, in numbers, positions can be resumed.
    age: int

    @classmethod
    def checked(cls, connection: sqlite3.Connection, noted: int) -> Head:
        """As :meth:`State.checked`."""
        row = connection.execute(_HEAD).fetchone()
        if row is None:
            raise broken(_MISSING)
        epoch, last, age = row
        try:
            age = round(age * 1_000_000)
            epoch.encode, last + age  # noqa: B018
        except (AttributeError, TypeError):
            raise broken(_STRANGE) from None
        if last < noted:
            raise broken(_OLDER)
        return cls(epoch, last, age)


class State:
    """The store's row, while events are added and others forgotten."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        row = connection.execute(_STATE).fetchone()
        if row is None:
            raise broken(_MISSING)
        self.epoch: str
        self.epoch, self.last, self.floor, self.bytes, self.passing, *kept = row
        age, self.count, self.max_bytes, *first = kept
        #: The first number of events, of those that are not stored, and of keys.
        self.first_event, self.first_passing, self.first_key = first
        try:
            self.age = round(age * 1_000_000)
            numbers = self.last + self.floor + self.bytes + self.passing
            numbers + self.count + self.max_bytes, self.epoch.encode  # noqa: B018
        except (AttributeError, TypeError):
            raise broken(_STRANGE) from None

    @classmethod
    def checked(cls, connection: sqlite3.Connection, noted: int) -> State:
        """The row of a store that has all that was committed to it.

        :param noted: The last number that is known to have been committed.
        :raises sqlite3.DatabaseError: If it is older.
        """
        state = cls(connection)
        if state.last < noted:
            raise broken(_OLDER)
        return state

    def write(self, connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE store SET last = ?, floor = ?, bytes = ?, passing = ?",
            (self.last, self.floor, self.bytes, self.passing),
        )

    def is_over(self) -> bool:
        return bool(self.bytes > self.max_bytes)

    def due(self) -> bool:
        """Whether anything has to be removed, apart from too many events of a channel."""
        oldest, recent = self.last - self.age, self.last - PASSING
        return (
            self.is_over()
            or (self.first_event or oldest) < oldest
            or (self.first_key or oldest) < oldest
            or (self.first_passing or recent) < recent
            or self.passing * PASSING_PART > self.max_bytes
        )


def key_size(channel: str, key: str) -> int:
    return ROW + len(channel) + len(key)


def forget(connection: sqlite3.Connection, state: State, events: int, size: int) -> None:
    """Remove events that are due: about as many as were added, because others wait.

    :param events: How many were added, and of what size.
    """
    _forget_passing(connection, state, _Work(events, size))
    _forget_oldest(connection, state, _Work(events, size), state.last - state.age)


def forget_of_channel(
    connection: sqlite3.Connection, state: State, channel: str, nth: int, events: int
) -> None:
    """Remove a channel's oldest events. The newest stays, and with it the proof.

    :param nth: How many were ever held.
    """
    drop, most = [], nth - state.count
    found = f"SELECT number, size, nth FROM event {OF_CHANNEL} ORDER BY number LIMIT ?"
    for number, size, n in connection.execute(found, (channel, _rows(events))):
        if n > most:
            break
        drop.append((number,))
        state.bytes -= size
    connection.executemany("DELETE FROM event WHERE number = ?", drop)


def _forget_passing(connection: sqlite3.Connection, state: State, work: _Work) -> None:
    """Events that are not stored, after a while, or if they are too many bytes: before
    any that is."""
    recent, drop = state.last - PASSING, []
    found = "SELECT number, size FROM event WHERE prev IS NULL ORDER BY number"
    for number, size in connection.execute(found):
        much = (state.passing - work.size) * PASSING_PART > state.max_bytes
        if number == state.last or work.is_done() or not (number < recent or much):
            break
        drop.append((number,))
        work.add(size)
    connection.executemany("DELETE FROM event WHERE number = ?", drop)
    state.bytes -= work.size
    state.passing -= work.size


def _forget_oldest(
    connection: sqlite3.Connection, state: State, work: _Work, oldest: int
) -> int:
    """What is too old, or too many bytes: over all channels, so that one number, the
    floor, stands for all that is forgotten; and keys with the events of their age.

    :return: The number up to which no event is left.
    """
    events = connection.execute("SELECT number, 0, size, prev FROM event ORDER BY number")
    keys = connection.execute("SELECT number, 1, channel, key FROM key ORDER BY number")
    upto, drop = 0, []
    for number, is_key, *row in merge(events, keys):
        much = state.is_over()
        if number == state.last or work.is_done(much) or not (much or number < oldest):
            break
        if is_key:
            drop.append(row)
            size = key_size(*row)
        else:
            size, prev = row
            upto = number
            if prev is None:
                state.passing -= size
            else:
                state.floor = max(state.floor, number)
        work.add(size)
        state.bytes -= size
    connection.execute("DELETE FROM event WHERE number <= ?", (upto,))
    connection.executemany("DELETE FROM key WHERE channel = ? AND key = ?", drop)
    return upto


def _rows(events: int) -> int:
    return min(_PRUNE * events, 2 * events + _PRUNE_MANY)


class _Work:
    """How much is forgotten by one publish: rows, and bytes if there are too many."""

    def __init__(self, events: int, size: int) -> None:
        self._rows, self._bytes = _rows(events), _PRUNE_BYTES * size
        self._done = 0
        self.size = 0

    def add(self, size: int) -> None:
        self._done += 1
        self.size += size

    def is_done(self, much: bool = False) -> bool:
        """
        :param much: Whether bytes count, too.
        """
        return self._done >= self._rows and not (much and self.size < self._bytes)


def make_space(connection: sqlite3.Connection, size: int) -> None:
    """Remove the oldest events and keys, of at least so many bytes."""
    state = State(connection)
    state.max_bytes = max(0, state.bytes - size)
    _forget_oldest(connection, state, _Work(0, size), state.last - state.age)
    state.write(connection)
