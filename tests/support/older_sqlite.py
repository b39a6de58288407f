"""A process of a version that doesn't know the own logs: the statements with which it made
and used a store. They are copied, so that they stay as they were."""

from __future__ import annotations

import sqlite3

_SCHEMA = """
CREATE TABLE store (
    epoch TEXT NOT NULL, boot TEXT NOT NULL, inode INTEGER NOT NULL,
    birth INTEGER NOT NULL, last INTEGER NOT NULL, floor INTEGER NOT NULL,
    bytes INTEGER NOT NULL, passing INTEGER NOT NULL,
    age INTEGER NOT NULL, count INTEGER NOT NULL, max_bytes INTEGER NOT NULL
);
CREATE TABLE event (
    number INTEGER PRIMARY KEY, channel TEXT NOT NULL, prev INTEGER, nth INTEGER NOT NULL,
    size INTEGER NOT NULL, type TEXT NOT NULL, data BLOB NOT NULL
);
CREATE INDEX event_channel ON event (channel, number) WHERE prev IS NOT NULL;
CREATE INDEX event_transient ON event (number) WHERE prev IS NULL;
CREATE TABLE key (
    channel TEXT NOT NULL, key TEXT NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (channel, key)
) WITHOUT ROWID;
CREATE INDEX key_number ON key (number);
"""
_STATE = """
SELECT epoch, last, floor, bytes, passing, age, count, max_bytes,
    (SELECT number FROM event ORDER BY number LIMIT 1),
    (SELECT number FROM event WHERE prev IS NULL ORDER BY number LIMIT 1),
    (SELECT number FROM key ORDER BY number LIMIT 1)
FROM store
"""
_NEWEST = """
SELECT number, nth FROM event WHERE channel = ? AND prev IS NOT NULL
ORDER BY number DESC LIMIT 1
"""


def make(connection: sqlite3.Connection, birth: int) -> None:
    connection.executescript(_SCHEMA)
    connection.execute("PRAGMA user_version = 2")
    connection.execute(
        "INSERT INTO store VALUES ('', '', 0, ?, ?, ?, 0, 0, 86400, 1000, 268435456)",
        (birth, birth, birth),
    )


def publish(connection: sqlite3.Connection, channel: str, data: bytes, time: int) -> int:
    """Open the file, publish an event in it, and return its number."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    assert version == 2, "it refuses a file of another version"
    connection.execute("BEGIN IMMEDIATE")
    _, last, floor, bytes, passing, *_ = connection.execute(_STATE).fetchone()
    number: int = max(time, last + 1)
    prev, nth = connection.execute(_NEWEST, (channel,)).fetchone() or (floor, 0)
    size = len(data) + 100
    row = (number, channel, prev, nth + 1, size, "message", data)
    connection.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    connection.execute(
        "UPDATE store SET last = ?, floor = ?, bytes = ?, passing = ?",
        (number, floor, bytes + size, passing),
    )
    connection.execute("COMMIT")
    return number


def adds_up(connection: sqlite3.Connection) -> bool:
    """What it looks at in a file that may have been restored."""
    (events,) = connection.execute("SELECT total(size) FROM event").fetchone()
    keys = connection.execute("SELECT total(60 + length(channel) + length(key)) FROM key")
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    (bytes,) = connection.execute("SELECT bytes FROM store").fetchone()
    return bool(found == "ok" and events + keys.fetchone()[0] == bytes)
