"""Reads items: their rows, horizons, and what a feed has not read of them yet.

Every function works within a transaction of the caller's.
"""

from __future__ import annotations

import collections.abc as cabc
import sqlite3
import typing as t
from heapq import merge
from itertools import takewhile
from operator import attrgetter

from ..._event import Entry
from ..._event import OwnChannel
from ..._event import Page
from ..._event import Position
from .._common import take
from ..base import ENTRY_BYTES
from ..items import ItemChange
from ..items import ItemRow
from ..items import ItemsPage
from .history import AT_ONCE
from .history import BATCH
from .history import BATCH_BYTES
from .history import store_row
from .history import Unread
from .retention import broken

# A page of so many channels reads their rows directly. A page of more would so read one of
# each, with its data: it reads the numbers first.
_FEW = 4

_HOMES = """
SELECT name, id, coalesce(horizon, floor), newest
FROM c, item_store LEFT JOIN item_channel ON kind = ? AND channel = name
"""
_COLUMNS = """
number, home, epoch, item, type, coalesce(data, x''), version, coalesce(owner, '')
"""
_AFTER = "FROM item WHERE home = ? AND number > ? AND number <= ?"
_IS_LIVING = "AND data IS NOT NULL AND (until IS NULL OR until > ?)"
_THIS = f"SELECT {_COLUMNS} FROM item WHERE number = ? AND home = ?"
# What there is to read for a feed, which usually is nothing.
_LOOK = """
SELECT (SELECT newest FROM item_channel WHERE newest > ? ORDER BY newest LIMIT 1),
    (SELECT raised FROM item_channel WHERE raised > ? ORDER BY raised LIMIT 1), raised
FROM item_store
"""
_CHANGED = """
SELECT kind, channel, id, horizon, newest FROM item_channel
WHERE newest > ? AND watched_items(kind, channel)
"""
_RAISED = """
SELECT kind, channel FROM item_channel WHERE raised > ? AND watched_items(kind, channel)
"""
_DUE = """
SELECT channel, item, kind FROM item CROSS JOIN item_channel ON id = home
WHERE until <= ? ORDER BY until LIMIT ?
"""
_TIMED = "SELECT EXISTS(SELECT 1 FROM item WHERE until IS NOT NULL)"
_OWNED = """
SELECT number, epoch, channel, item, type, data, version, owner FROM item
CROSS JOIN item_channel ON id = home
WHERE owner = ? AND kind = ? ORDER BY number LIMIT ?
"""

#: The time in numbers, given the last number.
Clock = cabc.Callable[[int], int]


class ItemsRequest(t.NamedTuple):
    """A page of items, for which a hub may wait."""

    channels: cabc.Collection[str]
    after: int
    upto: int | None
    callback: cabc.Callable[[ItemsPage], None] = lambda page: None
    kind: str = ""


class _Home(t.NamedTuple):
    """Where a channel's items are."""

    channel: str
    id: int | None
    horizon: int
    #: The number of its newest row.
    newest: int | None


def _homes(
    connection: sqlite3.Connection, channels: cabc.Collection[str], kind: str
) -> list[_Home]:
    homes: list[_Home] = []
    names = list(channels)
    for start in range(0, len(names), AT_ONCE):
        some = names[start : start + AT_ONCE]
        values = ", ".join(["(?)"] * len(some))
        statement = f"WITH c(name) AS (VALUES {values}) {_HOMES}"
        found = [_Home(*row) for row in connection.execute(statement, (*some, kind))]
        if len(found) != len(some) or not all(isinstance(h.horizon, int) for h in found):
            raise broken("a row of its items is missing, or is none of ours")
        homes += found
    return homes


def horizon_and_home(
    connection: sqlite3.Connection, channel: str, kind: str
) -> tuple[str, int, int, int | None]:
    """The store's epoch and end; the channel's horizon; and where its items are, if it has
    had some."""
    epoch, _, end, _, _ = store_row(connection)
    (home,) = _homes(connection, [channel], kind)
    return epoch, end, home.horizon, home.id


class FoundHorizons(t.NamedTuple):
    """Those of some channels."""

    numbers: dict[str, int]
    #: The channels that have no row.
    without: list[str]


def horizons(
    connection: sqlite3.Connection, channels: cabc.Collection[str]
) -> FoundHorizons:
    """The horizons of channels that a feed watches."""
    kinds: dict[str, list[str]] = {}
    for name in channels:
        kind, channel = OwnChannel.parts(name)
        kinds.setdefault(kind, []).append(channel)
    numbers: dict[str, int] = {}
    without = []
    for kind, names in kinds.items():
        for channel, _, horizon, newest in _homes(connection, names, kind):
            name = OwnChannel.of(kind, channel)
            numbers[name] = horizon
            without += [name] if newest is None else []
    return FoundHorizons(numbers, without)


_Found = tuple[int, int, str, str, str, bytes, int | None, str]


def _rows(
    connection: sqlite3.Connection,
    homes: cabc.Iterable[_Home],
    span: tuple[int, int],
    limit: int,
    living: int | None = None,
    most: int | None = None,
) -> tuple[list[_Found], int]:
    """The rows of channels after a number and up to another, and how far they reach.

    :param living: If given, read living rows only, and none that is due by this time.
    :param most: If given, read no more rows.
    """
    where, more = (_AFTER, ()) if living is None else (f"{_AFTER} {_IS_LIVING}", (living,))
    held = [home.id for home in homes if (home.newest or 0) > span[0]]
    few = len(held) <= _FEW
    select = f"SELECT {_COLUMNS if few else 'number, home'} {where} ORDER BY number"
    each = [connection.execute(select, (id, *span, *more)) for id in held]
    found = each[0] if len(each) == 1 else merge(*each)
    rows: list[_Found] = []
    for row in found:
        if rows and (limit <= 0 or len(rows) == most):
            return rows, rows[-1][0]
        rows.append(row if few else connection.execute(_THIS, row).fetchone())
        limit -= len(rows[-1][5]) + ENTRY_BYTES
    return rows, span[1]


def items_page(
    connection: sqlite3.Connection,
    request: ItemsRequest,
    limit: int,
    kind: str = "",
    clock: Clock | None = None,
) -> ItemsPage:
    """A page of living rows, as :meth:`.KeepsItems.read_items` returns it.

    :param clock: If given, rows that are due are left out.
    """
    channels, after, upto, *_ = request
    epoch, _, end, _, _ = store_row(connection)
    homes = _homes(connection, channels, kind)
    now = 0 if clock is None else max(clock(end), end)
    upto = end if upto is None else min(upto, end)
    found, reach = _rows(connection, homes, (after, upto), limit, now)
    names = {home.id: home.channel for home in homes}
    rows = [
        ItemRow(Position(written, number), names[id], item, type, data, version, owner)
        for number, id, written, item, type, data, version, owner in found
    ]
    horizons = {home.channel: home.horizon for home in homes}
    return ItemsPage(epoch, after, reach, end, rows, horizons)


def with_items(
    connection: sqlite3.Connection, page: Page, channels: cabc.Collection[str], limit: int
) -> Page:
    """A page of history with the items of its channels."""
    homes = _homes(connection, channels, "")
    found, reach = _rows(connection, homes, (page.after, page.reach), limit)
    items = _entries(found, homes, page.after)
    entries, reach = _merged(page.entries, items, limit, reach)
    horizons = {home.channel: home.horizon for home in homes}
    return page._replace(entries=entries, reach=reach, horizons=horizons)


def _entries(
    rows: cabc.Iterable[_Found], homes: cabc.Iterable[_Home], after: int
) -> cabc.Iterator[Entry]:
    """Rows as entries, each of which names the one before it in what was read."""
    names = {home.id: home.channel for home in homes}
    last = {home.id: min(home.horizon, after) for home in homes}
    for number, id, _, item, type, data, *_ in rows:
        prev, last[id] = last[id], number
        yield Entry(number, prev, names[id], type, data, "", item)


def _merged(
    events: cabc.Sequence[Entry], items: cabc.Iterable[Entry], limit: int, end: int
) -> tuple[list[Entry], int]:
    """Events, up to a number, and items that fit; and how far they reach."""
    if not events:
        return take(items, limit, end)
    before = takewhile(lambda entry: entry.number <= end, events)
    return take(merge(before, items, key=attrgetter("number")), limit, end)


def look(
    connection: sqlite3.Connection,
    unread: Unread,
    after: int,
    seen: int,
    channels: cabc.Collection[str],
) -> tuple[Unread, cabc.Collection[str]]:
    """What a feed has not read yet, with the items; and the channels of which the horizons
    may have been raised.

    :param unread: What it has not read of the events after the number.
    :param seen: The number up to which it knows of horizons that were raised.
    :param channels: All that it watches.
    """
    execute = connection.execute
    row = execute(_LOOK, (after, seen)).fetchone()
    try:
        changed, raised, all_raised = row
        all_raised + (changed or 0)  # noqa: B018
    except TypeError:
        raise broken("a row of its items is missing, or is none of ours") from None
    names: cabc.Collection[str] = ()
    if all_raised > seen:
        names = channels
    elif raised is not None:
        names = [OwnChannel.of(*row) for row in execute(_RAISED, (seen,))]
    if unread.forgotten or changed is None:
        return unread, names
    homes = [
        _Home(OwnChannel.of(kind, channel), *more)
        for kind, channel, *more in execute(_CHANGED, (after,))
    ]
    # As many rows as a look has events; but of each channel, one is read in any case.
    most = max(BATCH, 2 * len(homes))
    found, end = _rows(connection, homes, (after, unread.end), BATCH_BYTES, None, most)
    items = _entries(found, homes, after)
    entries, end = _merged(unread.entries, items, BATCH_BYTES, end)
    return unread._replace(entries=entries, end=end), names


def due(connection: sqlite3.Connection, clock: Clock, limit: int) -> list[ItemChange]:
    """Unsets of rows that are due, as :meth:`.KeepsItems.due` returns them."""
    _, _, last, _, _ = store_row(connection)
    rows = connection.execute(_DUE, (max(clock(last), last), limit))
    return [
        ItemChange(channel, item, None, kind=kind, due=True) for channel, item, kind in rows
    ]


def is_timed(connection: sqlite3.Connection) -> bool:
    """Whether a row has a time to live."""
    (some,) = connection.execute(_TIMED).fetchone()
    return bool(some)


def owned(
    connection: sqlite3.Connection, owner: str, kind: str, limit: int
) -> list[ItemRow]:
    """The owner's rows, as :meth:`.KeepsItems.owned` returns them."""
    rows = connection.execute(_OWNED, (owner, kind, limit))
    return [ItemRow(Position(epoch, number), *more) for number, epoch, *more in rows]
