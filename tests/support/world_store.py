"""The specification of a broker's log, kept as simply as possible."""

from __future__ import annotations

import typing as t

from flask_push._event import Entry
from flask_push._event import Page
from flask_push._event import Proof

CHANNELS = ("a", "b", "c")
#: How far back, in numbers, the store remembers.
RETENTION = 40


class Store:
    """What a broker keeps, and what it can prove."""

    def __init__(self) -> None:
        self.number = 1000
        self.epoch = "epoch"
        self.lives = self.transients = 0
        #: By number, stored or transient, the reader that must not get it.
        self.excluded: dict[int, str] = {}
        #: For each hub, what its feed still has to deliver.
        self.feeds: list[list[Entry]] = []
        self.begin()

    def begin(self) -> None:
        """Begin a new epoch, without any events."""
        self.lives += 1
        self.epoch = f"e{self.lives:04}"
        self.birth = self.floor = self.number
        self.held: dict[str, list[Entry]] = {name: [] for name in CHANNELS}
        #: Everything that was acknowledged in this epoch, by which readers judge.
        self.ever: dict[str, list[int]] = {name: [] for name in CHANNELS}
        self.trimmed: dict[str, int] = dict.fromkeys(CHANNELS, 0)
        for unfed in self.feeds:
            unfed.clear()
        #: Events that a feed lost.
        self.unheard: dict[str, list[int]] = {name: [] for name in CHANNELS}
        #: Events whose predecessor was forgotten before the hub received it.
        self.outrun: dict[str, int] = dict.fromkeys(CHANNELS, 0)

    def publish(
        self, channel: str, step: int, store: bool = True, exclude: str = ""
    ) -> None:
        if not store:
            self.transients += 1
            data = b"transient %d" % self.transients
            self.excluded[self.transients] = exclude
            self.hand_over(Entry(0, None, channel, "message", data, exclude))
            return
        self.number += step
        held = self.held[channel]
        prev = held[-1].number if held else self.floor
        data = f"{channel} {self.number}".encode()
        self.excluded[self.number] = exclude
        entry = Entry(self.number, prev, channel, "message", data, exclude)
        held.append(entry)
        self.ever[channel].append(self.number)
        self.hand_over(entry)
        self.forget()

    def elsewhere(self, numbers: int) -> None:
        """Publish on channels that no reader here has."""
        self.number += numbers
        self.forget()

    def hand_over(self, entry: Entry) -> None:
        for unfed in self.feeds:
            unfed.append(entry)

    def forget(self) -> None:
        for name in CHANNELS:
            old = [e for e in self.held[name] if e.number < self.number - RETENTION]
            self.trim(name, len(old))

    def trim(self, channel: str, count: int) -> None:
        for entry in self.held[channel][:count]:
            self.trimmed[channel] = entry.number
        del self.held[channel][:count]
        if count and not self.held[channel]:
            self.floor = max(self.floor, self.trimmed[channel])

    def proof(self, name: str) -> Proof:
        if self.held[name]:
            return Proof(self.held[name][0].prev or 0)
        return Proof(self.floor, "unknown")

    def page(self, names: t.Iterable[str], after: int, limit: int) -> Page:
        names = list(names)
        entries = sorted(e for name in names for e in self.held[name] if e.number > after)
        reach = self.number if len(entries) <= limit else entries[limit - 1].number
        proofs = {name: self.proof(name) for name in names}
        return Page(self.epoch, after, reach, self.number, entries[:limit], proofs)
