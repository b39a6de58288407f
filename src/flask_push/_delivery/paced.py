"""Groups whose readers are written to at most once in some seconds (law 35).

What a turn brings to such a group is not kept for it. The group notes the number that its
live members have reached. When its time has come, they are sent everything after this
number from the log: each event, and the newest row of each item. So rows that newer ones
have replaced are left out, and what waits takes no memory.

Events that the store does not keep are not in the log. The group keeps them until they are
written, as far as the budget of all groups allows it.
"""

from __future__ import annotations

import typing as t
from heapq import merge

from .channel import Channel
from .channel import ExcludingFrame
from .channel import Frame
from .channel import Gap
from .channel import number_of
from .channel import Piece
from .gzip import GzipGroup
from .item_replay import known_items
from .log import Log
from .rosters import WatchedRoster
from .stream import MAX_EVERY
from .subscription import ReaderGroup
from .subscription import Subscription


class PacedGroup(ReaderGroup):
    """All subscriptions to the same channels with the same pause.

    :param every: The pause, in seconds.
    """

    __slots__ = ("every", "since", "late", "written", "among", "_passing", "_log")

    def __init__(
        self,
        channels: tuple[Channel[ReaderGroup], ...],
        rosters: tuple[WatchedRoster[ReaderGroup], ...],
        every: float,
        log: Log,
    ) -> None:
        super().__init__(channels, rosters)
        self.every = every
        # So the fan-out never sends it a turn.
        self.gaps = True
        #: The number that the live members have reached. ``None`` if nothing waits for
        #: them: then that is the log's end.
        self.since: int | None = None
        #: Members that have reached the end while something waits for the live ones. Each
        #: has a cursor of its own.
        self.late: dict[int, t.Any] = {}
        #: When it was last written to, by the caller's clock.
        self.written = -float(MAX_EVERY)
        #: The caller's groups that are written to together with this one; ``None`` if
        #: nothing waits.
        self.among: dict[PacedGroup, None] | None = None
        # Events that the store does not keep.
        self._passing: list[tuple[int, bytes]] = []
        self._log = log

    def note(self, piece: Piece) -> None:
        number, frame = piece
        if not self.turn:
            # The caller looks whether it is empty.
            self.turn = [piece]
        # An event that the store keeps is after the end here (law 14).
        if number <= self._log.end and isinstance(frame, bytes) and self.live:
            if self._log.passing.keep(frame):
                self._passing.append((number, frame))

    def wait(self, start: int) -> None:
        """Have what a turn has brought wait.

        :param start: The log's end before the turn.
        """
        if self.since is None:
            self.since = start

    def take(self) -> tuple[int, list[Frame] | None, list[t.Any]]:
        """What has waited, which the caller now writes.

        :return: The number that the live members have reached, and the frames after it,
            merged over the channels. ``None`` instead of the frames if each member has to
            read on by itself. And the late members, each of which has to do so.
        """
        since = self.place(self._log.end)
        frames = self._frames(since)
        late = list(self.late.values())
        self.late.clear()
        self.since = None
        self._forget_passing()
        return since, frames, late

    def _frames(self, since: int) -> list[Frame] | None:
        log = self._log
        sub: Subscription | None = next(iter(self.live.values()), None)
        if sub is None:
            return []
        # All of them have been live in one epoch. If they need all items (law 27), the log
        # no longer reaches them.
        if sub.epoch != log.epoch or not self.reaches(since):
            return None
        sub.cursor = since
        pieces = list(
            merge(
                *(channel.between(since, log.end) for channel in self.channels),
                *known_items(sub, log.end, log.epoch),
                # Each comes after the event that has its number.
                self._passing,
                key=number_of,
            )
        )
        frames: list[Frame] = []
        for number, frame in pieces:
            if isinstance(frame, Gap):
                self.excluded = frozenset()
                return None
            if isinstance(frame, ExcludingFrame):
                self.excluded |= {frame.excluded}
            frames.append((number, frame))
        return frames

    def place(self, end: int) -> int:
        return end if self.since is None else self.since

    def admit(self, key: int, sub: Subscription) -> None:
        if self.since is None:
            super().admit(key, sub)
        else:
            self.late[key] = sub

    def leave(self, key: int) -> None:
        self.late.pop(key, None)
        super().leave(key)
        if not self.live:
            self._forget_passing()
        if self.members == 1 and self.among is not None:
            # It was the last one. Nothing is written to the group any more.
            del self.among[self]
            self.among = None

    def up_to_date(self) -> int:
        return len(self.live) + len(self.late)

    def _forget_passing(self) -> None:
        for _, frame in self._passing:
            self._log.passing.drop(frame)
        self._passing.clear()


class PacedGzipGroup(GzipGroup, PacedGroup):
    """The same for compressed streams."""

    __slots__ = ()
