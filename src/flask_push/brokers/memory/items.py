"""Items in memory: one row for each, and the horizons of their channels.

A call is planned before anything is stored, because it may be refused: :meth:`Items.plan`
decides what each change stores, and :meth:`Items.apply` stores it.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from dataclasses import replace
from itertools import islice
from itertools import takewhile

from ..._event import Entry
from ..._event import Event
from ..._event import OwnChannel
from ..._event import Position
from .._items import check_bounds
from .._items import check_expectation
from ..base import Retention
from ..items import check_change
from ..items import ItemChange
from ..items import ItemRow
from .item_rows import ChannelItems
from .item_rows import Key
from .item_rows import Plan
from .item_rows import Row
from .item_rows import Step


class Call(t.NamedTuple):
    """What a call stores."""

    #: Of each change: one row, more than that, or nothing for an event.
    steps: list[Row | Step | None]
    #: By kind and channel.
    plans: dict[tuple[str, str], Plan]


class Items:
    """All items of a store.

    :param birth: The number since which it has every row.
    """

    def __init__(self, retention: Retention, birth: int) -> None:
        self._retention = retention
        #: Grows when a horizon does.
        self.removals = 0
        # The horizon of a channel without a row.
        self._floor = birth
        self._channels: dict[tuple[str, str], ChannelItems] = {}
        # Those that have nothing but tombstones, in the order of their newest one.
        self._empty: dict[tuple[str, str], ChannelItems] = {}
        # All rows, by number and in order; and those that have a deadline.
        self._log: dict[int, Row] = {}
        self._timed: dict[Key, Row] = {}

    @property
    def is_timed(self) -> bool:
        """Whether a living row has a time to live."""
        return bool(self._timed)

    # Changing.

    def plan(self, changes: cabc.Sequence[Event | ItemChange], now: int) -> Call:
        """What the changes of a call store.

        :raises Conflict: If an expectation is not met.
        :raises ItemsFull: If a channel would exceed its bounds.
        """
        for change in changes:
            if not isinstance(change, ItemChange):
                # It fails if this can't be stored.
                change.data.encode()
            else:
                check_change(change)
                if change.expect is not None:
                    self._check_expectation(change, now)
        call = Call([], {})
        for change in changes:
            step = self._step(change, call, now) if isinstance(change, ItemChange) else None
            call.steps.append(step)
        for (kind, name), plan in call.plans.items():
            if plan.living > plan.before[0] or plan.bytes > plan.before[1]:
                after = plan.living, plan.bytes
                check_bounds(kind, name, self._retention, plan.before, after)
        return call

    def apply(
        self, step: Row | Step, now: int, position: cabc.Callable[[int], Position]
    ) -> Position | None:
        """
        :param position: Gives the next one, of now or later.
        :return: Nothing if it is the store's position.
        """
        if isinstance(step, Row):
            step.position = position(now)
            self._put(step)
            return step.position
        for row in step.rows:
            row.position = position(now)
            self._put(row)
        if step.result is None:
            return None
        if step.ttl is not None:
            step.result.ttl = step.ttl
            step.result.begin(now)
            self._timed[step.result.key] = step.result
        return step.result.position

    def prune(self, call: Call, last: int) -> None:
        """Remove the tombstones that the channels of a call no longer keep."""
        oldest = last - round(self._retention.age * 1_000_000)
        for name, plan in call.plans.items():
            if plan.rows and self._channels[name].tombstones:
                for row in self._channels[name].prune(oldest):
                    self._log.pop(row.number, None)
                    self.removals += 1
        while self._empty:
            name, channel = next(iter(self._empty.items()))
            if channel.newest >= oldest:
                break
            for row in channel.rows.values():
                self._log.pop(row.number, None)
            self._floor = max(self._floor, channel.newest)
            self.removals += 1
            del self._empty[name], self._channels[name]

    def forget(self, name: tuple[str, str], upto: int, limit: int) -> bool:
        """As :meth:`.KeepsRuns.forget`.

        :param name: The kind and the channel.
        """
        channel = self._channels.get(name)
        gone = channel.forget(upto, limit) if channel else []
        for row in gone:
            self._log.pop(row.number, None)
            self._timed.pop(row.key, None)
        if channel is None or not gone:
            return False
        self.removals += 1
        if not channel.living:
            self._empty.setdefault(name, channel)
        return any(row.number <= upto for row in islice(channel.rows.values(), 1))

    def find(self, name: str, kind: str, items: cabc.Iterable[str]) -> list[ItemRow]:
        """The living rows of these items."""
        found = [self._row((kind, name, item)) for item in dict.fromkeys(items)]
        rows = [row.living() for row in found if row is not None and row.data is not None]
        return sorted(rows, key=lambda row: row.number)

    def _step(self, change: ItemChange, call: Call, now: int) -> Row | Step:
        channel, item, text, type, ttl, version, kind, owner, *_ = change
        name = kind, channel
        plan = call.plans.get(name)
        if plan is None:
            plan = call.plans[name] = Plan(self._channels.get(name))
        row, rows = plan.row(item), []
        if row is not None and row.deadline <= now:
            row = plan.add(row.unset(row.version), row)
            rows.append(row)
        data = None if text is None else text.encode()
        if row is not None and _is_older(version, row.version):
            return Step(rows, row)
        if data is None and (row is None or row.data is None or change.due):
            return Step(rows, rows[0] if rows else None)
        if data is None:
            assert row is not None
            new = row.unset(version)
        else:
            new = Row(kind, channel, item, type, data, version, owner, ttl)
            if ttl is not None and row is not None and _is_same(new, row):
                return Step(rows, row, ttl)
        plan.add(new, row)
        return Step([*rows, new], new) if rows else new

    def _check_expectation(self, change: ItemChange, now: int) -> None:
        row = self._row((change.kind, change.channel, change.item))
        living = row if row and row.data is not None and row.deadline > now else None
        found = str(living.position) if living else ""
        check_expectation(change, found)

    def _row(self, key: Key) -> Row | None:
        channel = self._channels.get(key[:2])
        return channel.rows.get(key[2]) if channel else None

    def _put(self, row: Row) -> None:
        name = row.kind, row.channel
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = ChannelItems(self._floor)
        old = channel.put(row)
        if old is not None:
            self._log.pop(old.position.number, None)
            if old.ttl is not None:
                self._timed.pop(row.key, None)
        number = row.position.number
        self._log[number] = row
        if row.ttl is not None:
            row.begin(number)
            self._timed[row.key] = row
        if self._empty:
            self._empty.pop(name, None)
        if len(channel.rows) == len(channel.tombstones):
            self._empty[name] = channel

    # Reading.

    def living(
        self, names: cabc.Iterable[str], kind: str, after: int, now: int
    ) -> list[ItemRow]:
        """Living rows after a number that are not due at another."""
        rows = [row for name in names for row in self._after((kind, name), after)]
        found = [
            row.living() for row in rows if row.data is not None and row.deadline > now
        ]
        return sorted(found, key=lambda row: row.number)

    def entries(self, name: str, after: int) -> list[Entry]:
        """All rows of a channel after a number."""
        prev, entries = min(self._horizon(name), after), []
        for row in self._after(("", name), after):
            entries.append(row.entry(prev))
            prev = row.number
        return entries

    def unread(self, after: int, upto: int) -> dict[str, list[Entry]]:
        """The rows after a number and up to another, by the names of their channels."""
        found: dict[str, list[Entry]] = {}
        newest = takewhile(lambda row: row.number > after, reversed(self._log.values()))
        for row in [*newest][::-1]:
            if row.number > upto:
                break
            entries = found.setdefault(name := row.name, [])
            prev = entries[-1].number if entries else min(self._horizon(name), after)
            entries.append(row.entry(prev))
        return found

    def horizons(
        self, names: cabc.Iterable[str], kind: str = ""
    ) -> tuple[dict[str, int], set[str]]:
        """Those of channels, and the channels that have no row.

        :param kind: Of channels that are not named by an :class:`.OwnChannel`.
        """
        numbers = {name: self._horizon(name, kind) for name in names}
        return numbers, {n for n in numbers if _home(n, kind) not in self._channels}

    def _horizon(self, name: str, kind: str = "") -> int:
        channel = self._channels.get(_home(name, kind))
        return channel.horizon if channel else self._floor

    def due(self, now: int, limit: int) -> list[ItemChange]:
        rows = [row for row in self._timed.values() if row.deadline <= now][:limit]
        return [
            ItemChange(row.channel, row.item, None, kind=row.kind, due=True) for row in rows
        ]

    def owned(self, owner: str, kind: str, limit: int) -> list[ItemRow]:
        rows = [
            row.living()
            for (each, _), channel in self._channels.items()
            for row in channel.rows.values()
            if each == kind and row.owner == owner and row.data is not None
        ]
        return sorted(rows, key=lambda row: row.number)[:limit]

    def _after(self, name: tuple[str, str], after: int) -> list[Row]:
        channel = self._channels.get(name)
        rows = reversed(channel.rows.values()) if channel else ()
        return [*takewhile(lambda row: row.number > after, rows)][::-1]


def _home(name: str, kind: str = "") -> tuple[str, str]:
    """The kind and the channel."""
    return OwnChannel.parts(name) if isinstance(name, OwnChannel) else (kind, name)


def _is_older(version: int | None, stored: int | None) -> bool:
    return version is not None and stored is not None and version <= stored


def _is_same(new: Row, row: Row) -> bool:
    """Whether a set changes nothing but the deadline."""
    same = replace(new, ttl=row.ttl, deadline=row.deadline, position=row.position)
    return same == row
