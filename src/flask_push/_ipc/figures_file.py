"""The file in which one process of the app counts.

In the file there are the names of the values, which differ between versions, and then two
blocks of numbers with checksums: what was counted, and what the hub has noted. Who reads a
block while it is written finds a wrong checksum, and reads it again later.
"""

from __future__ import annotations

import errno
import json
import os
import struct
from pathlib import Path
from zlib import crc32

from .._delivery.figures import Figures
from .._delivery.figures import MAX_VALUES
from .._system.inodes import identity
from .._system.inodes import identity_of
from .._system.inodes import open_own
from .._system.inodes import read_at
from .._system.inodes import write_at
from .._system.lock import lock_shared

# The length of the names, and its checksum. The names follow.
_HEAD = struct.Struct("<II")
_SUM = struct.Struct("<I4x")
_MAX_NAMES = 32_768


class FiguresFile:
    """An open file of a process.

    :param keys: The names of the values, if the file is new.
    """

    def __init__(self, fd: int, path: Path, keys: tuple[str, ...] = ()) -> None:
        self.fd = fd
        self._path = path
        self._keys = keys
        self._names = json.dumps(keys).encode() if keys else b""
        self._numbers = struct.Struct(f"<{len(keys)}Q")

    @classmethod
    def make(
        cls, directory: Path, name: str, keys: tuple[str, ...], noted: Figures
    ) -> FiguresFile:
        """Make the file of this process.

        :param noted: What the hub has of it already.
        :raises OSError: If it can't be made.
        """
        hidden = directory / f".{name}"
        file = cls(open_own(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL), hidden, keys)
        try:
            if not lock_shared(file.fd, 0):
                raise OSError("a new file is locked")
            names = file._names
            _write_whole(file.fd, _HEAD.pack(len(names), crc32(names)) + names, 0)
            file.write([0] * len(keys))
            file.note(noted)
            file._path = directory / name
            os.rename(hidden, file._path)
        except BaseException:
            file.remove()
            file.close()
            raise
        return file

    @property
    def _counted_at(self) -> int:
        return _HEAD.size + len(self._names)

    @property
    def _noted_at(self) -> int:
        return self._counted_at + _SUM.size + self._numbers.size

    def write(self, values: list[int]) -> None:
        """Write what was counted."""
        self._write(values, self._counted_at)

    def _write(self, values: list[int], at: int) -> None:
        body = self._numbers.pack(*values)
        _write_whole(self.fd, _SUM.pack(crc32(body)) + body, at)

    def note(self, figures: Figures) -> None:
        """Write what the hub has."""
        self._write([figures.get(key, 0) for key in self._keys], self._noted_at)

    def read(self) -> tuple[Figures, Figures]:
        """What was counted, and what the hub has.

        :raises ValueError: If it is not that now.
        """
        size, checksum = _HEAD.unpack(self._part(_HEAD.size, 0))
        names = self._part(min(size, _MAX_NAMES), _HEAD.size)
        keys = json.loads(names) if crc32(names) == checksum else []
        if not (isinstance(keys, list) and 0 < len(keys) <= MAX_VALUES):
            raise ValueError(f"{self._path} has no names")
        self._names, self._keys = names, tuple(map(str, keys))
        self._numbers = struct.Struct(f"<{len(keys)}Q")
        return self._figures(self._counted_at), self._figures(self._noted_at).counted

    def _figures(self, at: int) -> Figures:
        data = self._part(_SUM.size + self._numbers.size, at)
        body, (checksum,) = data[_SUM.size :], _SUM.unpack(data[: _SUM.size])
        if crc32(body) != checksum:
            raise ValueError(f"{self._path} is being written")
        values = zip(self._keys, self._numbers.unpack(body), strict=True)
        return Figures.from_json(dict(values))

    def _part(self, size: int, at: int) -> bytes:
        data = read_at(self.fd, size, at)
        if len(data) != size:
            raise ValueError(f"{self._path} is too short")
        return data

    @property
    def is_removed(self) -> bool:
        """Whether the file has no path any more."""
        return not os.fstat(self.fd).st_nlink

    def remove(self) -> None:
        """Remove the file, unless another one has its path."""
        if identity(self._path) == identity_of(self.fd):
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        os.close(self.fd)


def _write_whole(fd: int, data: bytes, offset: int) -> None:
    """
    :raises OSError: If the disk is full.
    """
    if write_at(fd, data, offset) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
