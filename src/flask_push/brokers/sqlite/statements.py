"""The store's statements: what it looks like, and how it is written.

Every function works within a transaction of the caller's.
"""

from __future__ import annotations

import collections.abc as cabc
import sqlite3
import typing as t

from ..._event import Event
from ..._event import MAX_NUMBER
from ..._event import Position
from ..._system.clock import uptime
from .._common import new_epoch
from .._common import now
from .._common import stored_type
from ..base import EVENT
from ..base import Retention
from ..base import ROW
from . import item_tables
from . import own
from .newest import KnownNewest
from .newest import Newest
from .retention import broken
from .retention import forget
from .retention import forget_of_channel
from .retention import key_size
from .retention import OF_CHANNEL
from .retention import State

_VERSION = 2
_SCHEMA = """
CREATE TABLE store (
    epoch TEXT NOT NULL,      -- one life of this file
    boot TEXT NOT NULL,       -- boots of the machine in which it was opened, and clocks
    inode INTEGER NOT NULL,   -- the file in which it began
    birth INTEGER NOT NULL,   -- the number at which the file was made
    last INTEGER NOT NULL,    -- the last number given
    floor INTEGER NOT NULL,   -- since here, a channel of which nothing is held is whole
    bytes INTEGER NOT NULL,   -- of all events and keys
    passing INTEGER NOT NULL, -- of those that are events which are not stored
    age INTEGER NOT NULL, count INTEGER NOT NULL, max_bytes INTEGER NOT NULL
);
CREATE TABLE event (
    number INTEGER PRIMARY KEY,
    channel TEXT NOT NULL,
    prev INTEGER,             -- NULL for an event that is not stored
    nth INTEGER NOT NULL,     -- how many of the channel were held, one after another
    size INTEGER NOT NULL,    -- what it counts in the store's bytes
    type TEXT NOT NULL,
    data BLOB NOT NULL
);
CREATE INDEX event_channel ON event (channel, number) WHERE prev IS NOT NULL;
CREATE INDEX event_transient ON event (number) WHERE prev IS NULL;
CREATE TABLE key (
    channel TEXT NOT NULL, key TEXT NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (channel, key)
) WITHOUT ROWID;
CREATE INDEX key_number ON key (number);
"""

# Boots that are remembered: containers that share a store may each have one.
_BOOTS = 16

# Opening.


class Found(t.NamedTuple):
    """What is known of a file before it is opened."""

    inode: int
    #: The boot of this machine or container.
    boot: str
    #: Whether no process has it open.
    alone: bool
    #: Whether it may have been restored under the log of processes that were killed.
    doubtful: bool
    #: The last number that was committed to it, if that is known.
    noted: int | None
    #: What this process has seen of it.
    seen: Position


def prepare(
    connection: sqlite3.Connection, retention: Retention | None, found: Found
) -> tuple[int, int]:
    """Make the tables if there are none, and begin a new epoch if this can't surely be
    the file that it was.

    :return: The last number that is in it, and by how much its clock is ahead.
    :raises RuntimeError: If the file is of another version.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        _make(connection)
        own.make(connection)
        item_tables.make(connection, retention)
        if retention is not None:
            kept = (retention.age, retention.count, retention.bytes)
            connection.execute(
                "UPDATE store SET age = ?, count = ?, max_bytes = ?"
                " WHERE (age, count, max_bytes) != (?, ?, ?)",
                kept * 2,
            )
        last, ahead = _continue(connection, found)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return last, ahead


def _make(connection: sqlite3.Connection) -> None:
    execute = connection.execute
    (version,) = execute("PRAGMA user_version").fetchone()
    if version == _VERSION:
        return
    if version != 0:
        raise RuntimeError(
            "The store was made by another version of Flask-Push. Let all processes run"
            " the same version, or delete it: readers are told of a gap."
        )
    for statement in _SCHEMA.split(";\n"):
        execute(statement)
    execute(f"PRAGMA user_version = {_VERSION}")
    birth, default = now(), Retention()
    execute(
        "INSERT INTO store VALUES ('', '', 0, ?, ?, ?, 0, 0, ?, ?, ?)",
        (birth, birth, birth, default.age, default.count, default.bytes),
    )


def _continue(connection: sqlite3.Connection, found: Found) -> tuple[int, int]:
    """Begin a new epoch, or go on with the one that there is (laws 3 and 4)."""
    state = State(connection)
    if found.doubtful and not _adds_up(connection, state):
        raise broken("the log beside it is of another one")
    (text,) = connection.execute("SELECT boot FROM store").fetchone()
    boots = _boots(text)
    if found.boot not in boots and found.alone:
        # The machine may have been started again. A process that had it open would have
        # been there before: then it is another container of the same machine.
        text = "?"
    noted = MAX_NUMBER if found.noted is None else found.noted
    if found.seen.epoch == state.epoch:
        noted = max(noted, found.seen.number)
    connection.execute(
        "UPDATE store SET epoch = ?, inode = ? WHERE boot != ? OR inode != ? OR last < ?",
        (new_epoch(), found.inode, text, found.inode, noted),
    )
    if found.boot not in boots:
        # While the machine was off, no time has passed.
        boots[found.boot] = state.last - uptime()
        pairs = [f"{boot}={ahead}" for boot, ahead in boots.items()][-_BOOTS:]
        connection.execute("UPDATE store SET boot = ?", (" ".join(pairs),))
    return state.last, boots[found.boot]


def _adds_up(connection: sqlite3.Connection, state: State) -> bool:
    """Whether the store's row, which stands in the log, counts the rows that there are, and
    the pages fit together. In a database that was restored under a log, some are older than
    the log's."""
    execute = connection.execute
    (events,) = execute("SELECT total(size) FROM event").fetchone()
    keys = sum(key_size(*row) for row in execute("SELECT channel, key FROM key"))
    if events + keys != state.bytes:
        return False
    if not own.adds_up(connection) or not item_tables.adds_up(connection):
        return False
    (found,) = execute("PRAGMA integrity_check(1)").fetchone()
    return bool(found == "ok")


def _boots(text: str) -> dict[str, int]:
    """By boot, how much the store's clock is ahead of the time since then."""
    pairs = (pair.rpartition("=") for pair in str(text).split(" "))
    return {boot: int(ahead) for boot, _, ahead in pairs if ahead.lstrip("-").isdigit()}


# Writing.


class Stored(t.NamedTuple):
    epoch: str
    positions: list[Position]
    #: The last number that the store has given.
    last: int
    #: The bytes that were added.
    size: int
    #: The number and channel of each event that was added.
    added: list[tuple[int, str]]
    #: By kind, channel and item, the number of each row of an item.
    items: cabc.Mapping[tuple[str, str, str], int] = {}
    #: What was known of channels' newest events, and what is new: :class:`.KnownNewest`.
    newest: tuple[Newest, Newest] | None = None


def store(
    connection: sqlite3.Connection,
    events: cabc.Sequence[Event],
    data: cabc.Sequence[bytes],
    time: cabc.Callable[[int], int],
    noted: int,
    of_this: KnownNewest | None = None,
) -> Stored:
    """Add events.

    :param time: The time, in numbers, given the last number.
    :param noted: The last number that is known to have been committed.
    :param of_this: What this process knows, if the caller notes what is new.
    """
    execute = connection.execute
    state = State.checked(connection, noted)
    newest, positions, rows, size = dict[str, tuple[int, int]](), [], [], 0
    epoch, floor = state.epoch, state.floor
    known = of_this.known(epoch, state.last) if of_this else {}
    number = max(time(state.last), state.last + 1)
    for event, bytes in zip(events, data, strict=True):
        if event.key is not None:
            same = "SELECT number FROM key WHERE channel = ? AND key = ?"
            found = execute(same, (event.channel, event.key)).fetchone()
            if found is not None:
                positions.append(Position(epoch, found[0]))
                continue
            execute("INSERT INTO key VALUES (?, ?, ?)", (event.channel, event.key, number))
            size += key_size(event.channel, event.key)
        prev, nth, type = None, 0, stored_type(event) if event.exclude else event.type
        beside = ROW + len(event.channel) + len(type)
        cost = len(bytes) + (beside if beside > EVENT else EVENT)
        if event.store:
            before = newest.get(event.channel) or known.get(event.channel, _UNKNOWN)
            if before[0] <= floor:
                before = _newest(connection, event.channel, floor)
            prev, nth = before
            newest[event.channel] = number, nth + 1
        else:
            state.passing += cost
        size += cost
        last, number = number, number + 1
        rows.append((last, event.channel, prev, nth + 1, cost, type, bytes))
        positions.append(Position(epoch, last))
    state.last, state.bytes = number - 1 if rows else state.last, state.bytes + size
    connection.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    if state.due():
        forget(connection, state, len(events), size)
    for name, (_, nth) in newest.items():
        if nth > state.count:
            forget_of_channel(connection, state, name, nth, len(events))
    state.write(connection)
    added = [row[:2] for row in rows]
    return Stored(epoch, positions, state.last, size, added, {}, (known, newest))


# Of an event that may have been forgotten.
_UNKNOWN = 0, 0


def _newest(connection: sqlite3.Connection, channel: str, floor: int) -> tuple[int, int]:
    found = f"SELECT number, nth FROM event {OF_CHANNEL} ORDER BY number DESC LIMIT 1"
    return connection.execute(found, (channel,)).fetchone() or (floor, 0)


def again(connection: sqlite3.Connection, stored: Stored) -> list[Position]:
    """The positions of events that may have been stored already, if they were."""
    there = "SELECT 1 FROM event WHERE number = ? AND channel = ?"
    found = [connection.execute(there, added).fetchone() for added in stored.added]
    if not found or not all(found):
        return []
    epoch = State(connection).epoch
    return [Position(epoch, number) for _, number in stored.positions]


def last_number(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT last FROM store").fetchone()
    return row[0] if row is not None and isinstance(row[0], int) else 0
