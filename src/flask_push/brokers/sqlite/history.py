"""Reads the store: pages of history, and events that a feed has not read yet.

Every function works within a transaction of the caller's.
"""

from __future__ import annotations

import collections.abc as cabc
import sqlite3
import typing as t
from heapq import merge
from itertools import islice
from itertools import starmap

from ..._event import Entry
from ..._event import OwnChannel
from ..._event import Page
from ..._event import Proof
from .._common import stored_entry
from .._common import take
from ..base import ENTRY_BYTES
from .retention import broken
from .retention import OF_CHANNEL

# Rows and bytes that a feed reads at once.
BATCH = 500
BATCH_BYTES = 2**20
# A page of so many channels reads their rows directly. A page of more selects rows by their
# numbers, so many at once. And so many channels one statement asks about.
_FEW, _ROWS, AT_ONCE = 4, 50, 100

_ENDS = """
SELECT name,
    (SELECT prev FROM event WHERE channel = name AND prev IS NOT NULL
        ORDER BY number LIMIT 1),
    (SELECT number FROM event WHERE channel = name AND prev IS NOT NULL
        ORDER BY number DESC LIMIT 1)
FROM c
"""
_EVENT = "SELECT number, prev, channel, type, data FROM event"
_THESE = f"{_EVENT} WHERE number IN ({', '.join('?' * _ROWS)}) ORDER BY number"


def page(
    connection: sqlite3.Connection,
    channels: cabc.Collection[str],
    after: int | None,
    last: int,
    limit: int,
) -> Page:
    """A page of history, as :meth:`Broker.read` returns it."""
    execute = connection.execute
    epoch, _, end, floor, _ = store_row(connection)
    proofs, newest = _proofs(connection, list(channels), floor)
    if after is None:
        last_of = f"SELECT -number FROM event {OF_CHANNEL} ORDER BY number DESC LIMIT ?"
        numbers = merge(*(execute(last_of, (name, last)) for name in newest))
        earliest = [-number for (number,) in islice(numbers, last)]
        since = [proof.since for proof in proofs.values()]
        after = max(earliest[-1] - 1, *since) if earliest else end
    # Usually, most channels have no new events.
    held = [name for name, number in newest.items() if number > after]
    read = _read_few if len(held) <= _FEW else _read_many
    entries, reach = read(connection, held, after, limit, end)
    return Page(epoch, after, reach, end, entries, proofs)


def _proofs(
    connection: sqlite3.Connection, channels: list[str], floor: int
) -> tuple[dict[str, Proof], dict[str, int]]:
    """Each channel's proof, and the newest number of each channel that holds events."""
    proofs, newest = {}, {}
    for start in range(0, len(channels), AT_ONCE):
        names = channels[start : start + AT_ONCE]
        values = ", ".join(["(?)"] * len(names))
        rows = connection.execute(f"WITH c(name) AS (VALUES {values}) {_ENDS}", names)
        for name, prev, number in rows:
            if number is None:
                proofs[name] = Proof(floor, "unknown")
            else:
                proofs[name], newest[name] = Proof(prev), number
    return proofs, newest


_Some = tuple[list[Entry], int]


def _read_few(
    connection: sqlite3.Connection, channels: list[str], after: int, limit: int, end: int
) -> _Some:
    """Events of the channels after a number, up to a limit, and how far they reach."""
    where = f"{OF_CHANNEL} AND number > ? ORDER BY number"
    event = f"{_EVENT} {where}"
    rows = [connection.execute(event, (name, after)) for name in channels]
    return take(
        starmap(stored_entry, rows[0] if len(rows) == 1 else merge(*rows)), limit, end
    )


def _read_many(
    connection: sqlite3.Connection, channels: list[str], after: int, limit: int, end: int
) -> _Some:
    """The same for many channels. Merging rows would read one of each channel, with its
    data, so the numbers are merged first."""
    execute = connection.execute
    where = f"{OF_CHANNEL} AND number > ? ORDER BY number"
    number = f"SELECT number FROM event {where}"
    numbers = merge(*(execute(number, (name, after)) for name in channels))
    entries: list[Entry] = []
    while some := [number for (number,) in islice(numbers, _ROWS)]:
        more = [-1] * (_ROWS - len(some))
        for row in execute(_THESE, some + more):
            if limit <= 0 and entries:
                return entries, entries[-1].number
            entries.append(stored_entry(*row))
            limit -= len(entries[-1].data) + ENTRY_BYTES
    return entries, end


class Unread(t.NamedTuple):
    """What a feed has not read yet."""

    epoch: str
    entries: list[Entry]
    #: The number up to which the entries are complete.
    end: int
    #: The last number of the store.
    last: int
    #: How far behind the end a position can be resumed.
    retention: int
    #: Whether some of it is forgotten already, so that the hub has to read pages.
    forgotten: bool = False


def select(connection: sqlite3.Connection, channels: cabc.Container[str]) -> None:
    """Have this connection find what is new on these channels. They may change later."""

    def watched_items(kind: str, channel: str) -> bool:
        return OwnChannel.of(kind, channel) in channels

    connection.create_function("watched", 1, channels.__contains__)
    connection.create_function("watched_items", 2, watched_items)


def unread(connection: sqlite3.Connection, epoch: str, after: int) -> Unread:
    """Events after a number of the epoch. If the epoch has changed, only the end.

    :func:`select` has named the feed's channels.
    """
    execute = connection.execute
    now_epoch, birth, last, floor, age = store_row(connection)
    age = round(age * 1_000_000)
    retention = age if floor == birth else min(age, last - floor)
    if now_epoch != epoch:
        return Unread(now_epoch, [], last, last, retention)
    if last < after:
        raise broken("it is older than what was read of it")
    if floor > after:
        return Unread(epoch, [], last, last, retention, forgotten=True)
    new = "SELECT number FROM event WHERE number > ? ORDER BY number LIMIT 1 OFFSET ?"
    (upto,) = execute(new, (after, BATCH)).fetchone() or (last,)
    rows = execute(
        f"{_EVENT} WHERE number > ? AND number <= ? AND watched(channel) ORDER BY number",
        (after, upto),
    )
    entries, end = take(starmap(stored_entry, rows), BATCH_BYTES, upto)
    return Unread(epoch, entries, end, last, retention)


def store_row(connection: sqlite3.Connection) -> tuple[str, int, int, int, float]:
    row = connection.execute("SELECT epoch, birth, last, floor, age FROM store").fetchone()
    try:
        epoch, birth, last, floor, age = row
        birth + last + floor + age, epoch.encode  # noqa: B018
    except (AttributeError, TypeError):
        raise broken("its row is missing, or is none of ours") from None
    return epoch, birth, last, floor, age
