"""What a process of the app counts, and how the hub gets it.

Each process has a file of its own in the directory of the hub, and writes what it has
counted there at once. So nothing that a process has counted is lost when it is killed. The
hub reads all files every five seconds. It notes in each file how much of it is in the
hub's own figures by now. So another hub, which has none of them, goes on from there.

A process shares a lock on its file as long as it lives. The hub removes the file of a
process that is dead.

In the file there are the names of the values, which differ between versions, and then two
blocks of numbers with checksums: what was counted, and what the hub has noted. Who reads a
block while it is written finds a wrong checksum, and reads it again later.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import threading
from bisect import bisect_left
from pathlib import Path
from zlib import crc32

from .._delivery.figures import BY_NAME
from .._delivery.figures import Figures
from .._delivery.figures import MAX_VALUES
from .._system import unpatched
from .._system.fork import PerProcess
from .._system.inodes import identity
from .._system.inodes import identity_of
from .._system.inodes import open_own
from .._system.inodes import read_at
from .._system.inodes import write_at
from .._system.lock import is_shared
from .._system.lock import lock_shared
from .._system.names import new_name

#: How many processes may have a file. Others count nothing.
MAX_FILES = 1000

_SECONDS = BY_NAME["publish_seconds"]
#: What a process counts.
_KEYS = (
    *("published_events", "publish_failures:not_published", "publish_failures:uncertain"),
    *("relayed_streams", "relays", f"{_SECONDS.name}:sum"),
    *(f"{_SECONDS.name}:{bound}" for bound in (*_SECONDS.buckets, "inf")),
    *(f"runs_ended:{status}" for status in BY_NAME["runs_ended"].values),
)
_AT = {key: number for number, key in enumerate(_KEYS)}
_SUM_AT = _AT[f"{_SECONDS.name}:sum"]
_FIRST_BUCKET = _AT[f"{_SECONDS.name}:{_SECONDS.buckets[0]}"]
# The length of the names, and its checksum. The names follow.
_HEAD = struct.Struct("<II")
_SUM = struct.Struct("<I4x")
_MAX_NAMES = 32_768


class ProcessFigures(PerProcess):
    """What this process counts. From any thread.

    :param directory: Where the file is made at the first count. ``None`` if the hub is in a
        thread of this process.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._reset()
        super().__init__()

    def __repr__(self) -> str:
        return f"<ProcessFigures {self.figures.to_json()}>"

    def _reset(self) -> None:
        # A relay may be collected, and so end, while this thread counts. The thread of runs
        # is one of the system, even with gevent, whose locks may never wake it.
        self._lock: threading.RLock = unpatched.original("_thread", "RLock")()
        self._values = [0] * len(_KEYS)
        self._taken = Figures()
        self._file: _File | None = None
        self._tried = False

    def abandon(self) -> None:
        if self._file is not None:
            self._file.close()
        self._reset()

    @property
    def figures(self) -> Figures:
        return Figures(dict(zip(_KEYS, self._values, strict=True)))

    def published(self, events: int, micros: int) -> None:
        """Count a call that has stored so many events, and how long it took."""
        self.here()
        with self._lock:
            values = self._values
            values[0] += events
            values[_SUM_AT] += micros
            values[_FIRST_BUCKET + bisect_left(_SECONDS.buckets, micros)] += 1
            self._write()

    def count(self, key: str, change: int = 1) -> None:
        """Count something else, or change a gauge."""
        self.here()
        with self._lock:
            # A relay that ends in the child of a fork may have begun in the parent.
            at = _AT[key]
            self._values[at] = max(0, self._values[at] + change)
            self._write()

    def run_ended(self, status: str) -> None:
        """Count that this process has ended a run."""
        self.count(f"runs_ended:{status}")

    def _write(self) -> None:
        if self._file is None:
            self._file = self._make()
            if self._file is None:
                return
        try:
            self._file.write(self._values)
        except OSError:
            # A disk that is full must not keep the app from publishing.
            return

    def _make(self) -> _File | None:
        if self._directory is None or self._tried:
            return None
        self._tried = True
        with contextlib.suppress(OSError):
            self._directory.mkdir(mode=0o700, exist_ok=True)
            if len(os.listdir(self._directory)) < MAX_FILES:
                return _File.make(self._directory, f"{os.getpid()}-{new_name()}")
        return None

    # For a hub in a thread.

    def take(self) -> tuple[Figures, Figures]:
        """As :meth:`ProcessFiles.take`."""
        self.here()
        with self._lock:
            figures = self.figures
            since, self._taken = figures.counted - self._taken, figures.counted
            return since, figures.gauges


class ProcessFiles:
    """The files of all processes, as the hub sees them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __repr__(self) -> str:
        return f"<ProcessFiles {self._directory}>"

    def take(self) -> tuple[Figures, Figures]:
        """What all processes have counted since the last call, of any hub; and their
        gauges. Never raises."""
        since, gauges = Figures(), Figures()
        with contextlib.suppress(OSError):
            for name in sorted(os.listdir(self._directory))[: 2 * MAX_FILES]:
                # Others are not whole yet.
                if not name.startswith("."):
                    more, now = _take(self._directory / name)
                    since += more
                    gauges += now
        return since, gauges


def _take(path: Path) -> tuple[Figures, Figures]:
    nothing = Figures()
    try:
        file = _File(open_own(path, os.O_RDWR), path)
    except OSError:
        return nothing, nothing
    try:
        # First: a process that is dead writes nothing more.
        is_dead = not is_shared(file.fd)
        counted, noted = file.read()
        since = counted.counted - noted
        if since:
            # First: what counts twice would be worse than what does not count.
            file.note(counted)
        if is_dead:
            file.remove()
            return since, nothing
        return since, counted.gauges + Figures({"processes": 1})
    except (OSError, RecursionError, ValueError):
        return nothing, nothing
    finally:
        file.close()


class _File:
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
    def make(cls, directory: Path, name: str) -> _File:
        """Make the file of this process.

        :raises OSError: If it can't be made.
        """
        hidden = directory / f".{name}"
        file = cls(open_own(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL), hidden, _KEYS)
        try:
            if not lock_shared(file.fd, 0):
                raise OSError("a new file is locked")
            names = file._names
            write_at(file.fd, _HEAD.pack(len(names), crc32(names)) + names, 0)
            file.write([0] * len(_KEYS))
            file._write([0] * len(_KEYS), file._noted_at)
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
        write_at(self.fd, _SUM.pack(crc32(body)) + body, at)

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

    def remove(self) -> None:
        """Remove the file, unless another one has its path."""
        if identity(self._path) == identity_of(self.fd):
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        os.close(self.fd)
