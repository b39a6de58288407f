"""What a reader that follows a run receives next.

A reader that follows a run has a cursor, as any other. It begins where its view says, gets
the frames that its group keeps, and is live when it has all of them. If the group does not
reach back to the cursor, the reader needs a page of rows first. Nothing follows the frame
with which the run ends (laws R58 to R60).
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from heapq import merge

from .._event import base62
from .._event import escape
from .._event import ItemsPage
from .._event import Position
from . import wire
from .channel import Frame
from .channel import Gap
from .channel import number_of
from .channel import Piece
from .followed import ALL
from .followed import Before
from .followed import LastFrame
from .followed import number_to_read
from .followed import ReadBefore
from .followed import RunGroup
from .followed import RunPieces
from .log import Log
from .run_rows import PROGRESS
from .run_rows import STATUS
from .run_rows import tag_in
from .run_wires import skip
from .subscription import Subscription

#: The frames of a reader that has all that it will get. Its stream has to end.
OVER: list[Frame] = []


class Following:
    """
    :param wait: See :class:`.Readers`.
    :param note: The same.
    """

    def __init__(
        self,
        log: Log,
        wait: cabc.Callable[[], float],
        note: cabc.Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._log = log
        self._wait = wait
        self._note = note

    def begin(self, sub: Subscription, group: RunGroup, connection_id: str) -> None:
        """Put a reader where its view says. The feed watches its channel."""
        log, follow = self._log, sub.follow
        sub.epoch, sub.cursor = log.epoch, follow.after
        sub.last_id_number = follow.after
        if follow.epoch != log.epoch:
            # The store has begun another life since, or this hub has not noticed it yet.
            if not group.wire.is_plain:
                sub.send_first(wire.opening(connection_id, group.names, None))
            self._break_off(sub, group)
        elif not group.wire.is_plain:
            opening = wire.opening(connection_id, group.names, None)
            sub.send_first(f"id: {_id(sub)}\n".encode() + opening)

    def read(
        self,
        sub: Subscription,
        group: RunGroup,
        limit: int,
        page: RunPieces | None = None,
    ) -> list[Frame] | None:
        """As :meth:`.Readers.read`. :data:`OVER` if the reader has all.

        :param page: Begins where :meth:`.RunGroup.begin_page` says, or before.
        """
        log = self._log
        if sub.rest:
            return [(sub.cursor, sub.rest)]
        if sub.cursor == ALL:
            return OVER
        if sub.epoch != log.epoch:
            self._break_off(sub, group)
            return [(sub.cursor, sub.rest)]
        # A reader that has some events of the next row waits for it, because the live ones
        # get all of it.
        if sub.cursor + (sub.follow.skip > 0 and sub.cursor == sub.follow.after) > log.end:
            return None
        if not group.reaches(sub.cursor):
            if page is None or not _fits(page, sub, log):
                return None
            if page.horizon > sub.cursor:
                return self._read_gap(sub, group, page)
            if frames := self._frames(sub, group, page.pieces, page.reach, limit):
                return frames
            sub.cursor = page.reach
            if not group.reaches(sub.cursor):
                return None
        reach = max(sub.cursor, group.sure(log.end))
        kept = group.kept.between(sub.cursor, log.end)
        if frames := self._frames(sub, group, kept, reach, limit):
            return frames
        sub.cursor = reach
        return []

    def _frames(
        self,
        sub: Subscription,
        group: RunGroup,
        pieces: cabc.Iterable[Piece],
        reach: int,
        limit: int,
    ) -> list[Frame]:
        """About `limit` bytes of frames, behind the reader's cursor and up to `reach`."""
        frames: list[Frame] = []
        newest = [] if group.newest is None else [group.newest]
        for number, piece in merge(pieces, newest, key=number_of):
            if not sub.cursor < number <= reach:
                continue
            if isinstance(piece, Gap):
                return frames or self._send_gap(sub, group, number, "unknown")
            if number == sub.follow.after + 1 and type(piece) is bytes:
                piece = skip(piece, sub.follow.skip)
            frames.append((number_to_read((number, piece)), piece))
            limit -= len(piece)
            if limit <= 0 or isinstance(piece, LastFrame):
                return frames
        if frames:
            frames.append((reach, b""))
        return frames

    def _read_gap(self, sub: Subscription, group: RunGroup, page: RunPieces) -> list[Frame]:
        """Rows that the reader lacks are forgotten (law R60)."""
        # The group may still have frames of rows that are forgotten.
        upto = min(page.horizon, group.kept.floor)
        frames = self._send_gap(sub, group, upto, "trimmed")
        if page.is_last and page.newest <= upto and not group.kept:
            # All of the run is forgotten, so its end is.
            sub.cursor = ALL
            return [(sub.cursor, sub.rest)]
        return frames

    def _send_gap(
        self, sub: Subscription, group: RunGroup, number: int, reason: str
    ) -> list[Frame]:
        self._note(reason)
        if group.wire.is_plain:
            sub.cursor, sub.rest = ALL, group.broken("gap")
        else:
            here = Position(self._log.epoch, number)
            sub.cursor = number
            sub.send_first(wire.gap(group.names, reason, self._wait(), here))
        return [(sub.cursor, sub.rest)]

    def _break_off(self, sub: Subscription, group: RunGroup) -> None:
        """End a reader whose run is not in the store's epoch."""
        self._note("restarted")
        if group.wire.is_plain:
            last = group.broken("restarted")
        else:
            # Without a position, so that the client keeps its own. Then it gets all of the
            # run, if the new epoch has it.
            last = wire.gap(group.names, "restarted", self._wait(), None)
        sub.cursor, sub.rest = ALL, b"".join([sub.rest, last])

    def take(self, group: RunGroup, page: ItemsPage) -> RunPieces:
        """Encode the rows of a page. The group keeps them if the log's budget allows it."""
        log, kept = self._log, group.kept
        # The group has everything after its floor.
        reach, horizon = min(page.reach, kept.floor), page.horizons[group.own]
        has_before = not group.wire.looks_back or group.read.fits(page.after)
        pieces: list[Piece] = []
        ours = [row.number for row in page.rows if tag_in(row.item) == group.tag]
        is_last = page.reach >= max(page.end, kept.floor)
        taken = RunPieces(
            *(page.epoch, page.after, reach, horizon, is_last, max(ours, default=0)),
            *(has_before, pieces),
        )
        if page.epoch != log.epoch:
            return taken
        pieces += _encode(group, page, reach)
        begin = max(page.after, horizon)
        if begin < kept.floor <= page.reach:
            known = [piece for piece in pieces if piece[0] > horizon]
            log.budget.put_before(kept, known, begin)
        return taken


def _encode(group: RunGroup, page: ItemsPage, reach: int) -> t.Iterator[Piece]:
    read = group.read
    # Otherwise it begins before the newest event of each reader: see begin_page().
    before = Before(read.event if read.fits(page.after) else b"")
    number = read.number if read.fits(page.after) else page.after
    for row in page.rows:
        if row.number > reach:
            break
        if tag_in(row.item) != group.tag:
            continue
        piece = group.piece(row, page.epoch, before)
        if row.type not in (STATUS, PROGRESS):
            number = row.number
        if piece is not None and row.type == PROGRESS and not isinstance(piece[1], Gap):
            if group.newest is None or group.newest[0] < row.number:
                group.newest = piece
        elif piece is not None:
            yield piece
    group.read = ReadBefore(before.event or b"", number, reach)


def _fits(page: RunPieces, sub: Subscription, log: Log) -> bool:
    """Whether the page continues what the reader has."""
    if page.epoch != log.epoch or not page.after <= sub.cursor < page.reach:
        return False
    return page.has_before or page.after < sub.last_id_number


def _id(sub: Subscription) -> str:
    """The id of what the reader has already. It may have some of the events of the next
    row: see :meth:`.PushWire.row`."""
    follow = sub.follow
    position = f"{sub.epoch}-{base62(follow.after)}"
    return f"{position}.{escape(follow.channel)}.{follow.skip}" if follow.skip else position
