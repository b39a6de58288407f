"""The file in which a hub writes its position, for all processes of the app.

A stream carries the position that its process knew when the request came. A process reads
this file at each request, so reading it has to be fast: one call to the system, and no
lock. A process that reads while the hub writes may get parts of two positions, and then the
checksum is wrong. It reads again, or takes what it read before: an older position is right
as well, and costs a reconnection at most.

The file is read, and not mapped into memory: if anything truncated a mapped file, the next
look at it would end the process.
"""

from __future__ import annotations

import os
import struct
import time
import typing as t
from pathlib import Path
from zlib import crc32

from .._event import Position
from .._system.inodes import Identity
from .._system.inodes import identity
from .._system.inodes import identity_of
from .._system.inodes import open_own
from .._system.inodes import read_at
from .._system.inodes import write_at

#: The length of the file.
SIZE = 64
# The number, the epoch, and the checksum of both; then zeros.
_BODY = struct.Struct("<Q48s")
_SUM = struct.Struct("<I4x")
# How often a process reads before it takes what it read last.
_ATTEMPTS = 5
# Seconds after which it looks whether the path leads to another file than the open one.
_LOOK_SECONDS = 1.0


class SeenFile:
    """One end of the file: the hub's, or that of a process of the app. From any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: _File | None = None
        # What was written or read last, and as bytes. Other threads may replace it.
        self._last: tuple[bytes, Position | None] = b"", None
        self._look_at = 0.0

    # The hub.

    def write(self, position: Position) -> None:
        """Write the hub's position. It makes the file if there is none.

        :raises OSError: If it can't be written.
        """
        self._last = data, _ = encode(position), position
        if self._file is None:
            self._file = _File(self._path, os.O_RDWR | os.O_CREAT)
        self._file.write(data)

    def renew(self) -> None:
        """If the file was removed or replaced, make it again.

        :raises OSError: If it can't be written.
        """
        if self._file is not None and identity(self._path) != self._file.identity:
            self._file = None
        _, position = self._last
        if self._file is None and position is not None:
            self.write(position)

    # A process of the app.

    def read(self) -> Position | None:
        """The hub's position; ``None`` if no hub has written one. Never raises."""
        # A stream whose process misses the first file would be sent back, so while there is
        # none, each request looks.
        if self._file is None or time.monotonic() >= self._look_at:
            self._look()
        # Another thread may replace the file. This one stays open as long as it is used.
        file = self._file
        if file is None:
            return None
        before, last = self._last
        for _ in range(_ATTEMPTS):
            data = file.read()
            if data == before:
                return last
            position = decode(data)
            if position is not None:
                self._last = data, position
                return position
        return last

    def _look(self) -> None:
        self._look_at = time.monotonic() + _LOOK_SECONDS
        there = identity(self._path)
        if self._file is not None and there == self._file.identity:
            return
        try:
            self._file = None if there is None else _File(self._path, os.O_RDONLY)
        except OSError:
            # It is another user's, or no file.
            self._file = None


class _File:
    """An open file. It is closed when no thread uses it any more."""

    def __init__(self, path: Path, flags: int) -> None:
        # Closed even if the process ends early in __init__.
        self._fd = -1
        self._fd = open_own(path, flags)
        self.identity: Identity = identity_of(self._fd)

    def read(self) -> bytes:
        try:
            return read_at(self._fd, SIZE, 0)
        except OSError:
            return b""

    def write(self, data: bytes) -> None:
        write_at(self._fd, data, 0)

    def __del__(self, close: t.Callable[[int], None] = os.close) -> None:
        if self._fd >= 0:
            close(self._fd)


def encode(position: Position) -> bytes:
    """The contents of the file."""
    body = _BODY.pack(position.number, position.epoch.encode())
    return body + _SUM.pack(crc32(body))


def decode(data: bytes) -> Position | None:
    """The position in the file; ``None`` if it is torn, or something else."""
    if len(data) != SIZE:
        return None
    body, (checksum,) = data[: _BODY.size], _SUM.unpack(data[_BODY.size :])
    if crc32(body) != checksum:
        return None
    number, epoch = _BODY.unpack(body)
    return Position(epoch.rstrip(b"\0").decode("latin-1"), number)
