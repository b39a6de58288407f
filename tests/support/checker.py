"""Judges, after a run, what its readers received.

It knows every event that was acknowledged; everything that each reader received, in order,
over all of its connections; and what happened to the store, and when. For each event that a
reader did not receive, it must have received a gap, and each gap must have a cause.
"""

from __future__ import annotations

import collections.abc as cabc
import json
import typing as t
from bisect import bisect_right
from collections import defaultdict
from itertools import pairwise

from flask_push import Event
from flask_push import Position


class Truth:
    """What was published: by epoch and channel, the numbers in order."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, str], list[int]] = defaultdict(list)
        self.ids: dict[str, set[str]] = defaultdict(set)

    def add(self, id: str, channel: str, data: str) -> None:
        position = Position.parse(id)
        if id not in self.ids[data]:
            self.ids[data].add(id)
            self.numbers[position.epoch, channel].append(position.number)

    def between(self, epoch: str, channel: str, after: int, upto: int) -> list[int]:
        numbers = self.numbers[epoch, channel]
        return numbers[bisect_right(numbers, after) : bisect_right(numbers, upto)]

    def sort(self) -> None:
        for numbers in self.numbers.values():
            numbers.sort()

    def doubled(self, causes: cabc.Collection[Cause] = ()) -> list[str]:
        """Data that was stored twice in one epoch, although it was published with a key
        that
        the store had no reason to lose."""
        found = []
        for data, ids in self.ids.items():
            places = sorted(map(Position.parse, ids)) if len(ids) > 1 else []
            found += [
                f"{data} was stored twice"
                for first, second in pairwise(places)
                if first.epoch == second.epoch
                and not any(
                    cause.kind == "keys" and cause.is_between(first.number, second.number)
                    for cause in causes
                )
            ]
        return found


class Cause(t.NamedTuple):
    """What happened to the store, from one time to another, in microseconds, as the numbers
    of events are."""

    #: ``loss``: it may have lost acknowledged events. ``retention``: it removed old ones.
    #: ``eviction``: it removed any of them, and ``keys`` if it removed events' keys.
    kind: str
    start: int
    end: int

    def is_between(self, start: int, end: int) -> bool:
        return self.start <= end and self.end >= start


#: The possible causes of each gap, by its reason.
REASONS = {
    "restarted": {"loss"},
    "trimmed": {"eviction", "retention"},
    "unknown": {"eviction", "retention"},
}


class Trace(t.NamedTuple):
    """What one reader received."""

    channels: list[str]
    events: list[Event]
    #: When it received each of them.
    times: list[int]


def judge(trace: Trace, truth: Truth, causes: cabc.Collection[Cause]) -> list[str]:
    """Everything that is wrong with what it received."""
    wrong: list[str] = []
    epoch = ""
    seen = 0
    through = dict.fromkeys(trace.channels, 0)
    # By channel, the events that the reader is past without having received them or a gap.
    owed: dict[str, list[int]] = defaultdict(list)

    def reach(number: int, but: int = 0) -> None:
        for name in trace.channels:
            missed = truth.between(epoch, name, through[name], number)
            owed[name] += [n for n in missed if n != but]
            through[name] = max(through[name], number)

    for event, time in zip(trace.events, trace.times, strict=True):
        position = Position.parse(event.id)
        before, seen = seen, position.number if event.id else seen
        if event.type == "push:gap":
            gap = json.loads(event.data)
            # It happened to the store after the reader's last event was published.
            recent = {cause.kind for cause in causes if cause.is_between(before, time)}
            if not recent & REASONS[gap["reason"]]:
                wrong.append(f"a gap without a cause: {event.id} {event.data}")
            if position.epoch != epoch:
                if set(gap["channels"]) != set(trace.channels):
                    wrong.append(f"a new epoch was told of {gap['channels']} only")
                epoch = position.epoch
                through = dict.fromkeys(trace.channels, position.number)
                owed.clear()
                continue
            reach(position.number)
            for name in gap["channels"]:
                # Only after an eviction does the store not know what it has lost.
                if not owed.pop(name, None) and "eviction" not in recent:
                    wrong.append(f"a gap in {name} where nothing is missing: {event.id}")
        elif not event.id or event.type in ("push:disconnect", "push:items"):
            # Both have no id of their own.
            continue
        elif not epoch:
            epoch = position.epoch
            through = dict.fromkeys(trace.channels, position.number)
        elif position.epoch != epoch:
            wrong.append(f"{event.id} is of another epoch, untold")
            return wrong
        elif event.type in ("push:open", "push:whole"):
            reach(position.number)
        else:
            if position.number <= through[event.channel]:
                wrong.append(f"{event.id} came twice, or out of order")
            reach(position.number, but=position.number)
            if owed[event.channel]:
                wrong.append(f"{len(owed.pop(event.channel))} lost before {event.id}")
    wrong += [f"{len(missed)} of {name} lost" for name, missed in owed.items() if missed]
    return wrong
