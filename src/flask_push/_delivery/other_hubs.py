"""The other hubs of a store that have records, and the rows of those that are dead.

A dead hub can't unset its rows. Another hub marks its record as dead, so that the store
refuses all its writes if it still runs. Then any hub unsets its rows, some at a time, and
at last its record (law 48). Several hubs may do so at once.
"""

from __future__ import annotations

import collections.abc as cabc
import json
import math
import typing as t

from .._event import ItemRow
from .._event import Position
from .presence_plan import BEAT_SECONDS
from .presence_plan import Change
from .presence_plan import fence
from .presence_plan import Found
from .presence_plan import HUBS
from .presence_plan import Plan
from .presence_plan import Step
from .roster import PRESENT

# After so many beats of this hub, a record that has not changed is that of a dead hub.
_LEASE = 6


class Record(t.NamedTuple):
    """Another hub's record."""

    id: str
    version: int = 0
    members: int = 0
    #: For how many seconds browsers are away to which that hub has sent a ``retry``.
    leaving: float = 0
    dead: bool = False
    #: The beats that this hub has stored since the record changed last.
    missed: int = 0

    def is_silent(self) -> bool:
        """Whether its hub is dead, and the record does not say so."""
        beats = _LEASE + math.ceil(self.leaving / BEAT_SECONDS)
        return not self.dead and self.missed >= beats

    @classmethod
    def read(cls, row: ItemRow) -> Record:
        """Read one, of any version. One that can't be read has members."""
        try:
            values = json.loads(row.data)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            values = {"members": 1}
        members, leaving = (values.get(name, 0) for name in ("members", "leaving"))
        return cls(
            *(str(row.position), row.version or 0),
            members if isinstance(members, int) else 1,
            leaving if isinstance(leaving, (int, float)) else 0,
            bool(values.get("dead")),
        )


class OtherHubs:
    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        # The rows that were found of a dead hub.
        self._found: dict[str, cabc.Sequence[ItemRow]] = {}

    def __repr__(self) -> str:
        dead = sum(record.dead for record in self._records.values())
        return f"<OtherHubs [{len(self._records)} hubs, {dead} dead]>"

    @property
    def matter(self) -> bool:
        """Whether one has members or is dead. Otherwise this hub need not look after it:
        two hubs without members would keep each other running."""
        return any(record.members or record.dead for record in self._records.values())

    def take(self, rows: cabc.Iterable[ItemRow], beats: int) -> None:
        """Take all records but this hub's own.

        :param beats: How many beats this hub has stored since it read them before.
        """
        before, self._records = self._records, {}
        for row in rows:
            record = Record.read(row)
            known = before.get(row.item)
            if known is not None and known.id == record.id:
                record = record._replace(missed=known.missed + beats)
            self._records[row.item] = record
        self._found = {
            name: self._found[name] for name in self._found & self._records.keys()
        }

    def count_again(self) -> None:
        """Begin to count beats again, because this hub could not store one in time."""
        for name, record in self._records.items():
            self._records[name] = record._replace(missed=0)

    def find_again(self) -> None:
        """Read the rows of dead hubs again, because the store may have lost what was
        stored last: rows that were unset are perhaps there again."""
        self._found.clear()

    def plan(self, now: float, own: Change) -> Plan | None:
        """What to do next about a dead hub.

        :param own: The fence of this hub's own record.
        """
        for name, record in self._records.items():
            if record.is_silent():
                about = HUBS, HUBS, name, '{"dead":true}'
                dead = Change(*about, version=record.version + 1, expect=record.id)
                return Plan(Step.DEAD, now, [own, dead], owner=name)
            if record.dead:
                return self._sweep(now, own, name, record)
        return None

    def _sweep(self, now: float, own: Change, name: str, record: Record) -> Plan:
        found = self._found.get(name)
        if found is None:
            return Plan(Step.FIND, now, owner=name)
        if not found:
            forget = Change(HUBS, HUBS, name, None, expect=record.id)
            return Plan(Step.FORGET, now, [own, forget], owner=name)
        unsets = [Change(PRESENT, row.channel, row.item, None) for row in found]
        changes = [own, fence(name, record.id), *unsets]
        return Plan(Step.SWEEP, now, changes, owner=name)

    def done(self, plan: Plan, found: Found, positions: cabc.Sequence[Position]) -> None:
        """Take what became of a plan."""
        name = plan.owner
        if plan.step is Step.DEAD and name in self._records:
            version = self._records[name].version + 1
            self._records[name] = Record(str(positions[1]), version, dead=True)
        elif plan.step is Step.FIND:
            self._found[name] = found.rows
        elif plan.step is Step.SWEEP:
            self._found.pop(name, None)
        elif plan.step is Step.FORGET:
            self.forget(name)

    def forget(self, name: str) -> None:
        """Know nothing of a hub, because another process has changed its record."""
        self._records.pop(name, None)
        self._found.pop(name, None)
