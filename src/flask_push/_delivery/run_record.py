"""The record of a channel's runs, and how it changes.

There is one record for each channel. It describes the newest run, and the two before. Each
transition is one transaction: it expects the record as it was read, and stores another one,
an event that says the new status, and all else that depends on it (laws R43 and R46). So if
two processes change the record, one of them has to read it again.

The record comes first in its transaction. So its number is before all events of an attempt
that it begins, and behind all events of one that it ends: only the event that says so comes
after it.
"""

from __future__ import annotations

import collections.abc as cabc
import enum
import json
import typing as t

from .._event import Position
from .run_rows import Change
from .run_rows import ENDED
from .run_rows import KEYS
from .run_rows import NOW
from .run_rows import QUEUED
from .run_rows import RUN
from .run_rows import STATUS
from .run_rows import tag_of
from .run_rows import transition
from .run_rows import WAITS
from .wire import to_json

Status: t.TypeAlias = t.Literal[
    "queued", "running", "stopping", "done", "failed", "stopped", "lost"
]
ACTIVE: tuple[Status, ...] = ("queued", "running", "stopping")
#: After these, a run can't begin again.
FINAL: tuple[Status, ...] = ("done", "stopped")

#: Seconds for which the holder of a run that is stopped may still save something.
STOPPING_SECONDS = 10.0
#: Seconds for which a run that has ended stays an item of its list.
LISTED_SECONDS = 86400.0
# How many runs before the newest one a record has.
_MOST_PAST = 2


class Refusal(enum.Enum):
    """Why there is no transition."""

    #: Another run is active, or another process holds this one.
    BUSY = "busy"
    #: The run has ended, and can't begin again.
    OVER = "over"


class PastRun(t.NamedTuple):
    """An older run, which has ended."""

    serial: int
    run: str
    key: str
    status: Status
    attempt: int
    #: All of its newest attempt lies between these two numbers.
    first: int
    last: int


class Record(t.NamedTuple):
    """A channel's newest run."""

    serial: int
    #: Its id.
    run: str
    #: Empty if it has none.
    key: str
    status: Status
    attempt: int = 1
    #: The name of the process that holds it.
    process: str = ""
    #: Seconds for which it waits for a holder.
    wait: float = 600
    #: The channel on which it is an item, and what the app shows there.
    listed: str = ""
    info: t.Any = None
    #: The number before the first event of the attempt. 0 for the number of the record.
    first: int = 0
    #: The number of the record with which the attempt before ended. 0 if there was none.
    last_attempt: int = 0
    #: What the app says to the user about its end.
    text: str = ""
    #: The runs before it, the newest first.
    past: tuple[PastRun, ...] = ()
    version: int = 1
    #: Where the store has it. Nothing until it is stored.
    position: Position = Position("", 0)

    @classmethod
    def of(cls, past: PastRun) -> Record:
        """The last record of an older run."""
        about = past.serial, past.run, past.key, past.status, past.attempt
        return cls(*about, first=past.first, position=Position("", past.last))

    @property
    def id(self) -> str:
        """What the next transition expects. Empty if there must be no record."""
        return str(self.position) if self.position.epoch else ""

    @property
    def is_active(self) -> bool:
        return self.status in ACTIVE

    @property
    def tag(self) -> str:
        return tag_of(self.serial, self.attempt)

    @property
    def start(self) -> int:
        """The number before the first event of the attempt."""
        return self.first or self.position.number

    def as_past(self) -> PastRun:
        """The run, which has ended, as newer records have it."""
        about = self.serial, self.run, self.key, self.status, self.attempt
        return PastRun(*about, self.start, self.position.number)

    def to_json(self) -> str:
        values = self._asdict()
        del values["version"], values["position"]
        return json.dumps(values, separators=(",", ":"))

    @classmethod
    def read(cls, data: bytes, version: int | None, position: Position) -> Record:
        """Read what any version has stored. Ignores unknown fields.

        :raises ValueError: If it is not a record.
        """
        values = json.loads(data)
        try:
            known = {name: values[name] for name in cls._fields[:-2] if name in values}
            known["past"] = tuple(PastRun(*each[:7]) for each in known.get("past", ()))
            return cls(**known, version=version or 0, position=position)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{data!r:.80} is not a record of runs: {error}") from error


class Transition(t.NamedTuple):
    """One transaction. Its first change is the record."""

    changes: list[Change]
    #: As it is stored. The store gives its position.
    record: Record

    @property
    def event(self) -> str:
        """The item of the event that says the status."""
        return transition(self.record.tag, self.record.version)


def make(
    channel: str,
    before: Record | None,
    run: str,
    key: str,
    wait: float,
    listed: str = "",
    info: t.Any = None,
) -> Transition | Refusal:
    """Make a run, of which nothing is known. The caller has looked for its key.

    :param run: Its id.
    """
    if before is None:
        after = Record(1, run, key, "queued")
        past: tuple[PastRun, ...] = ()
    elif before.is_active:
        return Refusal.BUSY
    else:
        about = before.serial + 1, run, key
        after = Record(*about, "queued", version=before.version + 1)
        past = (before.as_past(), *before.past)
    after = after._replace(wait=wait, listed=listed, info=info, past=past[:_MOST_PAST])
    forgotten = [_key_row(channel, each) for each in past[_MOST_PAST:] if each.key]
    waits = Change(WAITS, WAITS, channel, _serial(after), ttl=wait)
    return _transition(channel, before, after, [waits, *forgotten])


def enter(channel: str, before: Record, serial: int, process: str) -> Transition | Refusal:
    """Begin to hold a run (law R44).

    :param serial: The run that the caller has read. There may be a newer one.
    """
    if before.is_active:
        if before.serial != serial or before.status != QUEUED:
            return Refusal.BUSY
        first, attempt, last = before.start, before.attempt, before.last_attempt
    elif before.serial != serial or before.status in FINAL:
        return Refusal.OVER
    else:
        first, attempt, last = 0, before.attempt + 1, before.position.number
    after = before._replace(
        status="running",
        process=process,
        attempt=attempt,
        first=first,
        last_attempt=last,
        text="",
    )
    return _transition(channel, before, _next(after), [_no_wait(channel)])


def stop(
    channel: str, before: Record, progress: t.Mapping[str, t.Any] | None = None
) -> Transition | None:
    """Let nothing more be written. ``None`` if the run has ended, or is stopped already."""
    if before.status == "queued":
        return end(channel, before, "stopped", progress=progress)
    if before.status != "running":
        return None
    after = _next(before._replace(status="stopping", first=before.start))
    waits = Change(WAITS, WAITS, channel, _serial(after), ttl=STOPPING_SECONDS)
    return _transition(channel, before, after, [waits], progress)


def end(
    channel: str,
    before: Record,
    status: Status,
    text: str = "",
    progress: t.Mapping[str, t.Any] | None = None,
) -> Transition | None:
    """End a run that is active. ``None`` if it is not. A run that was stopped ends as
    stopped, whatever ends it (law R49).

    :param progress: Its last one, for its list.
    """
    if not before.is_active:
        return None
    if before.status == "stopping":
        status, text = "stopped", ""
    after = before._replace(status=status, process="", first=before.start, text=text)
    return _transition(channel, before, _next(after), [_no_wait(channel)], progress)


def status_now(now: Record | None, then: Record) -> Status:
    """What became of an attempt.

    :param now: The record of its channel.
    :param then: As its holder knows it.
    """
    runs: list[Record | PastRun] = [] if now is None else [now, *now.past]
    for run in runs:
        if (run.serial, run.run, run.attempt) == (then.serial, then.run, then.attempt):
            return run.status
    # It has begun again, or is long past, or the store has lost it.
    return "lost"


def remember(channel: str, before: Record) -> list[Change]:
    """Store the keys of the record's runs, before the record is forgotten."""
    runs = before.as_past(), *before.past
    return [_key_row(channel, each) for each in runs if each.key]


def _next(record: Record) -> Record:
    return record._replace(version=record.version + 1)


def _transition(
    channel: str,
    before: Record | None,
    after: Record,
    more: cabc.Iterable[Change],
    progress: t.Mapping[str, t.Any] | None = None,
) -> Transition:
    after = after._replace(position=Position("", 0))
    record = Change(
        *(RUN, channel, NOW, after.to_json()),
        owner=after.process or (QUEUED if after.is_active else ""),
        version=after.version,
        expect="" if before is None else before.id,
    )
    about = {"run": after.run, "key": after.key, "status": after.status}
    data = {**about, "attempt": after.attempt, "text": after.text}
    event = Change(
        *(RUN, channel, transition(after.tag, after.version), to_json(data), STATUS),
        owner="" if after.is_active else ENDED,
        expect="",
    )
    listed = [listing(channel, after, progress)] if after.listed else []
    return Transition([record, event, *more, *listed], after)


def listing(
    channel: str, record: Record, progress: t.Mapping[str, t.Any] | None = None
) -> Change:
    """The run as an item of its list."""
    said = {"done": None, "total": None, "text": "", **(progress or {})}
    if record.text:
        said["text"] = record.text
    about = {"run": record.run, "status": record.status, "attempt": record.attempt}
    ttl = None if record.is_active else LISTED_SECONDS
    data = to_json({**about, **said, "info": record.info})
    return Change("", record.listed, channel, data, ttl=ttl)


def _key_row(channel: str, past: PastRun) -> Change:
    return Change(KEYS, channel, past.key, to_json(past[:5]), owner=ENDED)


def _no_wait(channel: str) -> Change:
    return Change(WAITS, WAITS, channel, None)


def _serial(record: Record) -> str:
    return to_json({"serial": record.serial})
