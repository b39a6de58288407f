"""Judges, after a run, what its readers were given.

It is told every event that was acknowledged, and for each reader everything it
received, in order, over all of its connections.
"""

from __future__ import annotations

import json
import typing as t
from bisect import bisect_right
from collections import Counter
from collections import defaultdict

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

    def doubled(self) -> list[str]:
        """Data that was stored twice in one epoch, though published with a key."""
        found = []
        for data, ids in self.ids.items():
            epochs = Counter(id.partition("-")[0] for id in ids)
            found += [data for count in epochs.values() if count > 1]
        return found


class Trace(t.NamedTuple):
    """What one reader received."""

    channels: list[str]
    events: list[Event]


def judge(trace: Trace, truth: Truth) -> list[str]:
    """Everything that is wrong with it."""
    wrong: list[str] = []
    epoch = ""
    through = dict.fromkeys(trace.channels, 0)
    # By channel, what the reader is past without having had it, or been told.
    owed: dict[str, list[int]] = defaultdict(list)

    def reach(number: int, but: int = 0) -> None:
        for name in trace.channels:
            missed = truth.between(epoch, name, through[name], number)
            owed[name] += [n for n in missed if n != but]
            through[name] = max(through[name], number)

    for event in trace.events:
        position = Position.parse(event.id)
        if event.type == "push:gap":
            gap = json.loads(event.data)
            if position.epoch != epoch:
                if set(gap["channels"]) != set(trace.channels):
                    wrong.append(f"a new epoch was told of {gap['channels']} only")
                epoch = position.epoch
                through = dict.fromkeys(trace.channels, position.number)
                owed.clear()
                continue
            reach(position.number)
            for name in gap["channels"]:
                if not owed.pop(name, None) and gap["reason"] == "trimmed":
                    wrong.append(f"a gap in {name} without a cause")
        elif not event.id:
            continue
        elif not epoch:
            epoch = position.epoch
            through = dict.fromkeys(trace.channels, position.number)
        elif position.epoch != epoch:
            wrong.append(f"{event.id} is of another epoch, untold")
            return wrong
        elif event.type == "push:open":
            reach(position.number)
        else:
            if position.number <= through[event.channel]:
                wrong.append(f"{event.id} came twice, or out of order")
            reach(position.number, but=position.number)
            if owed[event.channel]:
                wrong.append(f"{len(owed.pop(event.channel))} lost before {event.id}")
    wrong += [f"{len(missed)} of {name} lost" for name, missed in owed.items() if missed]
    return wrong
