"""How far a feed has delivered, and whether what arrives follows it. No input or output."""

from __future__ import annotations

from ..._event import Entry
from ..._event import Position


class Progress:
    """All entries of the epoch up to `end` were handed on, unless some are missing; up to
    `proved`, none is missing."""

    def __init__(self, after: Position | None) -> None:
        self.epoch, self.end = after or ("", 0)
        self._proved = self.end
        # The last number of each channel that had an event, or a row, since `proved`.
        self._events: dict[str, int] = {}
        self._rows: dict[str, int] = {}

    @property
    def is_proved(self) -> bool:
        return self._proved == self.end

    def prove(self, epoch: str, end: int) -> None:
        self.epoch, self.end, self._proved = epoch, end, end
        self._events.clear()
        self._rows.clear()

    def take(self, epoch: str, new: list[Entry], entries: list[Entry]) -> bool:
        """Add entries of a channel that have arrived to those to deliver.

        :param new: Either events of its log, or rows of its items.
        :return: Whether no entry is missing before them.
        """
        if epoch != self.epoch:
            return False
        first = new[0]
        if first.prev is not None:
            last = self._rows if first.item else self._events
            known = max(last.get(first.channel, 0), self._proved)
            if first.number > self.end and first.prev > known:
                return False
            new = [entry for entry in new if entry.number > self.end]
            if new:
                self.end = last[first.channel] = new[-1].number
        entries += new
        return True
