"""The frames that the log keeps, by channel, and how many bytes of them."""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from bisect import bisect_right
from collections import deque
from operator import itemgetter

from .item_log import ItemLog


class Gap(t.NamedTuple):
    """Stands in a log where events were lost. Each reader gets a frame of its own for it,
    with another time to wait before its page fetches the data again."""

    channels: tuple[str, ...]
    reason: str


#: A number, and what the log has there: an event's frame, or a gap.
Piece = tuple[int, bytes | Gap]
#: Bytes to write. A view is the rest of a frame.
Chunk = bytes | memoryview
#: A number, and the bytes to write. A reader that has them has reached the number.
Frame = tuple[int, Chunk]

number_of = itemgetter(0)


# Bytes of memory that a frame takes beside its own: a tuple, an int and two references,
# rounded up.
_OVERHEAD_BYTES = 160
# Bytes of memory that a frame takes beside its own: a tuple, an int, its places in a list
# and in a dict.
_PASSING_BYTES = 256
#: Ranges in which a channel has lost something that are known apart.
MOST_LOST = 8


def frame_of(rest: memoryview) -> bytes:
    """The frame of which this is a view."""
    return t.cast(bytes, rest.obj)


def join(frames: list[Frame]) -> Chunk:
    """The bytes of all frames. A single frame is not copied."""
    return frames[0][1] if len(frames) == 1 else b"".join([frame for _, frame in frames])


class ExcludingFrame(bytes):
    """A frame that one connection does not receive, because its page sent the event."""

    #: The connection's name.
    excluded: str

    @classmethod
    def of(cls, frame: bytes, excluded: str) -> ExcludingFrame:
        made = cls(frame)
        made.excluded = excluded
        return made


class ItemFrame(bytes):
    """A long frame of an item. Each reader may get it with another position in its id, but
    the end is the same for all. So those that have received it in part share the end, which
    the log keeps in any case."""

    #: What the frame ends with.
    tail: bytes
    #: How many bytes at the end of both are the same.
    shared: int

    @classmethod
    def of(cls, frame: bytes, tail: bytes, shared: int) -> ItemFrame:
        made = cls(frame)
        made.tail, made.shared = tail, shared
        return made


def rest_of(frame: Chunk, written: int) -> memoryview:
    """What is left of a frame that was written in part."""
    left = len(frame) - written
    if isinstance(frame, ItemFrame) and left <= frame.shared:
        return memoryview(frame.tail)[-left:]
    return memoryview(frame)[written:]


#: A group of readers. This file needs to know nothing else about it.
G = t.TypeVar("G")


class Channel(t.Generic[G]):
    """The log of one channel, from the end at which the feed began to watch it."""

    __slots__ = (
        *("name", "held", "floor", "last", "lost", "blurred"),
        *("pieces", "head", "groups", "items", "horizon"),
    )

    def __init__(self, name: str) -> None:
        self.name = name
        #: Whether the feed watches this channel.
        self.held = False
        #: `pieces` has everything after this number, up to the log's end.
        self.floor = 0
        #: The number of the channel's latest event.
        self.last = 0
        #: Ranges of numbers, the oldest first. A reader whose cursor is inside of one may
        #: have missed events that were never here.
        self.lost: tuple[tuple[int, int], ...] = ()
        #: The end of the first of them, if it is several in one.
        self.blurred = 0
        self.pieces: list[Piece] = []
        # Index of the oldest piece. To delete from a list's front moves all the others.
        self.head = 0
        self.groups: set[G] = set()
        #: ``None`` if the channel has no items, and has had none.
        self.items: ItemLog | None = None
        #: A reader from before this number needs all items: the unsets that it missed may
        #: be forgotten.
        self.horizon = 0

    def __len__(self) -> int:
        return len(self.pieces) - self.head

    def hold(self, number: int) -> None:
        """Begin with no events, and have everything from the number on."""
        self.held = True
        self.floor = self.last = number
        self.lost, self.blurred = (), 0
        self.pieces = []
        self.head = 0
        if self.items is not None:
            self.items.drop(number)

    def lose(self, number: int) -> None:
        """Note that events between the last one and this number were never here."""
        self.lost += ((self.last, number),)
        if len(self.lost) > MOST_LOST:
            (after, _), (_, self.blurred), *later = self.lost
            self.lost = ((after, self.blurred), *later)

    def restore_lost(self, ranges: list[t.Any]) -> None:
        """Take the ranges that another log has noted."""
        if ranges and isinstance(ranges[0], int):
            # One range, of a version that knew no more.
            ranges = [ranges] if any(ranges) else []
            # It may be several in one.
            self.blurred = max(map(max, ranges), default=0)
        elif len(ranges) >= MOST_LOST:
            self.blurred = ranges[0][1]
        self.lost = tuple((after, upto) for after, upto in ranges)

    def lost_until(self, cursor: int) -> int:
        """The number of the gap that a reader at the cursor must receive, although the log
        no longer has it. 0 if there is none.

        The first gap after the cursor, and not the last: events come between the two.
        """
        for after, upto in self.lost:
            if after < cursor < upto <= self.floor:
                return upto
        return 0

    def is_blurred(self, cursor: int) -> bool:
        """Whether the gaps that a reader at the cursor has missed are no longer known."""
        return cursor < min(self.blurred, self.floor) and self.lost[0][0] < cursor

    def reaches(self, number: int) -> bool:
        """Whether it has everything after the number."""
        items = self.items
        return self.floor <= number and (items is None or items.floor <= number)

    def drop(self, upto: int) -> list[Piece]:
        """Drop everything up to the number."""
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
        """Reach back to an older floor, with all pieces between the two."""
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
    """Bounds the bytes of the frames of all channels. Drops the oldest first."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        #: True while one reader changes it. An exception then concerns all readers.
        self.torn = False
        self.clear()

    def __len__(self) -> int:
        return self._count

    @property
    def size(self) -> int:
        """Bytes of memory, about."""
        return self._size

    def clear(self) -> None:
        self._size = self._count = 0
        # The channel of each piece, the oldest first, and of some that were dropped.
        self._order: deque[Channel[t.Any]] = deque()

    def put(self, channel: Channel[t.Any], piece: Piece) -> None:
        channel.last = piece[0]
        channel.pieces.append(piece)
        self._order.append(channel)
        self._count += 1
        self._size += _OVERHEAD_BYTES + len(piece[1])
        while self._size > self.max_bytes:
            oldest = self._order.popleft()
            if oldest:
                self._size -= _OVERHEAD_BYTES + len(oldest.drop_oldest()[1])
                self._count -= 1

    def put_before(self, channel: Channel[t.Any], pieces: list[Piece], floor: int) -> None:
        """Let a channel reach back further, if the budget allows it."""
        size = sum(_OVERHEAD_BYTES + len(piece[1]) for piece in pieces)
        if not self.allows(size):
            return
        self.torn = True
        channel.put_before(pieces, floor)
        # They are the first to be dropped.
        self._order.extendleft([channel] * len(pieces))
        self._count += len(pieces)
        self._size += size
        self.torn = False

    def allows(self, size: int) -> bool:
        return self._size + size <= self.max_bytes

    def drop(self, channel: Channel[t.Any], upto: int) -> None:
        self.torn = True
        dropped = channel.drop(upto)
        self._count -= len(dropped)
        self._size -= sum(_OVERHEAD_BYTES + len(piece[1]) for piece in dropped)
        if len(self._order) > 2 * self._count + 64:
            channels = set(self._order)
            ages = sorted((p[0], c.name, c) for c in channels for p in c.between(0, c.last))
            self._order = deque(channel for _, _, channel in ages)
        self.torn = False

    def forget(self, channel: Channel[t.Any]) -> None:
        """Drop all pieces of a channel that no longer has readers."""
        self.drop(channel, channel.last)


class Passing:
    """Bounds the events that groups keep because the store does not. Each counts once,
    however many groups keep it.

    :param budget: Has the bound, in bytes.
    """

    def __init__(self, budget: Budget) -> None:
        #: Bytes of memory, about.
        self.size = 0
        self._budget = budget
        # By the identity of an event's frame, how many groups keep it.
        self._groups: dict[int, int] = {}

    def keep(self, frame: bytes) -> bool:
        """Note that one more group keeps a frame. False if there are too many frames."""
        groups = self._groups.get(id(frame), 0)
        if not groups:
            size = self.size + _PASSING_BYTES + len(frame)
            if size > self._budget.max_bytes:
                return False
            self.size = size
        self._groups[id(frame)] = groups + 1
        return True

    def drop(self, frame: bytes) -> None:
        """Note that one group no longer keeps the frame."""
        groups = self._groups.pop(id(frame)) - 1
        if groups:
            self._groups[id(frame)] = groups
        else:
            self.size -= _PASSING_BYTES + len(frame)
