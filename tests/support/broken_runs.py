"""Brokers that break one promise about runs each, for the tests of the contract."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from flask_push import Event
from flask_push import Position
from flask_push.brokers import Conflict
from flask_push.brokers import ItemChange
from flask_push.brokers import ItemsFull
from flask_push.brokers import ItemsPage
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.memory.item_rows import Row
from flask_push.brokers.memory.items import Items
from flask_push.brokers.runs import FORGET_ROWS
from flask_push.testing import BrokerContract
from flask_push.testing import RunsContract
from support.broken_brokers import OpenMemory
from support.broken_brokers import Trial
from support.broken_items import Keeping


class Contract(OpenMemory, RunsContract, BrokerContract):
    """In the order in which a broker's author inherits them."""


TRIAL = Trial(Contract, AssertionError, Conflict, ItemsFull)
check, find = TRIAL.check, TRIAL.find


# Single rows.


class Finding(MemoryBroker):
    """Returns other pages than it should."""

    def find(self, channel: str, items: cabc.Sequence[str], *, kind: str = "") -> ItemsPage:
        return self.alter(super().find(channel, items, kind=kind))

    def alter(self, page: ItemsPage) -> ItemsPage:
        raise NotImplementedError


class Plain(Finding):
    """Its rows have no version and no owner."""

    def alter(self, page: ItemsPage) -> ItemsPage:
        rows = [row._replace(version=None, owner="") for row in page.rows]
        return page._replace(rows=rows)


class Living(Finding):
    """Leaves out rows that are due."""

    def alter(self, page: ItemsPage) -> ItemsPage:
        due = {(each.channel, each.item) for each in self.due()}
        return page._replace(rows=[r for r in page.rows if (r.channel, r.item) not in due])


class Full(Finding):
    """Finds a hundred rows at most."""

    def alter(self, page: ItemsPage) -> ItemsPage:
        return page._replace(rows=page.rows[:100])


class AsNamed(MemoryBroker):
    """Its rows are in the order of the names."""

    def find(self, channel: str, items: cabc.Sequence[str], *, kind: str = "") -> ItemsPage:
        page = super().find(channel, items, kind=kind)
        found = {row.item: row for row in page.rows}
        return page._replace(rows=[found[item] for item in items if item in found])


# The fence.


class Storing(MemoryBroker):
    """Stores an event for each change."""

    def change(self, changes: cabc.Sequence[Event | ItemChange]) -> list[Position]:
        positions = super().change(changes)
        self._next(self._now())
        return positions


class _OnlyWhatChanges(Items):
    def _check_expectation(self, change: ItemChange, now: int) -> None:
        if not change.due:
            super()._check_expectation(change, now)


class OnlyWhatChanges(Keeping):
    """Checks no expectation of a change that stores nothing."""

    items_of = _OnlyWhatChanges


class _Unexpecting(Items):
    def _check_expectation(self, change: ItemChange, now: int) -> None:
        pass


class Unexpecting(Keeping):
    """Checks no expectation."""

    items_of = _Unexpecting


# Forgetting.


class Unsetting(MemoryBroker):
    """Unsets the rows."""

    def forget(
        self, channel: str, upto: int, *, kind: str, limit: int = FORGET_ROWS
    ) -> bool:
        rows = self.read_items([channel], upto=upto, kind=kind, due=True).rows
        unsets = [
            ItemChange(row.channel, row.item, None, kind=kind) for row in rows[:limit]
        ]
        self.change(unsets)
        return len(rows) > limit


class OfAnyKind(MemoryBroker):
    """Forgets items of an app."""

    def forget(
        self, channel: str, upto: int, *, kind: str, limit: int = FORGET_ROWS
    ) -> bool:
        with self.items() as items:
            return items.forget((kind, channel), upto, limit)


class Forgetting(Keeping):
    def forget(
        self, channel: str, upto: int, *, kind: str, limit: int = FORGET_ROWS
    ) -> bool:
        return super().forget(channel, upto, kind=kind, limit=self.limit(limit))

    def limit(self, limit: int) -> int:
        return limit


class Unlimited(Forgetting):
    def limit(self, limit: int) -> int:
        return 10**6


class _Keeping(Items):
    """Keeps something of rows that it forgets."""

    def forget(self, name: tuple[str, str], upto: int, limit: int) -> bool:
        channel = self._channels.get(name)
        before = [*channel.rows.values()] if channel else []
        horizon, size = (channel.horizon, channel.bytes) if channel else (0, 0)
        more = super().forget(name, upto, limit)
        if channel is not None:
            gone = [row for row in before if row.item not in channel.rows]
            self.keep(name, gone, horizon, size)
        return more

    def keep(self, name: tuple[str, str], gone: list[Row], horizon: int, size: int) -> None:
        raise NotImplementedError


class _KeepingDeadlines(_Keeping):
    def keep(self, name: tuple[str, str], gone: list[Row], *before: int) -> None:
        self._timed.update({row.key: row for row in gone if row.ttl is not None})


class KeepingDeadlines(Keeping):
    items_of = _KeepingDeadlines


class _KeepingHorizons(_Keeping):
    def keep(self, name: tuple[str, str], gone: list[Row], *before: int) -> None:
        self._channels[name].horizon = before[0]


class KeepingHorizons(Keeping):
    """Its horizons do not grow."""

    items_of = _KeepingHorizons


class _KeepingBytes(_Keeping):
    def keep(self, name: tuple[str, str], gone: list[Row], *before: int) -> None:
        self._channels[name].bytes = before[1]


class KeepingBytes(Keeping):
    """What was forgotten counts."""

    items_of = _KeepingBytes


class _Dropping(Items):
    def forget(self, name: tuple[str, str], upto: int, limit: int) -> bool:
        more = super().forget(name, upto, limit)
        channel = self._channels.get(name)
        if channel is not None and not channel.rows:
            del self._channels[name], self._empty[name]
        return more


class Dropping(Keeping):
    """Forgets a channel with its last row, and its horizon."""

    items_of = _Dropping


class _Silent(Items):
    def forget(self, *what: t.Any) -> bool:
        removals = self.removals
        more = super().forget(*what)
        self.removals = removals
        return more


class Silent(Keeping):
    """Its feeds do not give the horizons that have grown."""

    items_of = _Silent


class _Newest(Items):
    def horizons(
        self, names: cabc.Iterable[str], kind: str = ""
    ) -> tuple[dict[str, int], set[str]]:
        numbers, without = super().horizons(names, kind)
        return {name: self._floor for name in numbers}, without


class AtTheFloor(Keeping):
    """The horizon of each channel is that of channels without rows."""

    items_of = _Newest
