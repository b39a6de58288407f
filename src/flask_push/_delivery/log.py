"""The log: all events of the channels that have readers here, and what is missing.

A channel is a log, a subscription is a cursor, live is replay that has caught up.

The :class:`Log` holds the encoded frames of every channel that a reader here reads, and
``end``, the number up to which it knows them all. A feed moves it in *turns*
(:meth:`Log.turn`). :class:`Readers` decides what each reader gets of it, in which order.

Nothing is ever missing silently. An event names the number before it on its channel, so
the log notices a hole in the feed. It also notices what a page of history does not prove,
and a new epoch. The log fills a hole from history if no reader is past it. Otherwise the
hole becomes a :class:`Gap`, which stands in the log like an event.

A channel may also have items, whose rows arrive among the events. The log keeps the newest
row of each item. It notices missing rows, too. But there is no gap for rows that are lost:
readers get all items again (law 27).

This file does no I/O and knows no clock, thread or loop. "Law" refers to the
numbered laws of delivery on the page *How it works*.
"""

from __future__ import annotations

import collections.abc as cabc
from heapq import merge

from .._event import Entry
from .._event import OwnChannel
from .._event import Page
from .._event import Position
from . import wire
from .channel import Budget
from .channel import Channel
from .channel import Gap
from .channel import number_of
from .channel import Passing
from .channel import Piece
from .encoder import Encoder
from .followed_runs import Runs
from .horizons import Horizons
from .item_log import ItemBudget
from .item_log import ItemLog
from .replay import gaps
from .rosters import Rosters
from .rosters import WatchedRoster
from .run_rows import RUN
from .subscription import ReaderGroup

_Channel = Channel[ReaderGroup]
_Roster = WatchedRoster[ReaderGroup]
# The groups to which this turn brings something.
_Touched = list[ReaderGroup]


class Log:
    """All channels of one store that have a reader in this hub.

    :param report: Is called with an event that cannot be sent, its position, and the
        reason. Its readers get a gap. The program that stored it should have refused it.
    :param max_event: How many bytes of data an event may have.
    :param max_bytes: How many bytes of frames it may keep. Above it, the log drops the
        oldest frames, whatever their channel.
    :param notices: By kind of own items, what is called at each row.
    """

    def __init__(
        self,
        *,
        report: cabc.Callable[[Entry, Position, Exception], None],
        max_event: int = 2**20,
        max_bytes: int = 32 * 2**20,
        notices: cabc.Mapping[str, cabc.Callable[[], None]] | None = None,
    ) -> None:
        self.epoch = ""
        #: The log has had every event, up to this number, of the channels that it holds.
        self.end = 0
        #: If not 0, events up to this number at least may be missing. The end stays before
        #: them until they are filled in (law 6).
        self.hole = 0
        self.groups: dict[cabc.Hashable, ReaderGroup] = {}
        self.channels: dict[str, Channel[ReaderGroup]] = {}
        #: The number at which the epoch was first seen.
        self.birth = 0
        #: The feed has handed over everything up to this number, of all channels.
        self.proved = 0
        self._notices = notices or {}
        self.encoder = Encoder(report, max_event)
        self.encode = self.encoder.event
        #: Bytes of frames kept, and how many there may be.
        self.budget = Budget(max_bytes)
        #: The same for events that the store does not keep, and that wait.
        self.passing = Passing(self.budget)
        #: The same for items.
        self.item_budget = ItemBudget(max_bytes)
        self.horizons = Horizons(self.item_budget)
        self.rosters: Rosters[ReaderGroup] = Rosters(self.encoder)
        self.runs = Runs(self.encoder, self.budget)

    def __repr__(self) -> str:
        place = f"{Position(self.epoch, self.end)}{' with a hole' if self.hole else ''}"
        return f"<Log at {place}: {len(self.channels)} channels, {len(self.budget)} frames>"

    def is_whole(self) -> bool:
        """Whether the feed has handed over everything up to the end."""
        return self.proved == self.end and not self.hole

    def is_torn(self) -> bool:
        """Whether one reader is changing what it keeps."""
        return self.budget.torn or self.item_budget.torn

    def hold(self, names: cabc.Iterable[str]) -> list[ReaderGroup]:
        """Note that the feed watches these channels, from the end on.

        :return: The groups of which the feed now watches all channels.
        """
        whole = []
        for name in names:
            others = self.rosters.by_name.get(name, self.runs.by_name.get(name))
            channel = self.channels.get(name, others)
            if channel is None or channel.held:
                continue
            channel.hold(self.end)
            for group in channel.groups:
                group.missing -= 1
                if not group.missing:
                    whole.append(group)
        return whole

    def holds(self) -> list[str]:
        """The channels of which :meth:`fill` needs a page."""
        return [name for name, channel in self.channels.items() if channel.held]

    def settle_rosters(self) -> list[_Roster]:
        """The rosters that have become whole: they have all rows up to the end."""
        return [] if self.hole else self.rosters.settle(self.end, self.epoch)

    def turn(
        self, epoch: str, entries: cabc.Iterable[Entry], end: int | None = None
    ) -> list[ReaderGroup]:
        """Take the events since the last turn, in the order of their numbers.

        :param end: The store's position, if the feed has now handed over everything up to
            it. The first turn of an epoch has one.
        :return: The groups that have something for their live members in ``turn``. The
            caller sends it, and empties it.
        """
        if epoch != self.epoch:
            assert end is not None
            return self._restart(epoch, end)
        touched: _Touched = []
        for entry in entries:
            if self.hole and entry.prev is not None:
                self.hole = max(self.hole, entry.number)
            elif not self._take(entry, touched):
                self.hole = entry.number
        if end is not None:
            if self.hole:
                self.hole = max(self.hole, end)
            else:
                self.end = self.proved = max(self.end, end)
        self.horizons.touch(touched, self.end)
        if self.runs.by_name:
            self.runs.touch(touched, self.end, self.proved)
        return touched

    def take_horizons(
        self, epoch: str, horizons: cabc.Mapping[str, int], without: cabc.Collection[str]
    ) -> None:
        """Take the horizons of channels, before the log begins to hold them, and when they
        have grown.

        :param without: Those of which the store has no row.
        """
        self.horizons.known = True
        if epoch == self.epoch:
            self.horizons.take(self.channels, horizons, without, self.end)
            self.rosters.take_horizons(horizons, without, self.end)
            self.runs.take_horizons(horizons, self.end)
        else:
            self.horizons.announce(epoch, horizons, without)

    def fill(self, page: Page) -> list[ReaderGroup]:
        """Take a page of history, from the end on, for what the feed has missed. Returns
        the same as :meth:`turn`.

        This closes the hole if the page reaches the end of the hole. If it does not, or if
        the page no longer fits, the log needs another page.
        """
        touched: _Touched = []
        names = self.holds()
        if page.epoch != self.epoch or page.after != self.end:
            return touched
        if not page.proofs.keys() >= set(names):
            return touched
        hole, self.hole = self.hole, 0
        # No page has their rows, and the feed may hand over some that are behind the end.
        self.rosters.lose_all()
        for name, number in page.horizons.items():
            if name in self.channels:
                self.horizons.rise(self.channels[name], number, self.end)
        proofs = {name: page.proofs[name] for name in names}
        missing = gaps(proofs, self.end, page.reach)
        entries: cabc.Iterable[tuple[int, Entry | Gap]]
        entries = ((entry.number, entry) for entry in page.entries)
        for number, piece in merge(missing, entries, key=number_of):
            if isinstance(piece, Gap):
                self._put(self.channels[piece.channels[0]], (number, piece), touched)
                self.end = max(self.end, number)
            else:
                self._take(piece, touched, final=True)
        self.end = max(self.end, page.reach)
        if page.reach < max(hole, page.end):
            self.hole = max(hole, page.end)
        self.runs.lose_all(self.end)
        self.horizons.touch(touched, self.end)
        self.runs.touch(touched, self.end, self.proved)
        return touched

    def _take(self, entry: Entry, touched: _Touched, final: bool = False) -> bool:
        """Take one event of the feed. False if events before it have to be read first."""
        number, prev, name, _, _, _, item = entry
        channel = self.channels.get(name)
        if channel is not None and not channel.held:
            channel = None
        if prev is None:
            # The store does not keep it, so its position is the end (law 14).
            if channel is not None and not self.hole:
                if frame := self.encode(entry, self.epoch, self.end):
                    _show(channel, (self.end, frame), touched)
            return True
        if number <= self.end:
            return True
        if channel is not None and item:
            self._take_item(channel, entry, touched, final)
        elif channel is not None:
            if prev > channel.last and prev > self.proved:
                if prev > self.end and not final:
                    return False
                # Live readers are past the missing events, and never get older events after
                # newer ones (law 6). A gap takes this event's place and number.
                channel.lose(number)
                frame = None
            else:
                frame = self.encode(entry, self.epoch, number)
            piece = number, frame or Gap((name,), "unknown")
            self.budget.put(channel, piece)
            _show(channel, piece, touched)
        elif type(name) is not str:
            self._take_row(entry, touched)
        self.end = number
        return True

    def _take_row(self, entry: Entry, touched: _Touched) -> None:
        """Take one row of a roster, of a run, of another hub, or of a process that holds
        runs."""
        kind, _ = OwnChannel.parts(entry.channel)
        if notice := self._notices.get(kind):
            notice()
        elif kind == RUN:
            self.runs.take(entry, self.epoch, touched)
        elif change := self.rosters.take(entry, self.epoch, self.proved):
            roster, piece = change
            frame = wire.change(str(Position(self.epoch, entry.number)), piece.tail)
            _show(roster, (entry.number, frame), touched)

    def _take_item(
        self, channel: _Channel, entry: Entry, touched: _Touched, final: bool
    ) -> None:
        """Take one row of the feed."""
        number, prev, items = entry.number, entry.prev or 0, channel.items
        if items is None:
            items = channel.items = ItemLog(channel.horizon, whole=True)
        # The horizon alone proves rows that were read. If one was pushed and does not fit,
        # rows before it are lost, and it is not known how many (laws 25 and 27).
        if prev > items.last and prev > self.proved and not final:
            self.horizons.rise(channel, number, self.end)
        position = Position(self.epoch, number)
        about = channel.name, entry.item, entry.type, entry.data
        piece = self.encoder.item(*about, position)
        if piece is not None:
            self.item_budget.put(items, piece)
            frame = wire.change(str(position), piece.tail)
            _show(channel, (number, frame), touched)
        items.last = number

    def _put(self, channel: _Channel, piece: Piece, touched: _Touched) -> None:
        self.budget.put(channel, piece)
        _show(channel, piece, touched)

    def _restart(self, epoch: str, end: int) -> list[ReaderGroup]:
        """Begin another epoch: all readers get a gap at its first number (law 12)."""
        self.epoch, self.hole = epoch, 0
        self.end = self.birth = self.proved = end
        self.budget.clear()
        self.rosters.lose_all()
        for channel in self.channels.values():
            if channel.held:
                channel.hold(end)
        self.horizons.begin(epoch, self.channels.values(), end)
        for group in self.groups.values():
            group.turn = [(end, Gap(group.names, "restarted"))]
            group.gaps = True
        return [*self.groups.values(), *self.runs.restart(end)]


def _show(channel: _Channel | _Roster, piece: Piece, touched: _Touched) -> None:
    for group in channel.groups:
        if not group.turn:
            touched.append(group)
        group.note(piece)
