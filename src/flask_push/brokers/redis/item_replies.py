"""What the scripts return and publish of items, as values. No input or output."""

from __future__ import annotations

import collections.abc as cabc
import re
import typing as t
from operator import attrgetter

from ..._event import Entry
from ..._event import Page
from ..._event import Position
from .._common import take
from ..base import Retention
from ..items import ItemChange
from ..items import ItemRow
from ..items import ItemsPage
from . import replies

#: In place of the numbers of changes, why nothing was stored.
CONFLICT, FULL = b"conflict", b"full"

_Counts = tuple[int, int]

_DEADLINE = re.compile(rb"\d+:([a-z]*):(\d+):", re.DOTALL)


class _Row(t.NamedTuple):
    position: Position
    version: int | None
    owner: str
    type: str
    data: bytes


def _row(record: bytes) -> _Row:
    number, epoch, version, _, _, size, length, rest = record.split(b":", 7)
    start = int(size)
    end = start + int(length)
    return _Row(
        Position(epoch.decode(), int(number)),
        int(version) if version else None,
        rest[:start].decode(),
        rest[start:end].decode(),
        rest[end:],
    )


def _item_row(channel: str, item: str, record: bytes) -> ItemRow:
    position, version, owner, type, data = _row(record)
    return ItemRow(position, channel, item, type, data, version, owner)


def conflict(reply: list[t.Any]) -> tuple[int, str]:
    """Which change was refused, and the id of the row that it found."""
    index, _, found = reply[1].decode().partition(" ")
    number, _, epoch = found.partition(":")
    return int(index), str(Position(epoch, int(number))) if found else ""


def full(reply: list[t.Any]) -> tuple[int, Retention, _Counts, _Counts]:
    """Which channel would exceed its bounds; these; and its rows and bytes, before the call
    and after it."""
    index, count, size, *counts = map(int, reply[1].split())
    bounds = Retention(items=count, item_bytes=size)
    return index, bounds, (counts[0], counts[1]), (counts[2], counts[3])


def items_page(reply: list[t.Any], channels: cabc.Sequence[str], after: int) -> ItemsPage:
    indices, items, records = _triples(reply[4])
    rows = [
        _item_row(channels[i - 1], item.decode(), record)
        for i, item, record in zip(indices, items, records, strict=True)
    ]
    known, _ = _horizons(reply[3], channels)
    return ItemsPage(reply[0].decode(), after, int(reply[1]), int(reply[2]), rows, known)


def owned_rows(
    reply: list[t.Any], found: cabc.Iterable[tuple[str, str]], owner: str
) -> list[ItemRow]:
    """Those of the rows that the owner still has."""
    rows = [
        _item_row(channel, item, record)
        for (channel, item), record in zip(found, reply[2], strict=True)
        if record
    ]
    rows = [row for row in rows if row.owner == owner]
    return sorted(rows, key=attrgetter("position.number"))


def found_rows(reply: list[t.Any], channel: str, items: cabc.Iterable[str]) -> ItemsPage:
    """The rows that were found of one channel."""
    rows = [
        _item_row(channel, item, record)
        for item, record in zip(items, reply[2], strict=True)
        if record
    ]
    rows.sort(key=attrgetter("position.number"))
    known, _ = _horizons(reply[3], [channel])
    end = int(reply[1])
    return ItemsPage(reply[0].decode(), 0, end, end, rows, known)


def due(reply: list[t.Any]) -> list[ItemChange]:
    """Unsets of what a deadline's member names."""
    return [_due(member) for member in reply[2]]


def _due(member: bytes) -> ItemChange:
    match = _DEADLINE.match(member)
    assert match is not None
    channel, item = _place(member[match.end() :], int(match[2]))
    return ItemChange(channel, item, None, kind=match[1].decode(), due=True)


def owned(reply: list[t.Any], beginning: str) -> list[tuple[str, str]]:
    """The channels and items that an owner's members name."""
    found = []
    for member in reply[2]:
        _, size, rest = member[len(beginning.encode()) :].split(b":", 2)
        found.append(_place(rest, int(size)))
    return found


def _place(text: bytes, size: int) -> tuple[str, str]:
    return text[:size].decode(), text[size:].decode()


def horizons(
    reply: list[t.Any], channels: cabc.Iterable[str]
) -> tuple[dict[str, int], set[str]]:
    """The horizon of each channel, and the channels that have no row."""
    return _horizons(reply[10], channels)


def _horizons(
    numbers: list[t.Any], channels: cabc.Iterable[str]
) -> tuple[dict[str, int], set[str]]:
    known = dict(zip(channels, map(int, numbers), strict=True))
    without = {name for name, number in known.items() if number < 0}
    return {name: abs(number) for name, number in known.items()}, without


def page(
    reply: list[t.Any], channels: cabc.Sequence[str], after: int | None, limit: int
) -> Page:
    """As :func:`.replies.page`, with items."""
    page = replies.page(reply, channels, after)
    known, _ = horizons(reply, channels)
    reach = min(page.reach, int(reply[9]))
    rows = _entries(reply, channels, page.after, known)
    entries = [entry for entry in _merged(page.entries, rows) if entry.number <= reach]
    entries, reach = take(entries, limit, reach)
    return page._replace(reach=reach, entries=entries, horizons=known)


def all_missed(reply: list[t.Any], channels: cabc.Sequence[str]) -> list[Entry] | None:
    """As :func:`.replies.all_missed`, with items."""
    entries = replies.all_missed(reply, channels)
    if entries is None:
        return None
    known, _ = _horizons(reply[10][: len(channels)], channels)
    return _merged(entries, _entries(reply, channels, int(reply[5]), known))


def _merged(entries: cabc.Iterable[Entry], rows: cabc.Iterable[Entry]) -> list[Entry]:
    return sorted([*entries, *rows], key=attrgetter("number"))


def _entries(
    reply: list[t.Any], channels: cabc.Sequence[str], after: int, known: dict[str, int]
) -> list[Entry]:
    """The rows that were read. Each names the one before it that was read."""
    before = {name: min(horizon, after) for name, horizon in known.items()}
    entries = []
    for i, item, record in zip(*_triples(reply[11]), strict=True):
        name = channels[i - 1]
        (_, number), _, _, type, data = _row(record)
        entries.append(Entry(number, before[name], name, type, data, item=item.decode()))
        before[name] = number
    return entries


def _triples(values: list[t.Any]) -> tuple[list[t.Any], list[t.Any], list[t.Any]]:
    return values[::3], values[1::3], values[2::3]


class Pushed(t.NamedTuple):
    """What is published of the items of a channel."""

    epoch: str
    #: Rows, or none if only the channel's horizon has grown.
    entries: list[Entry]
    horizon: int = 0


def pushed(channel: str, data: bytes) -> Pushed:
    """
    :raises ValueError: If it is no row and no horizon.
    """
    epoch, first, before, rest = data.split(b":", 3)
    if before == b"h":
        return Pushed(epoch.decode(), [], int(rest))
    if not before.startswith(b"i"):
        raise ValueError("It is of no item.")
    number, prev = int(first), int(before[1:])
    size, rest = rest.split(b":", 1)
    end = int(size)
    type, (lengths, rest) = rest[:end].decode(), rest[end:].split(b":", 1)
    pairs = [[int(size) for size in pair.split(b" ")] for pair in lengths.split(b",")]
    entries = []
    at, start = 0, sum(size for size, _ in pairs)
    for size_of_item, size_of_data in pairs:
        item, data = rest[at : at + size_of_item], rest[start : start + size_of_data]
        entries.append(Entry(number, prev, channel, type, data, item=item.decode()))
        at, start = at + size_of_item, start + size_of_data
        number, prev = number + 1, number
    return Pushed(epoch.decode(), entries)
