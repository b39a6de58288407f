"""The store's statements: what it looks like, and how it is written and read.

Every function works within a transaction of the caller's.
"""

from __future__ import annotations

import collections.abc as cabc
import sqlite3
import typing as t
from heapq import merge
from itertools import islice

from .._event import Entry
from .._event import Event
from .._event import Page
from .._event import Position
from .._event import Proof
from .base import new_epoch
from .base import now
from .base import Retention
from .base import take

_VERSION = 1
_SCHEMA = """
CREATE TABLE store (
    epoch TEXT NOT NULL,     -- one life of this file
    boot TEXT NOT NULL,      -- the machine's boot in which the epoch began
    inode INTEGER NOT NULL,  -- the file in which it did
    birth INTEGER NOT NULL,  -- the number at which the file was made
    last INTEGER NOT NULL,   -- the last number given
    floor INTEGER NOT NULL,  -- since here, a channel of which nothing is held is whole
    bytes INTEGER NOT NULL,
    age INTEGER NOT NULL, count INTEGER NOT NULL, max_bytes INTEGER NOT NULL
);
CREATE TABLE event (
    number INTEGER PRIMARY KEY,
    channel TEXT NOT NULL,
    prev INTEGER,            -- NULL for an event that is not stored
    nth INTEGER NOT NULL,    -- how many of the channel were held, one after another
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

# What a row costs beside its data, about.
_OVERHEAD = 100
# Rows that a publish prunes for each that it adds: more than one, to catch up.
_PRUNE = 8
# Microseconds for which an event that is not stored waits for the hubs.
_TRANSIENT = 10_000_000
# Rows and bytes that a feed takes at once.
_BATCH = 500
_BATCH_BYTES = 4 * 2**20

_EVENT = "SELECT number, prev, channel, type, data FROM event"
_OF_CHANNEL = "WHERE channel = ? AND prev IS NOT NULL"


def prepare(
    connection: sqlite3.Connection,
    retention: Retention | None,
    boot: str,
    inode: int,
    noted: int,
) -> int:
    """Make the tables if there are none, and begin a new epoch if this can't surely be
    the file that it was.

    :param noted: The last number that is known to have been committed to it.
    :return: The last number that is in it.
    :raises RuntimeError: If the file is of another version.
    """
    execute = connection.execute
    (version,) = execute("PRAGMA user_version").fetchone()
    if version == 0:
        for statement in _SCHEMA.split(";\n"):
            execute(statement)
        execute(f"PRAGMA user_version = {_VERSION}")
        birth, default = now(), Retention()
        execute(
            "INSERT INTO store VALUES ('', '', 0, ?, ?, ?, 0, ?, ?, ?)",
            (birth, birth, birth, default.age, default.count, default.bytes),
        )
    elif version != _VERSION:
        raise RuntimeError(
            "The store was made by another version of Flask-Push. Let all processes run"
            " the same version, or delete it: readers are told of a gap."
        )
    execute(
        "UPDATE store SET epoch = ?, boot = ?, inode = ?"
        " WHERE boot != ? OR inode != ? OR last < ?",
        (new_epoch(), boot, inode, boot, inode, noted),
    )
    if retention is not None:
        kept = (retention.age, retention.count, retention.bytes)
        execute(
            "UPDATE store SET age = ?, count = ?, max_bytes = ?"
            " WHERE (age, count, max_bytes) != (?, ?, ?)",
            kept * 2,
        )
    (last,) = execute("SELECT last FROM store").fetchone()
    return int(last)


def store(
    connection: sqlite3.Connection, events: cabc.Sequence[Event]
) -> tuple[list[Position], int]:
    """Add events. Their positions, and the last number that the store has given."""
    execute = connection.execute
    epoch, last, floor, most = execute(
        "SELECT epoch, last, floor, count FROM store"
    ).fetchone()
    # Of each channel, its newest event, and how many were held then.
    newest: dict[str, tuple[int, int]] = {}
    positions, rows = [], []
    for event in events:
        if event.key is not None:
            same = "SELECT number FROM key WHERE channel = ? AND key = ?"
            found = execute(same, (event.channel, event.key)).fetchone()
            if found is not None:
                positions.append(Position(epoch, found[0]))
                continue
        last = max(now(), last + 1)
        prev, nth = None, 0
        if event.store:
            prev, nth = newest.get(event.channel) or _newest(
                connection, event.channel, floor
            )
            newest[event.channel] = last, nth + 1
        rows.append((last, event.channel, prev, nth + 1, event.type, event.data.encode()))
        if event.key is not None:
            execute("INSERT INTO key VALUES (?, ?, ?)", (event.channel, event.key, last))
        positions.append(Position(epoch, last))
    connection.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?)", rows)
    size = sum(_OVERHEAD + len(row[-1]) for row in rows)
    execute("UPDATE store SET last = ?, bytes = bytes + ?", (last, size))
    full = {channel: nth for channel, (_, nth) in newest.items() if nth > most}
    _prune(connection, full, _PRUNE * len(events))
    return positions, last


def _newest(connection: sqlite3.Connection, channel: str, floor: int) -> tuple[int, int]:
    found = f"SELECT number, nth FROM event {_OF_CHANNEL} ORDER BY number DESC LIMIT 1"
    return connection.execute(found, (channel,)).fetchone() or (floor, 0)


def _prune(connection: sqlite3.Connection, full: dict[str, int], rows: int) -> None:
    """Forget what is too much, at most so many rows of each kind.

    :param full: Channels that may hold too many, and how many were ever held.
    """
    execute = connection.execute
    last, size, age, count, most = execute(
        "SELECT last, bytes, age, count, max_bytes FROM store"
    ).fetchone()
    oldest = last - round(age * 1_000_000)
    drop: dict[int, int] = {}
    # What is too old, or too many bytes: over all channels, so that one number, the
    # floor, stands for all that is forgotten.
    floor = 0
    found = "SELECT number, length(data), prev FROM event ORDER BY number LIMIT ?"
    for number, length, prev in execute(found, (rows,)):
        if number == last or number >= oldest and size - sum(drop.values()) <= most:
            break
        drop[number] = _OVERHEAD + length
        if prev is not None:
            floor = number
    # What is too many of a channel: its newest stays, and with it the proof.
    found = f"SELECT number, length(data), nth FROM event {_OF_CHANNEL} ORDER BY number"
    for channel, nth in full.items():
        for number, length, n in execute(f"{found} LIMIT ?", (channel, rows)):
            if n > nth - count:
                break
            drop[number] = _OVERHEAD + length
    found = "SELECT number, length(data) FROM event WHERE prev IS NULL AND number < ?"
    for number, length in execute(f"{found} LIMIT ?", (last - _TRANSIENT, rows)):
        drop[number] = _OVERHEAD + length
    connection.executemany("DELETE FROM event WHERE number = ?", [(n,) for n in drop])
    execute(
        "UPDATE store SET bytes = bytes - ?, floor = max(floor, ?)",
        (sum(drop.values()), floor),
    )
    execute(
        "DELETE FROM key WHERE (channel, key) IN"
        " (SELECT channel, key FROM key WHERE number < ? ORDER BY number LIMIT ?)",
        (oldest, rows),
    )


def page(
    connection: sqlite3.Connection,
    channels: cabc.Collection[str],
    after: int | None,
    last: int,
    limit: int,
) -> Page:
    """A piece of history, as :meth:`Broker.read` has it."""
    execute = connection.execute
    epoch, end, floor = execute("SELECT epoch, last, floor FROM store").fetchone()
    first = f"SELECT prev FROM event {_OF_CHANNEL} ORDER BY number LIMIT 1"
    proofs = {}
    for name in channels:
        found = execute(first, (name,)).fetchone()
        proofs[name] = Proof(found[0]) if found else Proof(floor, "unknown")
    if after is None:
        newest = f"SELECT -number FROM event {_OF_CHANNEL} ORDER BY number DESC LIMIT ?"
        numbers = merge(*(execute(newest, (name, last)) for name in channels))
        earliest = [-number for (number,) in islice(numbers, last)]
        since = [proof.since for proof in proofs.values()]
        after = max(earliest[-1] - 1, *since) if earliest else end
    held = f"{_EVENT} {_OF_CHANNEL} AND number > ? ORDER BY number"
    rows = merge(*(execute(held, (name, after)) for name in channels))
    entries, reach = take(map(Entry._make, rows), limit, end)
    return Page(epoch, after, reach, end, entries, proofs)


class News(t.NamedTuple):
    """What a feed has not heard of."""

    epoch: str
    entries: list[Entry]
    #: The number up to which this is all of it.
    end: int
    #: The number at which it will have all.
    last: int
    #: How far behind the end a position can be resumed.
    retention: int
    #: Whether some of it is forgotten already, so that only a page can tell.
    forgotten: bool = False


def news(connection: sqlite3.Connection, epoch: str, after: int) -> News:
    """What is new after a number of the epoch; of another epoch, only where it is.

    The connection has a function ``heard`` that knows the channels it is about.
    """
    execute = connection.execute
    now_epoch, birth, last, floor, age = execute(
        "SELECT epoch, birth, last, floor, age FROM store"
    ).fetchone()
    age = round(age * 1_000_000)
    retention = age if floor == birth else min(age, last - floor)
    if now_epoch != epoch:
        return News(now_epoch, [], last, last, retention)
    if floor > after:
        return News(epoch, [], last, last, retention, forgotten=True)
    new = "SELECT number FROM event WHERE number > ? ORDER BY number LIMIT 1 OFFSET ?"
    (upto,) = execute(new, (after, _BATCH)).fetchone() or (last,)
    rows = execute(
        f"{_EVENT} WHERE number > ? AND number <= ? AND heard(channel) ORDER BY number",
        (after, upto),
    )
    entries, end = take(map(Entry._make, rows), _BATCH_BYTES, upto)
    return News(epoch, entries, end, last, retention)
