"""The rosters that readers of the log watch.

A roster is beside the log's channels. Its members are items, of which the log has all or
none: the roster is *whole* when the hub has read its rows from the store, and has had every
row since. The rows themselves are never sent. They become what has changed for those who
watch; see :class:`.Roster`.

If rows may be missing, the roster is no longer whole, and is read again. Until then, live
readers continue with their channels, and others wait. Then all of its readers get all items
again (law 27).
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from .._event import Entry
from .._event import ItemRow
from .._event import MAX_NUMBER
from .._event import OwnChannel
from .._event import Position
from .._event import UNSET
from .encoder import Encoder
from .item_log import ItemLog
from .item_log import ItemPiece
from .roster import Roster
from .roster import RosterRow

# So many changes a roster keeps of users who have left, at least.
_MIN_UNSETS = 1000

#: A group of readers. This file needs to know nothing else about it.
G = t.TypeVar("G")


class Reading:
    """The rows of a roster that is not whole: those that were read, and those that have
    arrived meanwhile. Of each item, the newest one."""

    __slots__ = (
        *("is_asked", "is_done", "newest", "sure"),
        *("_since", "_last", "_lacks", "_rows"),
    )

    def __init__(self) -> None:
        #: Whether the store was asked for them, and whether all are here.
        self.is_asked = self.is_done = False
        #: The number of the newest row that was read.
        self.newest = 0
        # The store's position when it was read first, and last.
        self._since = self.sure = 0
        # The number of the newest row that has arrived, and of the newest that has not.
        self._last = self._lacks = 0
        self._rows: dict[str, RosterRow] = {}

    @property
    def is_complete(self) -> bool:
        """Whether each row was read or has arrived."""
        return self._lacks <= self._since

    def arrive(self, row: RosterRow, prev: int, proved: int) -> None:
        """Take a row that the feed has handed over. See :meth:`Rosters.take`."""
        if prev > max(self._last, proved):
            self._lacks = prev
        self._last = row.number
        self._put(row)

    def _put(self, row: RosterRow) -> None:
        known = self._rows.get(row.item)
        if known is None or known.number < row.number:
            self._rows[row.item] = row

    def read(self, rows: cabc.Iterable[ItemRow], end: int) -> None:
        """Take rows that were read when the store's position was `end`."""
        for row in rows:
            self._put(RosterRow(row.number, row.item, row.data))
            self.newest = max(self.newest, row.number)
        self._since, self.sure = self._since or end, end

    def result(self) -> Roster:
        rows = (row for row in self._rows.values() if row.data is not None)
        return Roster(rows, self.sure)


class WatchedRoster(t.Generic[G]):
    """To groups, a channel that has nothing but items."""

    __slots__ = (
        *("name", "held", "is_watched", "groups", "items", "horizon"),
        *("whole", "reading"),
    )

    def __init__(self, name: OwnChannel) -> None:
        self.name = name
        #: Whether it has been whole, so that its groups may begin.
        self.held = False
        #: Whether the feed watches it.
        self.is_watched = False
        self.groups: set[G] = set()
        self.lose()

    def __repr__(self) -> str:
        state = "partial" if self.whole is None else f"{len(self.whole)} members"
        return f"<WatchedRoster {self.name.channel!r}: {state}>"

    @property
    def is_whole(self) -> bool:
        return self.whole is not None

    def hold(self, number: int) -> None:
        """Let its groups begin."""
        self.held = True

    def lose(self) -> None:
        """Drop everything, because rows may be missing."""
        self.whole: Roster | None = None
        self.reading = Reading()
        #: The log has every change since the horizon, and all members.
        self.items = ItemLog(0, whole=True)
        self.horizon = MAX_NUMBER

    def become(self, roster: Roster, end: int, encoder: Encoder, epoch: str) -> None:
        """Be whole at the log's end."""
        self.whole, self.reading = roster, Reading()
        self.items, self.horizon = ItemLog(0, whole=True), end
        for change in roster.all():
            position = Position(epoch, change.number)
            if (piece := encoder.member(self.name.channel, change, position)) is not None:
                self.items.put(piece)

    def put(self, piece: ItemPiece) -> None:
        """Add a change."""
        self.items.put(piece)
        members = len(self.whole or ())
        if len(self.items) - members > 2 * max(_MIN_UNSETS, members):
            keep = max(_MIN_UNSETS, members)
            self.horizon = max(self.horizon, self.items.forget_unsets(keep))


class Rosters(t.Generic[G]):
    """
    :param encoder: Makes what is sent.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.by_name: dict[str, WatchedRoster[G]] = {}
        #: Those that are not whole.
        self.partial: dict[WatchedRoster[G], None] = {}
        self._encoder = encoder

    def __bool__(self) -> bool:
        return bool(self.by_name)

    def __repr__(self) -> str:
        return f"<Rosters [{len(self.by_name)} rosters, {len(self.partial)} partial]>"

    def add(self, name: OwnChannel) -> None:
        """Begin with a roster, which has to be read."""
        roster = self.by_name[name] = WatchedRoster(name)
        self.partial[roster] = None

    def forget(self, roster: WatchedRoster[G]) -> None:
        """Drop a roster that no longer has readers."""
        del self.by_name[roster.name]
        self.partial.pop(roster, None)

    def lose(self, roster: WatchedRoster[G]) -> None:
        roster.lose()
        self.partial[roster] = None

    def lose_all(self) -> None:
        for roster in self.by_name.values():
            self.lose(roster)

    def take(
        self, entry: Entry, epoch: str, proved: int
    ) -> tuple[WatchedRoster[G], ItemPiece] | None:
        """Take one row of the feed. ``None`` if it changes nothing for those who watch.

        :param proved: The feed has handed over everything up to this number.
        """
        roster = self.by_name.get(entry.channel)
        if roster is None or not roster.is_watched or entry.prev is None:
            return None
        data = None if entry.type == UNSET else entry.data
        row = RosterRow(entry.number, entry.item, data)
        if (whole := roster.whole) is not None:
            if entry.prev > max(whole.last, roster.horizon, proved):
                self.lose(roster)
        change = None if roster.whole is None else roster.whole.take(row)
        if roster.whole is not None and roster.whole.has_room:
            self.lose(roster)
        if roster.whole is None:
            roster.reading.arrive(row, entry.prev, proved)
            return None
        if change is None:
            return None
        position = Position(epoch, row.number)
        piece = self._encoder.member(roster.name.channel, change, position)
        if piece is None:
            return None
        roster.put(piece)
        return roster, piece

    def take_horizons(
        self,
        horizons: cabc.Mapping[str, int],
        without: cabc.Collection[str],
        end: int,
    ) -> None:
        """Take the horizons of this epoch: rosters that may lack unsets are lost."""
        for name in self.by_name.keys() & horizons.keys():
            roster = self.by_name[name]
            if not roster.is_watched:
                roster.reading.is_done = name in without
            elif horizons[name] > end:
                self.lose(roster)

    def restore(self, name: OwnChannel, found: Roster, end: int, epoch: str) -> None:
        """Continue with a roster that was whole in another hub, at the log's end."""
        if (roster := self.by_name.get(name)) is not None:
            roster.become(found, end, self._encoder, epoch)
            roster.is_watched = True
            del self.partial[roster]

    def settle(self, end: int, epoch: str) -> list[WatchedRoster[G]]:
        """The rosters that have become whole, because all of their rows are here, and the
        log's end is not before them."""
        whole = []
        for roster in [roster for roster in self.partial if roster.reading.is_done]:
            if not roster.reading.is_complete:
                roster.lose()
            elif roster.is_watched and roster.reading.newest <= end:
                roster.become(roster.reading.result(), end, self._encoder, epoch)
                del self.partial[roster]
                whole.append(roster)
        return whole
