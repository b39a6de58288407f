"""The group of all readers that follow the same attempt of a run in the same format.

It keeps the frames of the run's newest rows. Older rows are read from the store (see
:mod:`.following`).
"""

from __future__ import annotations

import collections.abc as cabc
import json
import typing as t

from .. import sse
from .._event import Entry
from .._event import ItemRow
from .._event import MAX_NUMBER
from .._event import OwnChannel
from .._event import Position
from . import run_wires
from .channel import Budget
from .channel import Channel
from .channel import Gap
from .channel import Piece
from .chunks import chunk
from .chunks import LAST
from .encoder import Encoder
from .follow import Follow
from .run_record import ACTIVE
from .run_rows import PROGRESS
from .run_rows import STATUS
from .run_rows import unpack
from .run_wires import Row
from .run_wires import Why
from .run_wires import WIRES
from .subscription import ReaderGroup
from .subscription import Subscription

#: The number of a run's last frame. A reader at this number has all that it will get, even
#: if another hub writes the rest of that frame.
ALL = MAX_NUMBER


class LastFrame(bytes):
    """The last frame of a run. Nothing follows it."""


class NotKnown(Exception):
    """The last words of a run depend on the event before them, which is not known."""


class Before:
    """The event before the next row. ``None`` if it is not known, and empty if there is
    none."""

    __slots__ = ("event",)

    def __init__(self, event: bytes | None = None) -> None:
        self.event = event


class ReadBefore(t.NamedTuple):
    """The newest event that was read, and its number. The run has no other event up to
    `upto`."""

    event: bytes
    number: int
    upto: int

    def fits(self, number: int) -> bool:
        """Whether it is the newest event up to this number."""
        return self.number <= number <= self.upto


def number_to_read(piece: Piece) -> int:
    """The number that a reader reaches with the piece."""
    return ALL if isinstance(piece[1], LastFrame) else piece[0]


class RunGroup(ReaderGroup):
    """
    :param own: The name of the channel of its rows.
    :param encoder: Reports what can't be sent.
    :param sure: Returns up to which number no row of the channel is missing.
    """

    __slots__ = (
        *("own", "tag", "wire", "wire_name", "framing", "kept", "newest", "end", "before"),
        *("read", "_encoder", "_sure", "_back"),
    )
    follows = True

    def __init__(
        self,
        own: OwnChannel,
        follow: Follow,
        encoder: Encoder,
        sure: cabc.Callable[[], int],
    ) -> None:
        super().__init__(())
        self.names = (follow.channel,)
        self.own = own
        self.tag = follow.tag
        self.wire, self.wire_name = WIRES[follow.wire], follow.wire
        self.framing = follow.framing
        #: Its newest frames. The name tells those of one budget apart.
        name = repr((own, follow.tag, follow.wire, follow.framing))
        self.kept: Channel[ReaderGroup] = Channel(name)
        self._encoder, self._sure = encoder, sure
        self.hold(0)

    def __repr__(self) -> str:
        return f"<RunGroup {self.kept.name}: {self.members} members>"

    def hold(self, number: int) -> None:
        """Begin with no frames, and have every row from the number on."""
        self.kept.hold(number)
        #: The newest progress, which is not kept with the frames.
        self.newest: Piece | None = None
        #: The number of the last row, when it has arrived.
        self.end = 0
        #: The event before the next row that arrives.
        self.before = Before()
        #: The event before the next row that is read.
        self.read = ReadBefore(b"", 0, -1)
        # What the live members had for certain before rows were lost. -1 for no loss.
        self._back = -1

    def reaches(self, number: int) -> bool:
        return self.kept.reaches(number)

    def horizon(self) -> int:
        return 0

    def place(self, end: int) -> int:
        """What the live members have for certain. It may be less than the log's end,
        because rows that were lost are noticed at the next one."""
        return self.sure(end) if self._back < 0 else min(end, self._back)

    def sure(self, end: int) -> int:
        """No row is missing among the kept frames up to here."""
        return min(end, self._sure())

    def admit(self, key: int, sub: Subscription) -> None:
        # It has all that the others have, or more.
        self.live[key] = sub
        self._back = -1

    def lose(self, sure: int, upto: int, budget: Budget) -> None:
        """Drop everything up to a number, because rows before it may be missing.

        :param sure: No row is missing up to here.
        """
        self._back = sure if self._back < 0 else min(self._back, sure)
        budget.drop(self.kept, upto)
        self.kept.last = max(self.kept.last, upto)
        self.before.event = None

    def begin_page(self, sub: Subscription) -> int:
        """The number after which a page has to begin that continues what a reader has. It
        may have to have the reader's newest event, too, because the last words of some
        formats depend on the event before them."""
        if not self.wire.looks_back or self.read.fits(sub.cursor):
            return sub.cursor
        if self.read.fits(sub.last_id_number):
            return min(sub.cursor, self.read.upto)
        return min(sub.cursor, sub.last_id_number - 1)

    def code(self, data: bytes) -> bytes:
        return chunk(data) if self.framing == "chunked" else data

    def whole(self, data: bytes) -> bytes:
        """Last words, with what says that the response is complete."""
        return self.code(data) + LAST if self.framing == "chunked" else data

    def last_word(self, own: bytes, retry: bytes) -> bytes:
        if not self.wire.is_plain:
            return own + retry
        # A response that ends without a word of its run must not look complete (law R64).
        return self.broken("disconnected") if own else b""

    def broken(self, why: Why) -> bytes:
        """The last words of a reader that does not get all of its run."""
        return self.whole(self.wire.broken(why))

    def piece(self, stored: Entry | ItemRow, epoch: str, before: Before) -> Piece | None:
        """The piece of a row. ``None`` if the format has none. It is a gap if the row can't
        be sent.

        :raises NotKnown: If the event before the row has to be known.
        """
        number, data = stored.number, stored.data
        try:
            if stored.type == PROGRESS:
                frame = self._progress(data)
            elif stored.type == STATUS:
                row = Row(epoch, number, self.own.channel, STATUS, [data])
                frame = self._status(row, before)
            else:
                events = unpack(data)
                self._check_size(data, events)
                row = Row(epoch, number, self.own.channel, stored.type, events)
                frame = self.code(self.wire.row(row))
                before.event = events[-1]
        except (MemoryError, NotKnown):
            raise
        except Exception as error:
            about = self.own.channel, stored.type, data
            entry = Entry(number, 0, *about, item=stored.item)
            self._encoder.report(entry, Position(epoch, number), error)
            return number, Gap(self.names, "unknown")
        return (number, frame) if frame or isinstance(frame, LastFrame) else None

    def _progress(self, data: bytes) -> bytes:
        json.loads(data)
        return b"" if self.wire.is_plain else self.code(run_wires.progress_frame([data]))

    def _status(self, row: Row, before: Before) -> bytes:
        said = json.loads(row.events[0])
        status, text = str(said["status"]), str(said.get("text") or "")
        if status in ACTIVE:
            return b"" if self.wire.is_plain else self.code(run_wires.status_frame(row))
        if before.event is None and self.wire.looks_back:
            raise NotKnown
        last = self.wire.end(row, status, text, before.event or b"")
        return LastFrame(self.whole(last))

    def _check_size(self, data: bytes, events: cabc.Sequence[bytes]) -> None:
        most = self._encoder.max_event
        if len(data) * 7 > most and (size := max(map(sse.sent_size, events))) > most:
            raise ValueError(f"{size} bytes of data are more than PUSH_MAX_EVENT_BYTES")


class RunPieces(t.NamedTuple):
    """A page of rows, encoded for all readers of a group."""

    epoch: str
    after: int
    reach: int
    #: Rows up to here may be forgotten.
    horizon: int
    #: Whether the store had no rows behind the page.
    is_last: bool
    #: The number of the newest row of the run that the page had. It may be behind `reach`,
    #: because the group has those that are.
    newest: int
    #: Whether the event before the first row is known. Otherwise the page is only for
    #: readers whose newest event it has.
    has_before: bool
    pieces: list[Piece]
