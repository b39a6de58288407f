"""The rows of items in memory."""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from dataclasses import dataclass
from dataclasses import field
from itertools import islice
from itertools import takewhile

from ..._event import Entry
from ..._event import MAX_NUMBER
from ..._event import OwnChannel
from ..._event import Position
from ..items import ItemRow
from ..items import MIN_TOMBSTONES
from ..items import row_bytes
from ..items import UNSET

#: Kind, channel and item.
Key = tuple[str, str, str]


@dataclass(slots=True)
class Row:
    """The newest set of an item, or its tombstone."""

    kind: str
    channel: str
    item: str
    type: str
    #: ``None`` in a tombstone.
    data: bytes | None
    version: int | None = None
    owner: str = ""
    ttl: float | None = None
    #: The number from which on it is due.
    deadline: int = MAX_NUMBER
    #: Known when it is stored.
    position: Position = Position("", 0)
    #: What it counts among the bytes of its channel's items.
    size: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        known = self.data is not None
        self.size = row_bytes(self.item, self.type, self.data or b"") if known else 0

    @property
    def key(self) -> Key:
        return self.kind, self.channel, self.item

    @property
    def name(self) -> str:
        """The name by which feeds watch its channel."""
        return OwnChannel.of(self.kind, self.channel)

    @property
    def number(self) -> int:
        return self.position.number

    def unset(self, version: int | None) -> Row:
        return Row(self.kind, self.channel, self.item, UNSET, None, version)

    def begin(self, now: int) -> None:
        """Its time to live begins now."""
        if self.ttl is not None:
            self.deadline = now + round(self.ttl * 1_000_000)

    def living(self) -> ItemRow:
        about = self.channel, self.item, self.type, self.data or b""
        return ItemRow(self.position, *about, self.version, self.owner)

    def entry(self, prev: int) -> Entry:
        about = self.name, self.type, self.data or b""
        return Entry(self.number, prev, *about, item=self.item)


class Step(t.NamedTuple):
    """What one change stores, if it is not one row whose position is returned."""

    rows: list[Row]
    #: The row whose position is returned. The store's is returned if there is none.
    result: Row | None
    #: The result has a deadline from now on.
    ttl: float | None = None


class ChannelItems:
    """The rows of a channel, in the order of numbers."""

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon
        self.rows: dict[str, Row] = {}
        self.tombstones: dict[str, None] = {}
        self.bytes = 0
        #: The number of the newest row that it has had.
        self.newest = horizon

    @property
    def living(self) -> int:
        return len(self.rows) - len(self.tombstones)

    def put(self, row: Row) -> Row | None:
        """Store a row. The one that it supersedes is returned."""
        item, rows = row.item, self.rows
        old = rows.pop(item, None)
        rows[item] = row
        self.bytes += row.size
        self.newest = row.number
        if old is not None:
            self.bytes -= old.size
            if old.data is None:
                del self.tombstones[item]
        if row.data is None:
            self.tombstones[item] = None
        return old

    def prune(self, oldest: int) -> cabc.Iterator[Row]:
        """Remove tombstones that are too many, or older than a number.

        The newest row stays, because it was stored just now.
        """
        most = max(MIN_TOMBSTONES, self.living)
        while self.tombstones:
            row = self.rows[next(iter(self.tombstones))]
            if len(self.tombstones) <= most and row.number >= oldest:
                break
            del self.rows[row.item], self.tombstones[row.item]
            self.horizon = row.number
            yield row

    def forget(self, upto: int, limit: int) -> list[Row]:
        """Remove the oldest rows, so many at most, up to a number."""
        oldest = takewhile(lambda row: row.number <= upto, self.rows.values())
        rows = [*islice(oldest, limit)]
        for row in rows:
            del self.rows[row.item]
            self.tombstones.pop(row.item, None)
            self.bytes -= row.size
            self.horizon = row.number
        return rows


class Plan:
    """The rows that a call will store in a channel.

    :param channel: Nothing if it has no row yet.
    """

    def __init__(self, channel: ChannelItems | None) -> None:
        self._stored = channel.rows if channel else {}
        self.rows: dict[str, Row] = {}
        #: How many living rows the channel has before the call, and their bytes.
        self.before = (channel.living, channel.bytes) if channel else (0, 0)
        #: How many it has with those that are planned.
        self.living, self.bytes = self.before

    def row(self, item: str) -> Row | None:
        """The item's row, with what is planned."""
        return self.rows.get(item) or self._stored.get(item)

    def add(self, row: Row, old: Row | None) -> Row:
        """
        :param old: The row that it supersedes.
        """
        self.rows[row.item] = row
        self.bytes += row.size
        if row.data is not None:
            self.living += 1
        if old is not None:
            self.bytes -= old.size
            if old.data is not None:
                self.living -= 1
        return row
