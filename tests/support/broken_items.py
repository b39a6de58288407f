"""Brokers whose items break one promise each, for the tests of the contract."""

from __future__ import annotations

import collections.abc as cabc
import dataclasses
import threading
import typing as t

from flask_push import Event
from flask_push import Position
from flask_push.brokers import Conflict
from flask_push.brokers import ItemChange
from flask_push.brokers import ItemRow
from flask_push.brokers import ItemsPage
from flask_push.brokers import Page
from flask_push.brokers import Retention
from flask_push.brokers.items import check_change
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.memory.item_rows import Row
from flask_push.brokers.memory.item_rows import Step
from flask_push.brokers.memory.items import Call
from flask_push.brokers.memory.items import Items
from flask_push.testing import BrokerContract
from flask_push.testing import ItemsContract
from support.broken_brokers import OpenMemory
from support.broken_brokers import Trial
from support.failing import Store

Changes = cabc.Sequence[Event | ItemChange]


class Contract(OpenMemory, ItemsContract, BrokerContract):
    """In the order in which a broker's author inherits them."""

    def begin_again(self) -> bool:
        assert self._opened is not None
        Store.begin_again(self._opened)
        return True

    begin_again_with_rows = begin_again


TRIAL = Trial(Contract, AssertionError, Conflict)
check, find = TRIAL.check, TRIAL.find


class Changing(MemoryBroker):
    """Makes other changes than it should."""

    def change(self, changes: Changes) -> list[Position]:
        altered = [
            self.alter(each) if isinstance(each, ItemChange) else each for each in changes
        ]
        return super().change(altered)

    def alter(self, change: ItemChange) -> ItemChange:
        raise NotImplementedError


class Keeping(MemoryBroker):
    """Has a store of items that breaks a rule."""

    items_of: type[Items] = Items
    #: What its items keep otherwise than the rest of the store.
    limits: t.ClassVar[dict[str, t.Any]] = {}

    def _begin(self) -> None:
        super()._begin()
        retention = dataclasses.replace(self._retention, **self.limits)
        self._items = self.items_of(retention, self._birth)


# Rows.


class Reversing(MemoryBroker):
    def change(self, changes: Changes) -> list[Position]:
        return super().change(changes[::-1])[::-1]


class Normalizing(Changing):
    def alter(self, change: ItemChange) -> ItemChange:
        return change._replace(data=change.data and change.data.replace("\r\n", "\n"))


class _Deleting(Items):
    def prune(self, call: Call, last: int) -> None:
        super().prune(call, last)
        for channel in self._channels.values():
            for item in [*channel.tombstones]:
                self._log.pop(channel.rows.pop(item).number, None)
            channel.tombstones.clear()


class Deleting(Keeping):
    """Its items have no tombstones."""

    items_of = _Deleting


class UnsettingAll(MemoryBroker):
    """An unset of an absent item is an event."""

    def change(self, changes: Changes) -> list[Position]:
        positions = super().change(changes)
        if all(isinstance(each, ItemChange) and each.data is None for each in changes):
            self._next(self._now())
            return [Position(self._epoch, self._last) for _ in changes]
        return positions


class Versionless(Changing):
    def alter(self, change: ItemChange) -> ItemChange:
        return change._replace(version=None)


class FloatVersions(Changing):
    """Compares versions as Lua does."""

    def alter(self, change: ItemChange) -> ItemChange:
        if change.version is None or change.version == 2**63 - 1:
            return change
        return change._replace(version=min(int(float(change.version)), 2**63 - 1))


class Nonatomic(MemoryBroker):
    def change(self, changes: Changes) -> list[Position]:
        return [super(Nonatomic, self).change([change])[0] for change in changes]


class AsEvents(MemoryBroker):
    """All pages have items."""

    def read(self, channels: cabc.Collection[str], **where: t.Any) -> Page:
        return super().read(channels, **{**where, "items": True})


class OneKind(Changing):
    def alter(self, change: ItemChange) -> ItemChange:
        return change._replace(kind="")

    def read_items(self, channels: cabc.Collection[str], **where: t.Any) -> ItemsPage:
        return super().read_items(channels, **{**where, "kind": ""})


class Unchecked(MemoryBroker):
    """Leaves out changes that can't be."""

    def change(self, changes: Changes) -> list[Position]:
        good = []
        for change in changes:
            try:
                if isinstance(change, ItemChange):
                    check_change(change)
                good.append(change)
            except ValueError:
                pass
        return super().change(good)


# Conditions and time.


class NumbersAlone(Changing):
    """An expectation of a number holds in any epoch."""

    def alter(self, change: ItemChange) -> ItemChange:
        row = self._items._row((change.kind, change.channel, change.item))
        if row is None or not change.expect:
            return change
        if Position.parse(change.expect).number == row.number:
            return change._replace(expect=str(row.position))
        return change


class _ExpectingNothing(Items):
    def _check_expectation(self, change: ItemChange, now: int) -> None:
        pass


class ExpectingNothing(Keeping):
    items_of = _ExpectingNothing


class Undying(Changing):
    """Its items have no time to live."""

    def alter(self, change: ItemChange) -> ItemChange:
        return change._replace(ttl=None)


class _Lazy(Items):
    def plan(self, changes: Changes, now: int) -> Call:
        # Nothing is due then, except what is unset because it is.
        due = all(isinstance(each, ItemChange) and each.due for each in changes)
        return super().plan(changes, now if due else 0)


class Lazy(Keeping):
    """Rows that are due live until they are unset."""

    items_of = _Lazy


class _Restless(Items):
    def _step(self, change: ItemChange, call: Call, now: int) -> Row | Step:
        step = super()._step(change, call, now)
        if isinstance(step, Row) or step.ttl is None or step.result is None:
            return step
        again = dataclasses.replace(step.result, ttl=step.ttl)
        return call.plans[change.kind, change.channel].add(again, step.result)


class Restless(Keeping):
    """The same again is an event."""

    items_of = _Restless


class _Sweeping(Items):
    def _step(self, change: ItemChange, call: Call, now: int) -> Row | Step:
        return super()._step(change._replace(due=False), call, now)


class Sweeping(Keeping):
    """Unsets rows that are no longer due."""

    items_of = _Sweeping


class _SameDeadline(Items):
    def _put(self, row: Row) -> None:
        old = self._timed.get(row.key)
        super()._put(row)
        if old is not None and row.data is not None:
            row.deadline, row.ttl = old.deadline, old.ttl
            self._timed[row.key] = row


class SameDeadline(Keeping):
    """Another value leaves the deadline as it is."""

    items_of = _SameDeadline


class AllAtOnce(MemoryBroker):
    def due(self, limit: int = 500) -> list[ItemChange]:
        return super().due(10**9)


class OneChannel(MemoryBroker):
    """Finds the rows of an owner in one channel."""

    def owned(self, owner: str, *, kind: str, limit: int = 500) -> list[ItemRow]:
        rows = super().owned(owner, kind=kind, limit=limit)
        return [row for row in rows if row.channel == rows[0].channel]


# Bounds.


class AllItems(Keeping):
    limits = {"items": 10**9}


class AllBytes(Keeping):
    limits = {"item_bytes": 10**9}


class _Aging(Items):
    def prune(self, call: Call, last: int) -> None:
        super().prune(call, last)
        oldest = last - round(self._retention.age * 1_000_000)
        for channel in self._channels.values():
            for row in [row for row in channel.rows.values() if row.number < oldest]:
                del channel.rows[row.item]


class Aging(Keeping):
    """Items are as old as events can be."""

    items_of = _Aging


class _Hoarding(Items):
    def prune(self, call: Call, last: int) -> None:
        pass


class Hoarding(Keeping):
    """Keeps all tombstones."""

    items_of = _Hoarding


class _Few(Items):
    most = 1000

    def prune(self, call: Call, last: int) -> None:
        super().prune(call, last)
        for channel in self._channels.values():
            while len(channel.tombstones) > self.most:
                row = channel.rows.pop(next(iter(channel.tombstones)))
                del channel.tombstones[row.item]
                self._log.pop(row.number, None)
                channel.horizon = row.number


class Few(Keeping):
    """Keeps as many tombstones of a channel with many items."""

    items_of = _Few


class _Removing(_Few):
    most = 0


class Removing(Keeping):
    """Removes the newest row, too."""

    items_of = _Removing


class ForEver(Keeping):
    """Its tombstones are never old."""

    limits = {"age": 10**9}


class _Complete(Items):
    def horizons(
        self, names: cabc.Iterable[str], kind: str = ""
    ) -> tuple[dict[str, int], set[str]]:
        numbers, without = super().horizons(names, kind)
        return dict.fromkeys(numbers, 1), without


class Complete(Keeping):
    """Says that it has all tombstones."""

    items_of = _Complete


# Pages.


class WithoutEnd(MemoryBroker):
    def read_items(self, channels: cabc.Collection[str], **where: t.Any) -> ItemsPage:
        return super().read_items(channels, **{**where, "upto": None})


class Reaching(MemoryBroker):
    def read_items(self, channels: cabc.Collection[str], **where: t.Any) -> ItemsPage:
        page = super().read_items(channels, **where)
        return page._replace(reach=page.end)


class ItemsLast(MemoryBroker):
    """A page has first the events, and then the items."""

    def read(self, channels: cabc.Collection[str], **where: t.Any) -> Page:
        page = super().read(channels, **where)
        return page._replace(entries=sorted(page.entries, key=lambda e: bool(e.item)))


class Claiming(MemoryBroker):
    """A row that was read names the number before its own."""

    def read(self, channels: cabc.Collection[str], **where: t.Any) -> Page:
        page = super().read(channels, **where)
        entries = [e._replace(prev=e.number - 1) if e.item else e for e in page.entries]
        return page._replace(entries=entries)


# Processes.


class OneThread(MemoryBroker):
    """Changes of other threads are lost."""

    def change(self, changes: Changes) -> list[Position]:
        if threading.current_thread() is threading.main_thread():
            return super().change(changes)
        return [Position("abcde", self._last + n) for n in range(len(changes))]


class Forgetting(MemoryBroker):
    """It loses the items when it is closed."""

    def close(self) -> None:
        self._items = Items(Retention(), self._birth)
