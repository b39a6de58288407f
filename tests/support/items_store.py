"""The specification of a store with one log and the items of one channel, kept as simply as
possible."""

from __future__ import annotations

import copy
import typing as t
from dataclasses import dataclass
from dataclasses import field

from flask_push._event import Entry
from flask_push._event import Page
from flask_push._event import Position
from flask_push._event import Proof
from flask_push._event import UNSET
from flask_push.brokers.items import ItemRow
from flask_push.brokers.items import ItemsPage

#: The channel with a log, and the channel with items.
LOG, ITEMS = "log", "items"


class Row(t.NamedTuple):
    number: int
    #: ``None`` if it is a tombstone.
    value: str | None


@dataclass
class Life:
    """What a store has in one epoch."""

    log: list[int] = field(default_factory=list)
    #: The newest event that was trimmed, or the birth.
    since: int = 100
    rows: dict[str, Row] = field(default_factory=dict)
    #: The newest tombstone that was forgotten, or the birth.
    horizon: int = 100
    #: The newest row, and what its successor names as the row before it.
    last: int = 100


class ItemsStore:
    def __init__(self) -> None:
        self.number, self.lives = 100, 0
        self.life = Life()
        #: For each hub, the entries that its feed has not pushed yet.
        self.queues: list[list[Entry]] = []
        self._begin()

    def _begin(self) -> None:
        self.lives += 1
        self.epoch = f"e{self.lives:04}"
        #: Everything that the log had in this epoch, by which readers judge.
        self.ever: list[int] = []
        #: The items as they were at each number of the epoch.
        self.states: dict[int, dict[str, str]] = {}
        self._snapshots: list[tuple[int, Life]] = []
        self._note()

    def truth(self) -> dict[str, str]:
        rows = self.life.rows.items()
        return {item: row.value for item, row in rows if row.value is not None}

    def publish(self) -> None:
        self.number += 1
        prev = self.life.log[-1] if self.life.log else self.life.since
        self.life.log.append(self.number)
        self.ever.append(self.number)
        self._push(self._event(self.number, prev))

    def store(self, item: str, value: str | None) -> None:
        row = self.life.rows.get(item)
        if value is None and (row is None or row.value is None):
            return
        self.number += 1
        prev, self.life.last = self.life.last, self.number
        self.life.rows.pop(item, None)
        self.life.rows[item] = Row(self.number, value)
        self._push(self._row(item, self.life.rows[item], prev))

    def elsewhere(self) -> None:
        self.number += 1
        self._note()

    def trim(self, count: int) -> None:
        for number in self.life.log[:count]:
            self.life.since = number
        del self.life.log[:count]

    def forget(self, count: int) -> None:
        """Forget the oldest tombstones, but not the newest row."""
        tombs = [(row.number, i) for i, row in self.life.rows.items() if row.value is None]
        for number, item in sorted(tombs)[:count]:
            if number != self.life.last:
                del self.life.rows[item]
                self.life.horizon = max(self.life.horizon, number)

    def fail_over(self, lost: int) -> None:
        """Begin a new epoch, without the last changes."""
        number, life = self._snapshots[max(0, len(self._snapshots) - 1 - lost)]
        self.number, self.life = number, copy.deepcopy(life)
        for queue in self.queues:
            queue.clear()
        self._begin()

    def _note(self) -> None:
        self.states[self.number] = self.truth()
        self._snapshots.append((self.number, copy.deepcopy(self.life)))

    def _push(self, entry: Entry) -> None:
        for queue in self.queues:
            queue.append(entry)
        self._note()

    @staticmethod
    def _event(number: int, prev: int) -> Entry:
        return Entry(number, prev, LOG, "message", b"%d" % number)

    @staticmethod
    def _row(item: str, row: Row, prev: int) -> Entry:
        type, data = ("message", row.value) if row.value is not None else (UNSET, "")
        return Entry(row.number, prev, ITEMS, type, data.encode(), item=item)

    def horizons(self) -> dict[str, int]:
        return {LOG: 100, ITEMS: self.life.horizon}

    def without(self) -> set[str]:
        return {LOG} if self.life.rows else {LOG, ITEMS}

    def page(self, names: t.Collection[str], after: int, limit: int) -> Page:
        life = self.life
        entries = []
        if LOG in names:
            prevs = [life.since, *life.log]
            entries += [self._event(*pair) for pair in zip(life.log, prevs, strict=False)]
        if ITEMS in names:
            # A row that is read names the row before it in what is read (law 25).
            prev = min(life.horizon, after)
            for item, row in life.rows.items():
                if row.number > after:
                    entries.append(self._row(item, row, prev))
                    prev = row.number
        entries = sorted(entry for entry in entries if entry.number > after)
        reach = self.number if len(entries) <= limit else entries[limit - 1].number
        horizons = {name: self.horizons()[name] for name in names}
        proofs = {LOG: Proof(life.since), ITEMS: Proof(100)}
        proofs = {name: proofs[name] for name in names}
        return Page(
            self.epoch, after, reach, self.number, entries[:limit], proofs, horizons
        )

    def items_page(
        self, names: t.Collection[str], after: int, upto: int, limit: int
    ) -> ItemsPage:
        rows = [
            ItemRow(
                Position(self.epoch, row.number), ITEMS, i, "message", row.value.encode()
            )
            for i, row in self.life.rows.items()
            if ITEMS in names and row.value is not None and after < row.number <= upto
        ]
        reach = min(self.number, upto) if len(rows) <= limit else rows[limit - 1].number
        horizons = {name: self.horizons()[name] for name in names}
        return ItemsPage(self.epoch, after, reach, self.number, rows[:limit], horizons)
