"""The heart: what each reader gets, in which order, and what it is told it missed.

A channel is a log, a subscription is a cursor, live is replay that has caught up.

The :class:`Log` holds the encoded frames of every channel that somebody here reads,
and ``end``, the number up to which it knows them all. A feed moves it in *turns*
(:meth:`Log.turn`). A reader that is up to date has no cursor of its own: it is
``live``, which means at the end, and all live readers of one set of channels are sent
the same bytes. Any other reader has a cursor, and :meth:`Log.read` says what comes
next for it: frames, merged over its channels by number; or ``None``, when a
:class:`Page` of history has to be fetched first, because the log no longer reaches
back to the cursor. Connecting, replay, live, slow and resume are this one function.

Nothing is ever missing silently. An event names the number before it on its channel,
so a hole in the feed shows; what a page can't prove shows; a new epoch shows. Each
is filled from history if nobody has passed it, and otherwise becomes a :class:`Gap`
that stands in the log like an event and moves a reader on like one.

This file does no I/O and knows no clock, thread or loop. "Law" refers to the
numbered laws of delivery on the page *How it works*.
"""

from __future__ import annotations

import collections.abc as cabc
from heapq import merge

from .._event import Entry
from .._event import Page
from .._event import Position
from . import wire
from .channel import Budget
from .channel import Channel
from .channel import Frame
from .channel import Gap
from .channel import number_of
from .channel import Piece
from .replay import absorb
from .replay import Encode
from .replay import gaps
from .replay import prove
from .replay import replay
from .replay import Runs
from .replay import tell
from .subscription import ChannelSet
from .subscription import GzipSet
from .subscription import Subscription

_Channel = Channel[ChannelSet]
# Those that this turn brings something.
_Touched = list[ChannelSet]


class Log:
    """All channels of one store that have a reader here.

    :param encode: Makes the frames. What it can't is told as a gap.
    :param wait: Says how long the reader that is told of a gap should wait before it
        refetches, in seconds.
    :param max_bytes: Above it the oldest frames go, whatever their channel.
    """

    def __init__(
        self,
        *,
        encode: Encode,
        wait: cabc.Callable[[], float],
        max_bytes: int = 32 * 2**20,
    ) -> None:
        self.epoch = ""
        #: Every event of the channels held, up to this number, has been through here.
        self.end = 0
        #: While not 0, events up to it at least may be missing, and the end stays
        #: before them until they are filled in (law 6).
        self.hole = 0
        self.sets: dict[cabc.Hashable, ChannelSet] = {}
        self.channels: dict[str, Channel[ChannelSet]] = {}
        #: The number at which the epoch was first seen.
        self.birth = 0
        #: Up to here the feed has vouched for all channels at once.
        self.proved = 0
        self._wait = wait
        self._encode = encode
        #: Bytes of frames kept, and how many there may be.
        self.budget = Budget(max_bytes)
        self._runs = Runs(self._render)

    def __repr__(self) -> str:
        place = f"{Position(self.epoch, self.end)}{' with a hole' if self.hole else ''}"
        return f"<Log at {place}: {len(self.channels)} channels, {len(self.budget)} frames>"

    def is_whole(self) -> bool:
        """Whether the feed has vouched for everything up to the end."""
        return self.proved == self.end and not self.hole

    # What readers do.

    def join(
        self, sub: Subscription, names: cabc.Iterable[str], gzip: bool = False
    ) -> list[str]:
        """Add a reader; it can begin when its set misses no channel.

        :return: Channels that the feed has to be asked for.
        """
        kind, names = GzipSet if gzip else ChannelSet, sorted({*names})
        key = kind.key(names)
        new = [name for name in names if name not in self.channels]
        for name in new:
            self.channels[name] = Channel(name)
        if key not in self.sets:
            channels = tuple(self.channels[name] for name in names)
            self.sets[key] = kind(channels)
            for channel in channels:
                channel.sets.add(self.sets[key])
        sub.enter(self.sets[key])
        return new

    def leave(self, sub: Subscription) -> list[str]:
        """Remove a reader that is not live any more.

        :return: Channels that nobody reads now, and whose log is gone (law 8).
        """
        sub.set.members -= 1
        if sub.set.members:
            return []
        del self.sets[sub.set.key(sub.set.names)]
        unread = []
        for channel in sub.set.channels:
            channel.sets.remove(sub.set)
            if not channel.sets:
                del self.channels[channel.name]
                self.budget.forget(channel)
                unread.append(channel.name)
        return unread

    def lacks(self, sub: Subscription, position: Position) -> int:
        """Where the page that a reader begins with has to start, at the latest."""
        number = position.number
        lacks = position.epoch == self.epoch and not sub.set.reaches(number)
        return number if lacks else max(number, self.end)

    def begin(
        self,
        sub: Subscription,
        connection: str,
        position: Position | None = None,
        page: Page | None = None,
    ) -> bool:
        """Set a reader of channels that are all held to where it starts.

        A position, unless it is none of any store, comes with a page, read since then,
        from where the reader :meth:`lacks` something. Only the store can say whether it
        has a position beyond our end (law 7), and what was not told elsewhere.

        :return: False if we are too far behind the store to tell yet: try again with
            another page after the next turn.
        """
        end = self.end
        if page is not None:
            if page.epoch != self.epoch:
                return False
            end = max(end, page.end)
        sub.epoch, names = self.epoch, sub.set.names
        if position is None:
            sub.cursor = self.end
        elif position.epoch == self.epoch and position.number <= end:
            sub.cursor = position.number
        else:
            known = position.epoch not in ("", self.epoch)
            sub.say(wire.opening(connection, names, None))
            self._tell_all(sub, "restarted" if known else "unknown", end)
            return True
        if page is not None and not prove(sub, page, self.end, self.budget):
            return False
        sub.open(wire.opening(connection, names, Position(self.epoch, sub.cursor)), page)
        return True

    def read(
        self, sub: Subscription, limit: int, page: Page | None = None
    ) -> list[Frame] | None:
        """What is to be written next, about `limit` bytes of it.

        An empty list says that the reader is at the end and may be live. ``None`` says
        that it has to wait: for the end to reach its cursor, if that is further; else
        for a page of its channels from its cursor on.
        """
        if sub.epoch != self.epoch and not sub.rest:
            sub.epoch = self.epoch
            self._tell_all(sub, "restarted", self.birth)
        if sub.rest:
            return [(sub.cursor, sub.rest)]
        if sub.cursor >= self.end:
            return [] if sub.cursor == self.end else None
        reach, sources = self.end, []
        if sub.set.reaches(sub.cursor):
            if known := self._runs.find(sub):
                return known
        else:
            if blurred := [c.blurred for c in sub.set.channels if c.is_blurred(sub.cursor)]:
                self._tell_all(sub, "unknown", max(blurred))
                return [(sub.cursor, sub.rest)]
            if page is None or page.epoch != self.epoch:
                return None
            if not page.after <= sub.cursor < page.reach:
                return None
            if not (proofs := prove(sub, page, self.end, self.budget)):
                return None
            if not gaps(proofs, sub.cursor, reach) and (known := self._runs.find(sub)):
                return known
            reach = min(reach, page.reach)
            absorb(sub.set, page, self.budget, self._encode)
            sources = [
                gaps(proofs, sub.cursor, reach),
                replay(sub, page, proofs, reach, self._encode),
            ]
        sources += [channel.between(sub.cursor, reach) for channel in sub.set.channels]
        if frames := self._runs.make(sub, sources, reach, limit):
            return frames
        sub.cursor = reach
        return [] if reach == self.end else None

    def aged(self, age: int) -> list[Subscription]:
        """Live readers whose last id is further than `age` behind the end.

        Nothing may have happened to them for longer than the store remembers, and one
        cut off then could not be told from one that missed something (law 13).
        """
        told = self.end - age
        return [
            sub
            for set in self.sets.values()
            if set.told < told
            for sub in set.live.values()
            if sub.told < told
        ]

    def reopen(self, sub: Subscription, connection: str) -> None:
        """Give a reader that is at the end, though not live any more, its newer id."""
        sub.cursor = self.end
        sub.say(wire.opening(connection, sub.set.names, Position(self.epoch, self.end)))

    # What the feed says.

    def hold(self, names: cabc.Iterable[str]) -> list[ChannelSet]:
        """Note that the feed hands over these channels, from the end on.

        :return: Sets that miss none of their channels any more.
        """
        whole = []
        for name in names:
            channel = self.channels.get(name)
            if channel is None or channel.held:
                continue
            channel.hold(self.end)
            for set in channel.sets:
                set.missing -= 1
                if not set.missing:
                    whole.append(set)
        return whole

    def holds(self) -> list[str]:
        """The channels that a page to :meth:`fill` a hole has to be of."""
        return [name for name, channel in self.channels.items() if channel.held]

    def turn(
        self, epoch: str, entries: cabc.Iterable[Entry], end: int | None = None
    ) -> list[ChannelSet]:
        """Take what has happened since the last turn, in the order of numbers.

        :param end: The store's position, if with this everything up to it has been
            handed over. The first turn of an epoch has one.
        :return: Sets with something for their live members in ``turn``. The caller
            sends it, and empties it.
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
        return touched

    def fill(self, page: Page) -> list[ChannelSet]:
        """Take a page from our end on for what the feed has missed. As :meth:`turn`.

        The hole is closed if the page reaches its end; otherwise, or if the page does
        not fit any more, it is still there and another page is needed.
        """
        touched: _Touched = []
        names = self.holds()
        if page.epoch != self.epoch or page.after != self.end:
            return touched
        if not page.proofs.keys() >= set(names):
            return touched
        hole, self.hole = self.hole, 0
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
        return touched

    def _take(self, entry: Entry, touched: _Touched, final: bool = False) -> bool:
        """One event of the feed. False if those before it have to be fetched."""
        number, prev, name, _, _, _ = entry
        channel = self.channels.get(name)
        if channel is not None and not channel.held:
            channel = None
        if prev is None:
            # It is not kept, so it has the end for its position (law 14).
            if channel is not None and not self.hole:
                if frame := self._encode(entry, self.epoch, self.end):
                    self._show(channel, (self.end, frame), touched)
            return True
        if number <= self.end:
            return True
        if channel is not None:
            if prev > channel.last and prev > self.proved:
                if prev > self.end and not final:
                    return False
                # Live readers are past what is missing, and nothing is filled in
                # backwards (law 6). The gap takes this event's place and number.
                channel.lose(number)
                frame = None
            else:
                frame = self._encode(entry, self.epoch, number)
            self._put(channel, (number, frame or Gap((name,), "unknown")), touched)
        self.end = number
        return True

    def _put(self, channel: _Channel, piece: Piece, touched: _Touched) -> None:
        self.budget.put(channel, piece)
        self._show(channel, piece, touched)

    def _show(self, channel: _Channel, piece: Piece, touched: _Touched) -> None:
        for set in channel.sets:
            if not set.turn:
                touched.append(set)
            set.note(piece)

    def _restart(self, epoch: str, end: int) -> list[ChannelSet]:
        """Another life of the store: everybody is told, at its number (law 12)."""
        self.epoch, self.hole = epoch, 0
        self.end = self.birth = self.proved = end
        self.budget.clear()
        for channel in self.channels.values():
            if channel.held:
                channel.hold(end)
        for set in self.sets.values():
            set.turn = [(end, Gap(set.names, "restarted"))]
            set.gaps = True
        return list(self.sets.values())

    def _render(self, number: int, pieces: list[bytes | Gap]) -> bytes:
        if isinstance(pieces[0], bytes):
            return pieces[0]
        return tell(pieces, self._wait(), Position(self.epoch, number))

    def _tell_all(self, sub: Subscription, reason: str, number: int) -> None:
        sub.cursor = number
        sub.say(self._render(number, [Gap(sub.set.names, reason)]))
