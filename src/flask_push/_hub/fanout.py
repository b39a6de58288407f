"""Sends a turn of the log: the same bytes to each live connection of a group.

This is the hot path. Each event passes here once for each group, and its bytes
once for each connection.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc

from .._delivery.channel import Chunk
from .._delivery.channel import Frame
from .._delivery.channel import join
from .._delivery.followed import ALL
from .._delivery.paced import PacedGroup
from .._delivery.subscription import ReaderGroup
from .._system import sockets
from .connection import Connection
from .pacing import Pacing
from .streams import Streams

# For how many groups, and how many bytes, frames are joined before they are written. To do
# both for one group after the other takes longer, and the bytes of all groups may be too
# many to hold.
_MAX_GROUPS = 64
_MAX_BYTES = 4 * 2**20

#: What a turn brings to a group: the frames, the same as they are written, all their bytes,
#: and the connections that have them already.
Turn = tuple[ReaderGroup, list[Frame], list[Frame], Chunk, cabc.Sequence[Connection]]


class FanOut:
    """
    :param streams: Handles connections that are no longer live.
    """

    #: Writes to paced groups when they are due.
    pacing: Pacing

    def __init__(self, loop: asyncio.AbstractEventLoop, streams: Streams) -> None:
        self._loop = loop
        self._streams = streams

    def send(self, touched: list[ReaderGroup], start: int) -> None:
        """Send what the turn brought to these groups, from `start` on."""
        self._streams.doubtful = touched
        turns: list[Turn] = []
        size = 0
        for group in touched:
            pieces, group.turn = group.turn, []
            if group.gaps:
                if isinstance(group, PacedGroup):
                    self.pacing.wait(group, start)
                else:
                    self._send_gap(group, start)
                continue
            frames: list[Frame] = pieces  # type: ignore[assignment]
            packed = group.pack(frames)
            excluded = self._send_rest(group, frames, start) if group.excluded else ()
            # A single frame is not copied.
            chunk = packed[0][1] if len(packed) == 1 else join(packed)
            turns.append((group, frames, packed, chunk, excluded))
            size += len(chunk)
            if size >= _MAX_BYTES or len(turns) >= _MAX_GROUPS:
                self._write(turns, start)
                turns, size = [], 0
        if turns:
            self._write(turns, start)
        self._streams.doubtful = ()

    def _write(self, turns: list[Turn], start: int) -> None:
        now, counts = self._loop.time(), self._streams.counts
        if counts.on:
            for group, frames, _, chunk, _ in turns:
                counts.send(len(group.live), len(frames), len(chunk))
        for (_, frames, packed, chunk, _), connection, written in _write_all(turns):
            if counts.on:
                counts.send_less(frames, packed, len(chunk), written)
            if written < 0:
                self._streams.drop(connection)
            else:
                connection.leave_live(start)
                connection.advance(packed, written)
                self._streams.block(connection)
        for group, frames, _, _, excluded in turns:
            group.last_id_number, group.stamp = frames[-1][0], now
            for connection in excluded:
                connection.enter_live()
            if frames[-1][0] == ALL:
                self._streams.finish_all(group)

    def send_paced(self, group: PacedGroup, frames: list[Frame], start: int) -> None:
        """Send to the members of a group what has waited for them since `start`."""
        self._streams.doubtful = (group,)
        packed = group.pack(frames)
        excluded = self._send_rest(group, frames, start) if group.excluded else ()
        self._write([(group, frames, packed, join(packed), excluded)], start)
        self._streams.doubtful = ()

    def _send_gap(self, group: ReaderGroup, start: int) -> None:
        """Send a turn that has a gap: each connection gets a frame of its own."""
        group.gaps, group.excluded = False, frozenset()
        place = group.place(start)
        for connection in list(group.live.values()):
            connection.leave_live(place)
            self._streams.pump(connection)

    def _send_rest(
        self, group: ReaderGroup, frames: list[Frame], start: int
    ) -> list[Connection]:
        """Send the rest of the turn to connections that are excluded from some of it.

        :return: Those that took all of their bytes.
        """
        names, group.excluded = group.excluded, frozenset()
        done = []
        for connection in [c for c in group.live.values() if c.public_id in names]:
            connection.last_id_number = max(connection.last_id_number, group.last_id_number)
            connection.leave_live(start)
            left = [(n, connection.unless_excluded(frame)) for n, frame in frames]
            packed = group.pack(left)
            chunk = join(packed)
            try:
                written = connection.write(chunk)
            except OSError:
                self._streams.drop(connection)
                continue
            if self._streams.counts.on:
                self._streams.counts.replay(left, packed, written, False)
            connection.advance(packed, written)
            if written < len(chunk):
                self._streams.block(connection)
            else:
                done.append(connection)
        return done


def _write_all(turns: list[Turn]) -> list[tuple[Turn, Connection, int]]:
    """The hot path. Returns connections that took less than all bytes; -1 if it failed."""
    write = sockets.write
    less = []
    for turn in turns:
        group, _, _, chunk, _ = turn
        size = len(chunk)
        for fd, connection in group.live.items():
            try:
                if (written := write(fd, chunk)) != size:
                    less.append((turn, connection, written))
            except BlockingIOError:
                less.append((turn, connection, 0))
            except OSError:
                less.append((turn, connection, -1))
    return less
