"""What a hub reads and stores for presence, and hands on, as plain values."""

from __future__ import annotations

import collections.abc as cabc
import enum
import math
import typing as t

from .._event import ItemRow
from .members import Key

#: The kind of the records of hubs, and the one channel on which they all are.
HUBS = "hubs"
#: Seconds between two beats.
BEAT_SECONDS = 5.0
#: How many changes are stored together at most.
MAX_CHANGES = 500


class Change(t.NamedTuple):
    """An item of one of the two kinds is set or unset."""

    kind: str
    channel: str
    item: str
    data: str | None
    owner: str = ""
    version: int | None = None
    #: The id of the living row that is expected; empty if there must be none.
    expect: str | None = None


def fence(name: str, id: str) -> Change:
    """Changes nothing, because a record has a greater version. But it expects the record,
    so nothing is stored with it if another process has changed the record."""
    return Change(HUBS, HUBS, name, None, version=0, expect=id)


class Step(enum.Enum):
    """What a plan is for."""

    #: Read all records, because another hub may be dead.
    LOOK = "look"
    #: Find out what is stored: read the record, store a beat, read the rows.
    RECORD = "record"
    CERTAIN = "certain"
    ROWS = "rows"
    #: Store a beat; or only users.
    BEAT = "beat"
    USERS = "users"
    #: Unset the hub's own record, because the hub has no members.
    END = "end"
    #: Mark another hub as dead; read its rows; unset them; and unset its record.
    DEAD = "dead"
    FIND = "find"
    SWEEP = "sweep"
    FORGET = "forget"


#: The steps that concern another hub. If one fails, this hub's own rows are as before.
OF_ANOTHER = Step.DEAD, Step.FIND, Step.SWEEP, Step.FORGET


class Plan(t.NamedTuple):
    step: Step
    #: When it was made.
    now: float
    #: What is stored in this order, after all has been read.
    changes: cabc.Sequence[Change] = ()
    #: Whether the records of all hubs are read.
    records: bool = False
    #: The hub that is concerned. Its rows are read if the step is ``ROWS`` or ``FIND``.
    owner: str = ""
    #: The users whose rows are set or unset, with the new data.
    users: cabc.Mapping[Key, str | None] = {}
    #: Of a beat: whether it was due by time.
    timed: bool = False
    #: Of a beat: how many members the record has from then on.
    members: int = 0
    #: Of a beat: until when browsers are away, by the record.
    leaving_until: float = -math.inf


class Found(t.NamedTuple):
    """What was read for a plan."""

    epoch: str = ""
    records: cabc.Sequence[ItemRow] = ()
    rows: cabc.Sequence[ItemRow] = ()


class Failure(enum.Enum):
    """Why a plan failed."""

    #: Nothing was stored, because an expectation was not met.
    CONFLICT = "conflict"
    #: It is not known whether it was stored.
    UNCERTAIN = "uncertain"
    #: Nothing was stored.
    FAILED = "failed"


class RecordState(t.NamedTuple):
    """A record that a successor goes on with."""

    name: str
    #: Empty if there is no record.
    id: str
    #: The last one that was sent to the store.
    beat: int
    #: For how many seconds more browsers are away.
    leaving: float = 0


class PresenceState(t.NamedTuple):
    """Everything about presence that a successor needs."""

    record: RecordState
    #: See :meth:`.Members.to_rows`.
    members: list[list[t.Any]]
