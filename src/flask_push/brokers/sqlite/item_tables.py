"""The tables of items, beside those of the events and of the own logs.

Processes of a version that doesn't know these tables use the same file: see
:mod:`.sqlite.own`. So the tables are made whenever a file is opened.

Every function works within a transaction of the caller's.
"""

from __future__ import annotations

import sqlite3

from ..base import Retention
from ..items import ROW_BYTES

_TABLES = """
CREATE TABLE IF NOT EXISTS item_store (
    floor INTEGER NOT NULL,    -- the horizon of a channel that has no rows
    raised INTEGER NOT NULL,   -- the number of the last change that raised it
    items INTEGER NOT NULL, max_bytes INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS item_channel (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL, channel TEXT NOT NULL,
    horizon INTEGER NOT NULL,  -- the number of the last tombstone that was removed
    raised INTEGER NOT NULL,   -- the number of the last change that removed one
    living INTEGER NOT NULL,   -- how many living rows it has
    size INTEGER NOT NULL,     -- their bytes
    tombs INTEGER NOT NULL,    -- how many tombstones it has
    newest INTEGER NOT NULL    -- the number of its newest row
);
CREATE UNIQUE INDEX IF NOT EXISTS item_channel_name ON item_channel (kind, channel);
CREATE INDEX IF NOT EXISTS item_channel_raised ON item_channel (raised);
CREATE INDEX IF NOT EXISTS item_channel_newest ON item_channel (newest);
CREATE INDEX IF NOT EXISTS item_channel_emptied ON item_channel (newest) WHERE living = 0;
CREATE TABLE IF NOT EXISTS item (
    home INTEGER NOT NULL,     -- the row of its channel
    item TEXT NOT NULL,
    number INTEGER NOT NULL,
    epoch TEXT NOT NULL,       -- in which it was stored
    type TEXT NOT NULL,
    data BLOB,                 -- NULL for a tombstone
    version INTEGER,
    until INTEGER,             -- the number from which it is due
    owner TEXT,                -- NULL if there is none
    PRIMARY KEY (home, item)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS item_order ON item (home, number);
CREATE INDEX IF NOT EXISTS item_tomb ON item (home, number) WHERE data IS NULL;
CREATE INDEX IF NOT EXISTS item_until ON item (until) WHERE until IS NOT NULL;
CREATE INDEX IF NOT EXISTS item_owner ON item (owner, number) WHERE owner IS NOT NULL;
"""
_BEGIN = """
INSERT INTO item_store SELECT birth, 0, ?, ? FROM store
WHERE NOT EXISTS (SELECT 1 FROM item_store)
"""
_ADDS_UP = f"""
SELECT (SELECT total(living) FROM item_channel), (SELECT total(tombs) FROM item_channel),
    (SELECT total(size) FROM item_channel),
    (SELECT count(*) FROM item WHERE data IS NOT NULL),
    (SELECT count(*) FROM item WHERE data IS NULL),
    (SELECT total({ROW_BYTES} + length(data) + length(CAST(type AS BLOB))
        + length(CAST(item AS BLOB))) FROM item WHERE data IS NOT NULL)
"""


def make(connection: sqlite3.Connection, retention: Retention | None) -> None:
    """Make the tables if there are none.

    :param retention: If given, changes the bounds of a channel's items.
    """
    execute = connection.execute
    for statement in _TABLES.split(";\n"):
        execute(statement)
    default = Retention()
    execute(_BEGIN, (default.items, default.item_bytes))
    if retention is not None:
        bounds = (retention.items, retention.item_bytes)
        change = "UPDATE item_store SET items = ?, max_bytes = ? WHERE (items, max_bytes)"
        execute(f"{change} != (?, ?)", bounds * 2)


def has_living(connection: sqlite3.Connection) -> bool:
    """Whether there are living rows, of any kind."""
    found = "SELECT 1 FROM item_channel WHERE living > 0 LIMIT 1"
    return connection.execute(found).fetchone() is not None


def adds_up(connection: sqlite3.Connection) -> bool:
    """Whether the rows of the channels count the rows of items that there are."""
    living, tombs, size, *found = connection.execute(_ADDS_UP).fetchone()
    return bool([living, tombs, size] == found)
