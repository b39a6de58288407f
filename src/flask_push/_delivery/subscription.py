"""Which readers receive what: subscriptions, and groups that share their channels."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from .._event import Page
from . import gzip
from .channel import Channel
from .channel import Chunk
from .channel import ExcludingFrame
from .channel import Frame
from .channel import Gap
from .channel import Piece

# Bytes after which a block is full. Of a block that is cut short, its rest is kept.
_BLOCK = 64 * 1024


class ChannelSet:
    """All subscriptions to the same channels."""

    __slots__ = (
        *("channels", "names", "missing", "members"),
        *("live", "turn", "gaps", "excluded", "told", "stamp"),
    )

    def __init__(self, channels: tuple[Channel[ChannelSet], ...]) -> None:
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
        #: The names of connections that an event of this turn excludes.
        self.excluded: frozenset[str] = frozenset()
        #: A number that all live members were sent, if they were not sent a later one
        #: of their own.
        self.told = 0
        #: When the live members were last sent something, by the caller's clock.
        self.stamp = 0.0

    def note(self, piece: Piece) -> None:
        """Add to what this turn brings."""
        self.turn.append(piece)
        if type(piece[1]) is bytes:
            return
        if isinstance(piece[1], Gap):
            self.gaps = True
        elif isinstance(piece[1], ExcludingFrame):
            self.excluded |= {piece[1].excluded}

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
        """The name by which events exclude it."""
        return ""

    def unless_excluded(self, frame: Chunk) -> Chunk:
        """The frame, or nothing if it excludes this reader, whose cursor then passes over
        it as over any other."""
        excluded = isinstance(frame, ExcludingFrame) and frame.excluded == self.name
        return b"" if excluded else frame

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
