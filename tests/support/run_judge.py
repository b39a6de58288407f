"""Judges what became of a run while everything was killed: the rows of the store, what its
holders have noted, and what its followers have received.

Each event of a run is ``ATTEMPT NUMBER``, and the numbers of an attempt begin with 0.
"""

from __future__ import annotations

import collections.abc as cabc
import json
import typing as t

from flask_push import Event
from flask_push import Position
from flask_push._delivery.run_record import ACTIVE
from flask_push._delivery.run_rows import NOW
from flask_push._delivery.run_rows import STATUS
from flask_push._delivery.run_rows import unpack
from flask_push.brokers import ItemRow

#: What a follower notes when it begins again without a position.
AGAIN = Event("", "", "begins again")

#: After each status, the ones that may follow.
_NEXT: dict[str, set[str]] = {
    "": {"queued"},
    "queued": {"running", "stopped", "lost"},
    "running": {"stopping", "done", "failed", "lost"},
    "stopping": {"stopped"},
    "failed": {"running"},
    "lost": {"running"},
    "done": set(),
    "stopped": set(),
}


class Truth:
    """The rows of one run, in the order of their numbers."""

    def __init__(self, rows: cabc.Iterable[ItemRow]) -> None:
        #: By attempt, its events and its end.
        self.events: dict[int, list[str]] = {}
        self.ends: dict[int, str] = {}
        self.statuses: list[str] = []
        #: The number of the newest event.
        self.newest = 0
        self.wrong: list[str] = []
        attempt = 0
        for row in rows:
            if row.item == NOW:
                continue
            if row.type == STATUS:
                said = json.loads(row.data)
                self._take_status(said["status"], said["attempt"])
                attempt = said["attempt"]
            else:
                self._take_events(row, attempt)

    def _take_status(self, status: str, attempt: int) -> None:
        before = self.statuses[-1] if self.statuses else ""
        if status not in _NEXT[before]:
            self.wrong.append(f"{status} follows {before or 'nothing'}")
        self.statuses.append(status)
        self.events.setdefault(attempt, [])
        if status not in ACTIVE:
            if attempt in self.ends:
                self.wrong.append(f"attempt {attempt} has two ends")
            self.ends[attempt] = status

    def _take_events(self, row: ItemRow, attempt: int) -> None:
        if not self.statuses or self.statuses[-1] != "running":
            self.wrong.append(f"{row.item} was stored while the run was not running")
        events = self.events.setdefault(attempt, [])
        for event in unpack(row.data):
            right = f"{attempt} {len(events)}"
            if event.decode() != right:
                self.wrong.append(f"{event!r} is stored in place of {right}")
            events.append(right)
        self.newest = row.number

    @property
    def status(self) -> str:
        return self.statuses[-1] if self.statuses else ""

    def judge(self, writes: int) -> list[str]:
        """
        :param writes: How many events the run has if it is done.
        """
        wrong = [*self.wrong]
        if self.status not in ("done", "stopped"):
            wrong.append(f"the run is {self.status} in the end")
        for attempt, end in self.ends.items():
            if end == "done" and len(self.events[attempt]) != writes:
                wrong.append(f"done with {len(self.events[attempt])} events")
        return wrong

    def judge_stop(self, number: int) -> list[str]:
        """
        :param number: The store's, read after ``stop`` had returned.
        """
        if self.newest > number:
            return [f"event {self.newest} was stored after the stop at {number}"]
        return []

    def judge_notes(self, notes: cabc.Iterable[dict[str, t.Any]]) -> list[str]:
        """Whether all that the holders have noted is so."""
        wrong = []
        for note in notes:
            if "written" in note:
                if len(self.events.get(note["attempt"], ())) < note["written"]:
                    wrong.append(f"{note} was acknowledged, and is not there")
            elif note.get("over", note.get("left")) not in self.ends.values():
                wrong.append(f"{note} was noted, and is not so")
        return wrong

    def judge_push(self, events: cabc.Iterable[Event], whole: bool) -> list[str]:
        """What a follower of the wire ``push`` has received, over all its connections.

        :param whole: Whether it has begun with the first event.
        """
        wrong: list[str] = []
        attempt, count, ended, epoch = 0, 0, False, ""
        for event in events:
            if event.type in ("push:gap", AGAIN.type):
                attempt, ended = 0, False
            elif event.type == STATUS:
                said = json.loads(event.data)
                # In another epoch, the run begins again with its first event.
                before, epoch = epoch, Position.parse(event.id).epoch
                if said["attempt"] != attempt or before not in ("", epoch):
                    count = 0 if attempt or whole else -1
                    attempt, ended = said["attempt"], False
                if ended:
                    wrong.append(f"{said} came behind the end")
                if said["status"] not in ACTIVE:
                    ended = True
                    if count >= 0:
                        wrong += self._end(attempt, count, said["status"])
            elif not event.type.startswith("push:"):
                of, number = map(int, event.data.split())
                if of != attempt:
                    epoch = epoch or Position.parse(event.id).epoch
                    if number and whole:
                        wrong.append(f"attempt {of} began with {event.data}")
                    attempt, count, ended = of, number, False
                if ended or number != count >= 0:
                    wrong.append(f"{event.data} came in place of {of} {count}")
                count = number + 1
        if not ended and self.status:
            wrong.append(f"it has received no end, but {count} events of {attempt}")
        return wrong

    def judge_plain(self, body: bytes) -> list[str]:
        """A body of the wire ``openai`` that has ended cleanly."""
        words = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ")]
        if words[-1:] != [b"[DONE]"]:
            return [f"{body[-80:]!r} has no last word"]
        events, status = [word.decode() for word in words[:-1]], "done"
        if events and events[-1].startswith("{"):
            status = json.loads(events.pop())["error"]["message"]
        if status in ("gap", "restarted", "disconnected"):
            return []
        attempt = int(events[0].split()[0]) if events else max(self.ends)
        if events != [f"{attempt} {n}" for n in range(len(events))]:
            return [f"{events[:3]} to {events[-1:]} are not the events of {attempt}"]
        return self._end(attempt, len(events), status)

    def _end(self, attempt: int, count: int, status: str) -> list[str]:
        there = len(self.events.get(attempt, ()))
        if (count, status) == (there, self.ends.get(attempt)):
            return []
        said = f"{count} events and then {status}"
        return [f"{said} of attempt {attempt}: {there}, {self.ends.get(attempt)}"]
