"""What a hub stores about the users who are present at it (laws 47 to 51).

Each hub with members has a *record*, which it changes every five seconds: a *beat*. It has
a row for each user on a channel, whose name begins with the record's. A hub is dead if
another has stored six beats while its record did not change. No clock of another machine
or of the store matters.

- Each batch expects the hub's record to be as this hub has stored it. So a hub that others
  have marked as dead stores nothing more. It takes another name, and stores everything
  again.
- A hub counts no beats, and no grace ends, while it can't reach the store, or after its
  process was stopped. Another hub at which a user is now may not have stored that yet.
- If it is not certain what is stored, the hub reads its record, stores a beat, reads its
  rows, and only then changes them. After the beat, the store refuses everything that was
  sent before.

This is a machine without I/O: :meth:`HubRecord.plan` says what is to be read and stored
next, and :meth:`HubRecord.answered` takes what became of it.
"""

from __future__ import annotations

import collections.abc as cabc
import json
import typing as t
from itertools import islice
from math import ceil
from math import inf

from .._event import ItemRow
from .._event import Position
from .members import Key
from .members import Members
from .other_hubs import OtherHubs
from .presence_plan import BEAT_SECONDS
from .presence_plan import Change
from .presence_plan import Failure
from .presence_plan import fence
from .presence_plan import Found
from .presence_plan import HUBS
from .presence_plan import MAX_CHANGES
from .presence_plan import OF_ANOTHER
from .presence_plan import Plan
from .presence_plan import RecordState
from .presence_plan import Step
from .roster import PRESENT

# A beat is late so many seconds after the one before it.
_LATE_SECONDS = 7.5


class HubRecord:
    """
    :param new_name: Returns a name that no hub ever had, without a dot.
    """

    def __init__(self, members: Members, new_name: cabc.Callable[[], str]) -> None:
        self._members = members
        self._new_name = new_name
        self._others = OtherHubs()
        self._epoch = ""
        # When the last beat that was due by time was planned, and the last that was stored.
        self._timed = self._good = -inf
        self._leaving_until = -inf
        # Whether all records are read even if this hub has no members; whether the last
        # plan failed; and whether it concerned another hub.
        self._looks = self._failed = self._helped = False
        self._begin()

    def _begin(self) -> None:
        """Begin without a record, under a new name."""
        self.name = self._new_name()
        # The record's id, which is empty if there is none, and the last beat sent.
        self._id, self._beat = "", 0
        # What is stored of this hub.
        self._written: dict[Key, str] = {}
        # What has to be found out next, if that is not certain.
        self._unsure: Step | None = None
        # How many members the stored record has, and until when browsers are away by it.
        self._members_stored, self._leaving_stored = 0, -inf

    def __repr__(self) -> str:
        state = "certain" if self._unsure is None else f"unsure of its {self._unsure.value}"
        if not self._id:
            state = "no record"
        return f"<HubRecord {self.name}: {state}, {len(self._written)} rows>"

    def is_stored(self, now: float) -> bool:
        """Whether the store has all members and no others, as far as is known."""
        return self._unsure is None and not self._missing(self._members.wanted(now))

    @property
    def has_stored_leaving(self) -> bool:
        """Whether the stored record has until when browsers are away."""
        return self._leaving_stored >= self._leaving_until

    def next(self, now: float) -> float | None:
        """When there may be something to do, if nothing happens before. ``None`` if there
        is nothing."""
        times = [end for end in (self._members.next_end,) if end is not None]
        if self._id or self._unsure or times or self._others.matter:
            return max(now, min([*times, self._timed + BEAT_SECONDS]))
        return None

    def look(self) -> None:
        """Read all records, because they may have changed."""
        self._looks = True

    def will_leave(self, until: float) -> None:
        """Put into the record until when browsers are away to which this hub sends a
        ``retry``, so that no other hub marks this one as dead before."""
        if self._members.users:
            self._leaving_until = max(self._leaving_until, until)

    # What is to be done.

    def plan(self, now: float) -> Plan | None:
        """What is to be read and stored next. ``None`` if there is nothing to do now.

        The answer to it comes before the next plan is made.
        """
        self._note_lateness(now)
        if self._unsure is not None:
            return self._find_out(self._unsure, now)
        wanted = self._members.wanted(now)
        if not (self._id or wanted or self._needs_record(now)):
            return Plan(Step.LOOK, now, records=True) if self._looks else None
        missing = self._missing(wanted)
        timed = now >= self._timed + BEAT_SECONDS
        if timed or self._must_beat(missing, now):
            # If the last plan failed, this one tries whether the store can be reached.
            users = {} if self._failed else missing
            return self._plan_beat(Step.BEAT, now, users, len(wanted), timed)
        help = self._others.plan(now, fence(self.name, self._id))
        if missing and (help is None or self._helped):
            self._helped = False
            changes = [fence(self.name, self._id), *_changes(self.name, missing)]
            return Plan(Step.USERS, now, changes, users=missing)
        if help is not None:
            self._helped = True
            return help
        if wanted or self._others.matter or now < self._leaving_until:
            return None
        if self._looks:
            return Plan(Step.LOOK, now, records=True)
        end = Change(HUBS, HUBS, self.name, None, expect=self._id)
        return Plan(Step.END, now, [end])

    def _needs_record(self, now: float) -> bool:
        """Whether others concern a hub without members. A script's hub may end soon."""
        if self._others.matter and self._timed == -inf:
            self._timed = now
        return self._others.matter and now >= self._timed + BEAT_SECONDS

    def _must_beat(self, missing: cabc.Mapping[Key, str | None], now: float) -> bool:
        """Whether a beat is needed before the next one is due."""
        if not self._id or self._failed:
            return True
        if not self._members_stored and missing:
            # Other hubs ignore a record without members.
            return True
        return now < self._leaving_until and not self.has_stored_leaving

    def _find_out(self, what: Step, now: float) -> Plan:
        if what is Step.RECORD:
            return Plan(what, now, records=True)
        if what is Step.ROWS:
            return Plan(what, now, owner=self.name)
        return self._plan_beat(what, now, {}, max(1, self._members_stored), False)

    def _plan_beat(
        self,
        step: Step,
        now: float,
        users: cabc.Mapping[Key, str | None],
        members: int,
        timed: bool,
    ) -> Plan:
        self._beat += 1
        if timed:
            self._timed = now
        data: dict[str, t.Any] = {"beat": self._beat, "members": members}
        if now < self._leaving_until:
            data["leaving"] = ceil(self._leaving_until - now)
        about = HUBS, HUBS, self.name, json.dumps(data, separators=(",", ":"))
        beat = Change(*about, version=self._beat, expect=self._id)
        changes, until = [beat, *_changes(self.name, users)], self._leaving_until
        return Plan(step, now, changes, timed, "", users, timed, members, until)

    def _missing(self, wanted: cabc.Mapping[Key, str]) -> dict[Key, str | None]:
        """What the store does not have yet. Sets come before unsets."""
        missing: dict[Key, str | None] = {
            key: data for key, data in wanted.items() if self._written.get(key) != data
        }
        missing.update((key, None) for key in self._written.keys() - wanted.keys())
        if len(missing) >= MAX_CHANGES:
            return dict(islice(missing.items(), MAX_CHANGES - 1))
        return missing

    # What became of it.

    def answered(
        self,
        plan: Plan,
        found: Found,
        positions: cabc.Sequence[Position],
        failure: Failure | None,
        now: float,
    ) -> None:
        """
        :param positions: Of each change of the plan. Empty if it failed.
        """
        self._failed = failure not in (None, Failure.CONFLICT)
        if failure is None:
            self._done(plan, found, positions)
        elif failure is Failure.CONFLICT:
            if plan.step in OF_ANOTHER:
                self._others.forget(plan.owner)
                self._looks = True
            else:
                self._begin()
        else:
            self._be_patient(now)
            if failure is Failure.UNCERTAIN and plan.step not in OF_ANOTHER:
                self._unsure = Step.RECORD

    def _done(self, plan: Plan, found: Found, positions: cabc.Sequence[Position]) -> None:
        if plan.records:
            self._looks = False
            others = (row for row in found.records if row.item != self.name)
            self._others.take(others, int(plan.timed))
            self._note_epoch(found.epoch)
        if plan.step in OF_ANOTHER:
            self._others.done(plan, found, positions)
        elif plan.step is Step.RECORD:
            self._know(found.records)
        elif plan.step is Step.ROWS:
            self._written = dict(map(_key, found.rows))
            self._unsure = None
        elif plan.step is Step.END:
            self._begin()
            self._timed = self._good = -inf
        elif plan.step is not Step.LOOK:
            self._stored(plan, positions)

    def _stored(self, plan: Plan, positions: cabc.Sequence[Position]) -> None:
        for key, data in plan.users.items():
            if data is None:
                self._written.pop(key, None)
            else:
                self._written[key] = data
        if plan.step is Step.USERS:
            return
        self._id, self._good = str(positions[0]), plan.now
        self._members_stored, self._leaving_stored = plan.members, plan.leaving_until
        if plan.step is Step.CERTAIN:
            self._unsure = Step.ROWS
        self._note_epoch(positions[0].epoch)

    def _know(self, records: cabc.Iterable[ItemRow]) -> None:
        """Find out whether the stored record is the one that this hub has sent."""
        for row in records:
            if row.item == self.name:
                id, values = str(row.position), json.loads(row.data)
                if id == self._id or values.get("beat") == self._beat:
                    self._id, self._unsure = id, Step.CERTAIN
                    return
        self._begin()

    def _note_epoch(self, epoch: str) -> None:
        if self._epoch and epoch != self._epoch:
            # The store may have lost what was stored last.
            self._others.find_again()
            if self._id:
                self._unsure = Step.RECORD
        self._epoch = epoch

    def _note_lateness(self, now: float) -> None:
        if -inf < self._good < now - _LATE_SECONDS:
            self._be_patient(now)

    def _be_patient(self, now: float) -> None:
        self._others.count_again()
        self._members.patient(now)

    # For a successor.

    def state(self, now: float) -> RecordState:
        """Call it before :meth:`.Members.to_rows`."""
        self._note_lateness(now)
        leaving = max(0.0, self._leaving_until - now)
        return RecordState(self.name, self._id, self._beat, round(leaving, 3))

    def take_over(self, state: RecordState, now: float) -> None:
        """Go on with the record of a predecessor."""
        if state.id or state.beat:
            self.name, self._id, self._beat = state[:3]
            self._unsure = Step.RECORD
            self._good = now
        if state.leaving:
            self._leaving_until = now + state.leaving


def _changes(name: str, users: cabc.Mapping[Key, str | None]) -> list[Change]:
    rows = (
        (channel, f"{name}.{user}" if user else name, data)
        for (channel, user), data in users.items()
    )
    return [Change(PRESENT, *row, owner=name) for row in rows]


def _key(row: ItemRow) -> tuple[Key, str]:
    return (row.channel, row.item.partition(".")[2]), row.data.decode()
