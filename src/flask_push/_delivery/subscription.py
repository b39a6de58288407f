"""Subscriptions, and the groups of those that read the same channels."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from .._event import Page
from .channel import Channel
from .channel import Chunk
from .channel import ExcludingFrame
from .channel import Frame
from .channel import Gap
from .channel import Piece
from .channel import rest_of
from .follow import Follow
from .follow import NOT_FOLLOWING
from .rosters import WatchedRoster


class ReaderGroup:
    """All subscriptions to the same channels and rosters."""

    __slots__ = (
        *("channels", "names", "rosters", "missing", "members"),
        *("live", "turn", "gaps", "excluded", "last_id_number", "stamp"),
    )
    #: Seconds between two writes to its members: see :class:`.PacedGroup`.
    every: float = 0
    #: Whether it is a :class:`.RunGroup`.
    follows: bool = False

    def __init__(
        self,
        channels: tuple[Channel[ReaderGroup], ...],
        rosters: tuple[WatchedRoster[ReaderGroup], ...] = (),
    ) -> None:
        self.channels = channels
        self.names = tuple(channel.name for channel in channels)
        self.rosters = rosters
        #: How many of its channels the feed does not watch yet, and how many of its rosters
        #: have not been read yet.
        self.missing = sum(not channel.held for channel in self.with_items)
        self.members = 0
        #: The members that are at the end. The caller chooses the keys.
        self.live: dict[int, t.Any] = {}
        #: What this turn brings to the live members, merged over the channels (law 5).
        self.turn: list[Piece] = []
        #: Whether it is not sent to all members as it is. If it has a gap, each member gets
        #: a frame of its own.
        self.gaps = False
        #: The public ids of connections that do not get all of it.
        self.excluded: frozenset[str] = frozenset()
        #: The number of the last id that all live members got. A member may have got a
        #: later one of its own.
        self.last_id_number = 0
        #: When the group was last sent something, by the caller's clock.
        self.stamp = 0.0

    def note(self, piece: Piece) -> None:
        """Add a piece to what this turn brings."""
        self.turn.append(piece)
        if type(piece[1]) is bytes:
            return
        if isinstance(piece[1], Gap):
            self.gaps = True
        elif isinstance(piece[1], ExcludingFrame):
            self.excluded |= {piece[1].excluded}

    def reaches(self, number: int) -> bool:
        """Whether the log has everything after the number."""
        return all(channel.reaches(number) for channel in self.channels)

    @property
    def with_items(
        self,
    ) -> tuple[Channel[ReaderGroup] | WatchedRoster[ReaderGroup], ...]:
        """The channels and the rosters."""
        return (*self.channels, *self.rosters) if self.rosters else self.channels

    @property
    def watch(self) -> cabc.Sequence[str]:
        """The channels of its rosters."""
        return [roster.name.channel for roster in self.rosters] if self.rosters else ()

    @property
    def lacks_rosters(self) -> bool:
        """Whether one of its rosters has to be read first."""
        return not all(roster.is_whole for roster in self.rosters)

    def horizon(self) -> int:
        """A reader from before this number needs all items."""
        return max(channel.horizon for channel in self.with_items)

    def has_items(self) -> bool:
        """Whether one of its channels has items, or has had some. Its rosters have."""
        if self.rosters:
            return True
        for channel in self.channels:
            if channel.items is not None:
                return True
        return False

    @staticmethod
    def key(names: cabc.Iterable[str]) -> cabc.Hashable:
        """The key of the one group that reads these channels."""
        return frozenset(names)

    def code(self, data: bytes) -> bytes:
        """The bytes as members of this group get them."""
        return data

    def last_word(self, own: bytes, retry: bytes) -> bytes:
        """The last bytes of a stream that the hub ends.

        :param own: What its reader receives before them.
        :param retry: What says when the browser reconnects.
        """
        return self.code(own + retry)

    def pack(self, frames: list[Frame]) -> list[Frame]:
        """Frames as members of this group get them. Each of them is whole."""
        return frames

    def place(self, end: int) -> int:
        """The number that the live members have reached.

        :param end: The log's end.
        """
        return end

    def admit(self, key: int, sub: Subscription) -> None:
        """Make a reader live that has reached the end."""
        self.live[key] = sub
        self.last_id_number = min(self.last_id_number, sub.last_id_number)

    def leave(self, key: int) -> None:
        """Forget a reader that has ended."""
        self.live.pop(key, None)

    def up_to_date(self) -> int:
        """How many members are not behind."""
        return len(self.live)


class ItemsPlace:
    """Where a reader is that is sent all items, or was sent them and is not live yet."""

    __slots__ = ("position", "base", "sending")

    def __init__(self, position: int, base: int = -1, sending: bool = True) -> None:
        #: The position of its logs, which each of the items has in its id. The reader
        #: continues there when it has all items, or is cut off before.
        self.position = position
        #: The log's end when the items began; -1 if they have not begun. The reader has
        #: each item as it was then, or as it is later.
        self.base = base
        #: Whether items are still to be sent. Then the reader's cursor is the number of the
        #: last row that it was sent.
        self.sending = sending

    def to_json(self, cursor: int) -> list[int]:
        """The place, as plain numbers.

        :param cursor: The reader's.
        """
        return [cursor, self.base, int(self.sending)]

    @classmethod
    def from_json(cls, values: list[int], position: int) -> tuple[ItemsPlace, int]:
        """The place, and the reader's cursor.

        :param position: Where its logs continue.
        """
        cursor, base, sending = values
        return cls(position, base, bool(sending)), cursor


class Subscription:
    """One reader's place. It joins, begins, and reads on until it is live or has left."""

    __slots__ = ("group", "epoch", "cursor", "rest", "last_id_number", "items")

    group: ReaderGroup
    #: The epoch the cursor belongs to.
    epoch: str
    #: The reader has everything up to this number. Has no meaning while it is live.
    cursor: int
    #: The bytes to write before any other: the opening, or a view of the end of a frame
    #: that was written in part (law 9). All readers that are in one frame share it.
    rest: Chunk
    #: The number of the last id that this reader got by itself.
    last_id_number: int
    #: ``None`` if the reader is sent nothing but changes.
    items: ItemsPlace | None

    @property
    def public_id(self) -> str:
        """The id by which events exclude it."""
        return ""

    @property
    def asks_for_items(self) -> bool:
        """Whether its page has to know the items also of channels without any."""
        return False

    @property
    def holds(self) -> str:
        """The word of the last ``push:whole`` that its page has got."""
        return ""

    @property
    def follow(self) -> Follow:
        """The run that it follows."""
        return NOT_FOLLOWING

    @property
    def is_sent_items(self) -> bool:
        """Whether the next bytes are of all items."""
        return self.items is not None and self.items.sending and not self.rest

    def is_newer_than(self, end: int) -> bool:
        """Whether a page that was read at this end of the store is too old for the reader:
        it may have rows that were unset before the reader's items began (law 30)."""
        return self.items is not None and end < self.items.base

    def got_nothing_of(self, page: Page | None) -> bool:
        """Whether it was given this page in vain, and another one would not help now. No
        page has a roster that the reader waits for."""
        if self.group.lacks_rosters:
            return True
        if page is None or self.is_newer_than(page.end):
            return False
        return self.cursor == page.after

    def unless_excluded(self, frame: Chunk) -> Chunk:
        """The frame, or no bytes if the frame excludes this reader. The cursor moves past
        it in either case."""
        excluded = isinstance(frame, ExcludingFrame) and frame.excluded == self.public_id
        return b"" if excluded else frame

    def enter(self, group: ReaderGroup) -> None:
        """Join the group, with no place yet."""
        self.group = group
        group.members += 1
        self.epoch, self.cursor, self.rest, self.last_id_number = "", 0, b"", 0
        self.items = None

    def send_first(self, data: bytes) -> None:
        """Write these bytes before any other. No frame is written in part now."""
        self.rest = b"".join([self.rest, self.group.code(data)])

    def open(self, opening: bytes, page: Page | None) -> None:
        """Begin with these bytes.

        :param page: The history from which it is replayed, besides the log.
        """
        self.send_first(opening)

    def pack(self, frames: list[Frame]) -> list[Frame]:
        """These frames as they are written. A rest is packed already."""
        return frames if self.rest else self.group.pack(frames)

    def advance_all(self, frames: cabc.Sequence[Frame]) -> None:
        """Note that all of these frames were written."""
        self.rest = b""
        self.cursor = frames[-1][0]
        for number, frame in reversed(frames):
            if frame:
                self.last_id_number = number
                return

    def advance(self, frames: cabc.Iterable[Frame], written: int) -> None:
        """Note that the first `written` bytes of these frames were written."""
        rest, self.rest = self.rest, b""
        for number, frame in frames:
            if written < len(frame):
                if written or frame is rest:
                    # A view of this one frame, not of the turn's bytes.
                    self.rest = rest_of(frame, written)
                    self.cursor = number
                return
            written -= len(frame)
            self.cursor = number
            if frame:
                self.last_id_number = number
