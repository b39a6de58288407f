"""A model of a store of items, which judges what a broker does."""

from __future__ import annotations

import collections.abc as cabc
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from math import inf

from .._event import Event
from .._event import Position
from ..brokers import Conflict
from ..brokers import ItemChange
from ..brokers import ItemRow
from ..brokers import ItemsFull
from ..brokers import Retention
from ..brokers.items import bounds
from ..brokers.items import MIN_TOMBSTONES
from ..brokers.items import row_bytes
from ..brokers.items import UNSET

Key = tuple[str, str, str]
Name = tuple[str, str]
Times = tuple[float, float]
#: A row: number, channel, item, type and data.
Shown = tuple[int, str, str, str, bytes]


class Undecided(Exception):
    """A row was perhaps due, and perhaps not, because the call took too long."""


@dataclass(eq=False)
class ModelRow:
    """A row. Its data is ``None`` in a tombstone."""

    change: ItemChange
    data: bytes | None
    version: int | None
    #: It is due from a time between these two.
    deadline: Times = (inf, inf)
    #: Known when it is stored.
    position: Position = Position("", 0)

    @property
    def size(self) -> int:
        change = self.change
        return 0 if self.data is None else row_bytes(change.item, change.type, self.data)

    def living(self) -> ItemRow:
        about = self.change.channel, self.change.item, self.change.type, self.data or b""
        return ItemRow(self.position, *about, self.version, self.change.owner)

    def shown(self) -> Shown:
        type = UNSET if self.data is None else self.change.type
        about = self.position.number, self.change.channel, self.change.item
        return *about, type, self.data or b""


# The row whose position a change returns, or the store's; and whether that is new.
_Outcome = tuple[ModelRow | None, bool]


@dataclass
class ItemModel:
    """All rows of a store, in the order of numbers.

    :param clock: The store's clock, in seconds.
    :param tolerance: Seconds by which it may differ.
    """

    retention: Retention
    clock: cabc.Callable[[], float]
    tolerance: float
    #: The store's last number.
    end: int
    min_tombstones: int = MIN_TOMBSTONES
    #: The horizon of a channel that has lost no tombstone is not above it.
    floor: int = 0
    rows: dict[Key, ModelRow] = field(default_factory=dict)
    #: Of channels that have lost a tombstone.
    horizons: dict[Name, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.floor = self.end

    def change(
        self,
        store: cabc.Callable[[cabc.Sequence[Event | ItemChange]], list[Position]],
        changes: cabc.Sequence[Event | ItemChange],
    ) -> None:
        """Let the store make the changes, and check what it returns.

        :raises Undecided: If the clock does not decide what is right.
        """
        began, error = self.clock(), None
        positions: list[Position] = []
        try:
            positions = store(changes)
        except (Conflict, ItemsFull) as refused:
            error = refused
        when = began - self.tolerance, self.clock() + self.tolerance
        if not all(self._is_expected(change, when) for change in changes):
            assert isinstance(error, Conflict), "an expectation is not met"
            return
        rows = dict(self.rows)
        outcomes = [self._change(rows, change, when) for change in changes]
        if self._is_full(rows):
            assert isinstance(error, ItemsFull), "a channel exceeds its bounds"
            return
        assert error is None, f"it was refused: {error}"
        self._check(outcomes, positions)
        self.rows = dict(sorted(rows.items(), key=lambda row: row[1].position.number))
        stored = {row.change for row, new in outcomes if row is not None and new}
        for name in {(change.kind, change.channel) for change in stored}:
            self._prune(name)

    def living(self, kind: str, *channels: str) -> list[ItemRow]:
        """Those that are not due.

        :raises Undecided: If the clock does not decide what is right.
        """
        now = self.clock()
        when = now - self.tolerance, now + self.tolerance
        return [
            row.living() for row in self._living(kind, channels) if not _is_due(row, when)
        ]

    def living_or_due(self, kind: str, *channels: str) -> list[ItemRow]:
        return [row.living() for row in self._living(kind, channels)]

    def due(self) -> set[Key]:
        """
        :raises Undecided: If the clock does not decide what is right.
        """
        now = self.clock()
        when = now - self.tolerance, now + self.tolerance
        return {key for key, row in self.rows.items() if _is_due(row, when)}

    def after(self, number: int, *channels: str) -> list[Shown]:
        """All rows of channels."""
        shown = [row.shown() for (kind, _, _), row in self.rows.items() if not kind]
        return [row for row in shown if row[0] > number and row[1] in channels]

    def check_horizons(self, given: cabc.Mapping[Name, int]) -> None:
        """Check the horizons that the store has given. They say whether the store has
        removed the last tombstone of a channel, which it may do if that is old."""
        for name, number in given.items():
            self._forget(name, number)
        for name, number in given.items():
            right = self.horizons.get(name)
            if right is None:
                is_right = 0 < number <= self.floor
            else:
                is_right = number == right
            assert is_right, f"the horizon is {number}, not {right or self.floor}"

    def _forget(self, name: Name, given: int) -> None:
        rows = [row for key, row in self.rows.items() if key[:2] == name]
        oldest = self.end - self.retention.age * 1_000_000
        if rows and all(row.data is None for row in rows):
            newest = rows[-1].position.number
            if newest < oldest and newest <= given:
                self.floor = max(self.floor, newest)
                self.horizons.pop(name, None)
                for row in rows:
                    del self.rows[*name, row.change.item]

    # How it decides.

    def _is_expected(self, change: Event | ItemChange, when: Times) -> bool:
        if isinstance(change, Event) or change.expect is None:
            return True
        row = self.rows.get(_key(change))
        living = row is not None and row.data is not None and not _is_due(row, when)
        return change.expect == (str(row.position) if living and row else "")

    def _change(
        self, rows: dict[Key, ModelRow], change: Event | ItemChange, when: Times
    ) -> _Outcome:
        if isinstance(change, Event):
            return None, True
        key, new = _key(change), False
        row = rows.get(key)
        if row is not None and _is_due(row, when):
            row, new = ModelRow(change, None, row.version), True
            rows[key] = row
        if row and row.version is not None and change.version is not None:
            if change.version <= row.version:
                return row, new
        living = row is not None and row.data is not None
        if change.data is None and (not living or change.due):
            return row if new else None, new
        deadline = inf, inf
        if change.ttl is not None:
            deadline = when[0] + change.ttl, when[1] + change.ttl
        data = None if change.data is None else change.data.encode()
        if row and living and change.ttl is not None and _is_same(row, change, data):
            if row is self.rows.get(key):
                # The call may be refused.
                rows[key] = row = replace(row)
            row.deadline = deadline
            return row, False
        rows[key] = ModelRow(change, data, change.version, deadline)
        return rows[key], True

    def _check(self, outcomes: list[_Outcome], positions: list[Position]) -> None:
        for (row, new), position in zip(outcomes, positions, strict=True):
            if new:
                assert position.number > self.end, "it has no number of its own"
                self.end = position.number
                if row is not None:
                    row.position = position
            elif row is not None:
                assert position == row.position, "it is not the row's position"
            else:
                assert position.number == self.end, "it is not the store's position"

    def _is_full(self, rows: dict[Key, ModelRow]) -> bool:
        for name in {key[:2] for key in rows}:
            (count, size), (old_count, old_size) = (
                _total(rows, name),
                _total(self.rows, name),
            )
            most, most_bytes = bounds(name[0], self.retention)
            if count > most and count > old_count:
                return True
            if size > most_bytes and size > old_size:
                return True
        return False

    def _prune(self, name: Name) -> None:
        rows = [row for key, row in self.rows.items() if key[:2] == name]
        tombstones = [row for row in rows if row.data is None]
        most = max(self.min_tombstones, len(rows) - len(tombstones))
        oldest = self.end - self.retention.age * 1_000_000
        for left, row in zip(range(len(tombstones), 0, -1), tombstones, strict=True):
            number = row.position.number
            if row is rows[-1] or not (left > most or number < oldest):
                break
            self.horizons[name] = number
            del self.rows[*name, row.change.item]

    def _living(self, kind: str, channels: cabc.Collection[str]) -> list[ModelRow]:
        return [
            row
            for key, row in self.rows.items()
            if key[0] == kind and key[1] in channels and row.data is not None
        ]


def _key(change: ItemChange) -> Key:
    return change.kind, change.channel, change.item


def _is_due(row: ModelRow, when: Times) -> bool:
    first, last = row.deadline
    if when[1] < first:
        return False
    if when[0] < last:
        raise Undecided
    return True


def _is_same(row: ModelRow, change: ItemChange, data: bytes | None) -> bool:
    new = change.type, data, change.version, change.owner
    return new == (row.change.type, row.data, row.version, row.change.owner)


def _total(rows: dict[Key, ModelRow], name: Name) -> tuple[int, int]:
    found = [row for key, row in rows.items() if key[:2] == name and row.data is not None]
    return len(found), sum(row.size for row in found)
