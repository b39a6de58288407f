"""Sends what a turn of the log brought: the same bytes to each live connection of a set.

This is the hot path. Each event passes here once for each set of channels, and its bytes
once for each connection.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import os
import typing as t

from .._delivery.channel import Chunk
from .._delivery.channel import Frame
from .._delivery.channel import join
from .._delivery.subscription import ChannelSet
from .connection import Connection
from .streams import Streams

# Sets whose bytes are made before any are written, and bytes after which it is enough. To
# go to and fro between the two takes longer than either does, and the bytes of all sets
# might be too many to hold.
_SETS = 64
_BYTES = 4 * 2**20

#: What a turn brings a set: frames, the same as they are written, the bytes of them all;
#: and who has had them already.
Turn = tuple[ChannelSet, list[Frame], list[Frame], Chunk, cabc.Sequence[Connection]]


class FanOut:
    """
    :param streams: Do for a connection what is its alone.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, streams: Streams) -> None:
        self._loop = loop
        self._streams = streams

    def send(self, touched: list[ChannelSet], start: int) -> None:
        """Send what the turn brought, from `start` on."""
        self._streams.doubtful = touched
        turns: list[Turn] = []
        size = 0
        for set in touched:
            pieces, set.turn = set.turn, []
            if set.gaps:
                self._tell(set, start)
                continue
            frames = t.cast("list[Frame]", pieces)
            packed = set.pack(frames)
            excluded = self._send_to_excluded(set, frames, start) if set.excluded else ()
            chunk = join(packed)
            turns.append((set, frames, packed, chunk, excluded))
            size += len(chunk)
            if size >= _BYTES or len(turns) >= _SETS:
                self._write(turns, start)
                turns, size = [], 0
        if turns:
            self._write(turns, start)
        self._streams.doubtful = ()

    def _write(self, turns: list[Turn], start: int) -> None:
        now = self._loop.time()
        for (_, _, packed, _, _), connection, written in _write_all(turns):
            if written < 0:
                self._streams.drop(connection)
            else:
                connection.leave_live(start)
                connection.advance(packed, written)
                self._streams.block(connection)
        for set, frames, _, _, excluded in turns:
            set.told, set.stamp = frames[-1][0], now
            for connection in excluded:
                connection.enter_live()

    def _tell(self, set: ChannelSet, start: int) -> None:
        """Send what has a gap in it, which each is told in its own way."""
        set.gaps, set.excluded = False, frozenset()
        for connection in list(set.live.values()):
            connection.leave_live(start)
            self._streams.pump(connection)

    def _send_to_excluded(
        self, set: ChannelSet, frames: list[Frame], start: int
    ) -> list[Connection]:
        """Send the connections that an event excludes what is left for them.

        :return: Those that took all of it.
        """
        names, set.excluded = set.excluded, frozenset()
        done = []
        for connection in [c for c in set.live.values() if c.name in names]:
            connection.told = max(connection.told, set.told)
            connection.leave_live(start)
            left = [(n, connection.unless_excluded(frame)) for n, frame in frames]
            packed = set.pack(left)
            chunk = join(packed)
            try:
                written = connection.write(chunk)
            except OSError:
                self._streams.drop(connection)
                continue
            connection.advance(packed, written)
            if written < len(chunk):
                self._streams.block(connection)
            else:
                done.append(connection)
        return done


def _write_all(turns: list[Turn]) -> list[tuple[Turn, Connection, int]]:
    """The hot path. Says who took less than all of it; nothing at all, -1, if gone."""
    write = os.write
    less = []
    for turn in turns:
        set, _, _, chunk, _ = turn
        size = len(chunk)
        for fd, connection in set.live.items():
            try:
                if (written := write(fd, chunk)) != size:
                    less.append((turn, connection, written))
            except BlockingIOError:
                less.append((turn, connection, 0))
            except OSError:
                less.append((turn, connection, -1))
    return less
