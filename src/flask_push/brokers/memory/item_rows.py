"""The rows of items in memory."""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from dataclasses import dataclass
from dataclasses import field

from ..._event import Entry
from ..._event import MAX_NUMBER
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
    key: Key = field(init=False, compare=False)
    #: What it counts among the bytes of its channel's items.
    size: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        self.key = self.kind, self.channel, self.item
        known = self.data is not None
        self.size = row_bytes(self.item, self.type, self.data or b"") if known else 0

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
        about = self.channel, self.type, self.data or b""
        return Entry(self.number, prev, *about, item=self.item)


class Step(t.NamedTuple):
    """What one change stores."""

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

    @property
    def living(self) -> int:
        return len(self.rows) - len(self.tombstones)

    def put(self, row: Row) -> Row | None:
        """Store a row. The one that it supersedes is returned."""
        old = self.rows.pop(row.item, None)
        self.tombstones.pop(row.item, None)
        self.rows[row.item] = row
        if row.data is None:
            self.tombstones[row.item] = None
        self.bytes += row.size - (old.size if old else 0)
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
