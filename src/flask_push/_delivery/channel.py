"""The parts of the :class:`Log`: frames kept by channel, and readers' places in them."""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from bisect import bisect_right
from collections import deque
from operator import itemgetter

from .._event import Apart
from .._event import Page
from . import gzip


class Gap(t.NamedTuple):
    """Stands in a log where events were lost. Becomes a frame of its own for each
    reader, since each is told another time to wait before it refetches."""

    channels: tuple[str, ...]
    reason: str


#: What is at a number: an event's frame, or a gap.
Piece = tuple[int, bytes | Gap]
#: What can be written. A view is the rest of a frame.
Chunk = bytes | memoryview
#: What is to be written, with the number that a reader has reached when it has it.
Frame = tuple[int, Chunk]

number_of = itemgetter(0)

# Bytes after which a block is full. Of a block that is cut short, its rest is kept.
_BLOCK = 64 * 1024

# What a frame costs beside its bytes: a tuple, an int, two references, rounded up.
_OVERHEAD = 160


def frame_of(rest: memoryview) -> bytes:
    """The frame that this is a view of."""
    return t.cast(bytes, rest.obj)


def join(frames: list[Frame]) -> Chunk:
    """What is written at once. Of a single frame, no copy."""
    return frames[0][1] if len(frames) == 1 else b"".join([frame for _, frame in frames])


class Channel:
    """The log of one channel, from the end at which it was first held."""

    __slots__ = ("name", "held", "floor", "last", "lost", "pieces", "head", "sets")

    def __init__(self, name: str) -> None:
        self.name = name
        #: Whether the feed hands this channel's events over.
        self.held = False
        #: Everything after this number and up to the log's end is in `pieces`.
        self.floor = 0
        #: The last number of the channel that went through here.
        self.last = 0
        #: Readers with a cursor between the two may have missed what was never here.
        self.lost = (0, 0)
        self.pieces: list[Piece] = []
        # Index of the oldest. Deleting from a list's front moves all the rest.
        self.head = 0
        self.sets: set[ChannelSet] = set()

    def __len__(self) -> int:
        return len(self.pieces) - self.head

    def hold(self, number: int) -> None:
        """Begin anew, with everything from the number on."""
        self.held = True
        self.floor = self.last = number
        self.lost = (0, 0)
        self.pieces = []
        self.head = 0

    def drop(self, upto: int) -> list[Piece]:
        """Let go of everything up to the number."""
        index = self._index(upto)
        dropped = self.pieces[self.head : index]
        self.floor = max(self.floor, upto)
        self._begin_at(index)
        return dropped

    def drop_oldest(self) -> Piece:
        piece = self.pieces[self.head]
        self.floor = max(self.floor, piece[0])
        self._begin_at(self.head + 1)
        return piece

    def put_before(self, pieces: list[Piece], floor: int) -> None:
        """Reach back to an older floor, with all that is between the two."""
        self.pieces[: self.head] = pieces
        self.head = 0
        self.floor = floor

    def _begin_at(self, index: int) -> None:
        self.head = index
        if index > 64 and index * 2 > len(self.pieces):
            del self.pieces[:index]
            self.head = 0

    def between(self, after: int, upto: int) -> cabc.Iterator[Piece]:
        for index in range(self._index(after), len(self.pieces)):
            piece = self.pieces[index]
            if piece[0] > upto:
                return
            yield piece

    def _index(self, number: int) -> int:
        return bisect_right(self.pieces, number, self.head, key=number_of)


class Budget:
    """Keeps the frames of all channels under a number of bytes; the oldest go first."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        #: Whether it is being changed for one reader: an exception then is not its alone.
        self.torn = False
        self.clear()

    def __len__(self) -> int:
        return self._count

    def clear(self) -> None:
        self._size = self._count = 0
        # The channel of each piece, oldest first; and some whose piece is gone.
        self._order: deque[Channel] = deque()

    def put(self, channel: Channel, piece: Piece) -> None:
        channel.last = piece[0]
        channel.pieces.append(piece)
        self._order.append(channel)
        self._count += 1
        self._size += _OVERHEAD + len(piece[1])
        while self._size > self.max_bytes:
            oldest = self._order.popleft()
            if oldest:
                self._size -= _OVERHEAD + len(oldest.drop_oldest()[1])
                self._count -= 1

    def put_before(self, channel: Channel, pieces: list[Piece], floor: int) -> None:
        """Let a channel reach back further, if the budget allows it."""
        size = sum(_OVERHEAD + len(piece[1]) for piece in pieces)
        if not self.allows(size):
            return
        self.torn = True
        channel.put_before(pieces, floor)
        # They are the first to go.
        self._order.extendleft([channel] * len(pieces))
        self._count += len(pieces)
        self._size += size
        self.torn = False

    def allows(self, size: int) -> bool:
        return self._size + size <= self.max_bytes

    def drop(self, channel: Channel, upto: int) -> None:
        self.torn = True
        dropped = channel.drop(upto)
        self._count -= len(dropped)
        self._size -= sum(_OVERHEAD + len(piece[1]) for piece in dropped)
        if len(self._order) > 2 * self._count + 64:
            channels = set(self._order)
            ages = sorted((p[0], c.name, c) for c in channels for p in c.between(0, c.last))
            self._order = deque(channel for _, _, channel in ages)
        self.torn = False

    def forget(self, channel: Channel) -> None:
        """Drop all of a channel that nobody reads any more."""
        self.drop(channel, channel.last)


class ChannelSet:
    """All subscriptions to the same channels."""

    __slots__ = (
        *("channels", "names", "missing", "members"),
        *("live", "turn", "gaps", "spared", "told", "stamp", "events", "bytes"),
    )

    def __init__(self, channels: tuple[Channel, ...]) -> None:
        self.channels = channels
        self.names = tuple(channel.name for channel in channels)
        #: How many of the channels are not held yet.
        self.missing = sum(not channel.held for channel in channels)
        self.members = 0
        #: The members that are at the end, by a key of the caller's.
        self.live: dict[int, t.Any] = {}
        #: What this turn brings the live members, merged over the channels (law 5).
        self.turn: list[Piece] = []
        #: Whether a gap is among it, so that each must be told by itself.
        self.gaps = False
        #: The names of connections that don't get all of it.
        self.spared: frozenset[str] = frozenset()
        #: A number that all live members were sent, if they were not sent a later one
        #: of their own.
        self.told = 0
        #: When the live members were last sent something, by the caller's clock.
        self.stamp = 0.0
        #: How much was sent to each of them since the set is there.
        self.events = self.bytes = 0

    def note(self, piece: Piece) -> None:
        """Add to what this turn brings."""
        self.turn.append(piece)
        if type(piece[1]) is bytes:
            return
        if isinstance(piece[1], Gap):
            self.gaps = True
        elif isinstance(piece[1], Apart):
            self.spared |= {piece[1].name}

    def reaches(self, number: int) -> bool:
        """Whether everything after the number is in the log."""
        return all(channel.floor <= number for channel in self.channels)

    @staticmethod
    def key(names: cabc.Iterable[str]) -> cabc.Hashable:
        """What there is one of for the same channels."""
        return frozenset(names)

    def code(self, data: bytes) -> bytes:
        """What its members read as these bytes."""
        return data

    def pack(self, frames: list[Frame]) -> list[Frame]:
        """The same for frames, of which each is whole."""
        return frames

    def admit(self, key: int, sub: Subscription) -> None:
        """Make a reader live that has come to the end."""
        self.live[key] = sub
        self.told = min(self.told, sub.told)


class GzipSet(ChannelSet):
    """Those of them that are compressed. To each the same, since it is done once."""

    __slots__ = ()

    @staticmethod
    def key(names: cabc.Iterable[str]) -> cabc.Hashable:
        return "gzip", frozenset(names)

    def code(self, data: bytes) -> bytes:
        return gzip.block(data)

    def pack(self, frames: list[Frame]) -> list[Frame]:
        """Blocks, each with the number of its last frame: half of one is half a frame."""
        packed: list[Frame] = []
        data: list[Chunk] = []
        size = last = 0
        for number, frame in frames:
            if frame:
                data.append(frame)
                size, last = size + len(frame), number
            if size >= _BLOCK:
                packed.append((last, gzip.shared_block(tuple(data))))
                data, size = [], 0
        if data:
            packed.append((last, gzip.shared_block(tuple(data))))
        if frames and not frames[-1][1]:
            # Nobody is given this number as an id.
            packed.append(frames[-1])
        return packed


class Subscription:
    """One reader's place. Joined, begun, then read until it is live or gone."""

    __slots__ = ("set", "epoch", "cursor", "rest", "told")

    set: ChannelSet
    #: The epoch the cursor belongs to.
    epoch: str
    #: Everything up to here has been handed over. Means nothing while live.
    cursor: int
    #: What must be written before anything else may be: the opening, or a view of the end
    #: of a frame that was cut short (law 9). All readers behind one frame share it.
    rest: Chunk
    #: The last number that the reader itself was given as an id.
    told: int

    @property
    def name(self) -> str:
        """What it is called by events that it is not to get."""
        return ""

    def own(self, frame: Chunk) -> Chunk:
        """What this reader gets of a frame: nothing, if it is the one to be spared. Its
        cursor passes over it as over any other."""
        return b"" if isinstance(frame, Apart) and frame.name == self.name else frame

    def enter(self, set: ChannelSet) -> None:
        """Be one of these, with no place yet."""
        self.set = set
        set.members += 1
        self.epoch, self.cursor, self.rest, self.told = "", 0, b"", 0

    def say(self, data: bytes) -> None:
        """Let it be written before anything else is. No half frame is out."""
        self.rest = b"".join([self.rest, self.set.code(data)])

    def open(self, opening: bytes, page: Page | None) -> None:
        """Begin with these bytes.

        :param page: What the replay is made of, besides the log.
        """
        self.say(opening)

    def pack(self, frames: list[Frame]) -> list[Frame]:
        """What of these is to be written. A rest is that already."""
        return frames if self.rest else self.set.pack(frames)

    def advance_all(self, frames: cabc.Sequence[Frame]) -> None:
        """Note that all of these frames are out."""
        self.rest = b""
        self.cursor = frames[-1][0]
        told = (number for number, frame in reversed(frames) if frame)
        self.told = next(told, self.told)

    def advance(self, frames: cabc.Iterable[Frame], written: int) -> None:
        """Note that the first `written` bytes of these frames are out."""
        rest, self.rest = self.rest, b""
        for number, frame in frames:
            if written < len(frame):
                if written or frame is rest:
                    # A view of this one frame, not of the turn's bytes.
                    self.rest = memoryview(frame)[written:]
                    self.cursor = number
                return
            written -= len(frame)
            self.cursor = number
            if frame:
                self.told = number
