"""The files of a store: whether they are still those that were opened.

SQLite keeps a store in three files. Each process has them open. If one is replaced,
processes can do harm: two that have different ``-shm`` files don't see each other, and
write over each other's events. So the files are compared before each use, by their names
and without opening them, because closing one would drop SQLite's own locks.
"""

from __future__ import annotations

import contextlib
import os
import time
import typing as t
from pathlib import Path

from ..._system.lock import is_range_locked

# Seconds for which a directory has to be unchanged before its time is trusted: two changes
# at one tick of the kernel's clock look like one. On some file systems, a tick is a second.
_TICK, _LONG_TICK = 0.05, 3
# Where SQLite locks a database that it reads, in every version.
_SHARED, _SHARED_BYTES = 0x4000_0000 + 2, 510

#: What a directory looks like. It changes when a name in it leads to another file.
Stamp = tuple[int, int, int]


class Files(t.NamedTuple):
    """The files, by device and inode; zeros for a missing one."""

    database: tuple[int, int]
    wal: tuple[int, int]
    shm: tuple[int, int]

    @classmethod
    def at(cls, path: Path, real: str) -> Files:
        """Those at a path, which leads to the real one."""
        _, wal, shm = names(real)
        return cls(file_at(os.fspath(path)), file_at(wal), file_at(shm))

    @property
    def inodes(self) -> tuple[int, int, int]:
        return self.database[1], self.wal[1], self.shm[1]


def names(path: str) -> tuple[str, str, str]:
    return path, f"{path}-wal", f"{path}-shm"


def file_at(path: str) -> tuple[int, int]:
    try:
        there = os.stat(path)
    except OSError:
        return 0, 0
    # If Windows does not let Python open a file, it reports only when the file was made.
    return there.st_dev, (there.st_ino or there.st_ctime_ns) & (2**63 - 1)


def stamp_of(directory: str) -> Stamp | None:
    try:
        there = os.stat(directory)
    except OSError:
        return None
    return there.st_mtime_ns, there.st_ino, there.st_dev


class Watch:
    """Notices when names lead to other files than they did. One look at the directory is
    enough while that has not changed.

    :param look: What the names lead to now.
    """

    def __init__(self, look: t.Callable[[], object], seen: object) -> None:
        self._look = look
        self._seen = seen
        self._trusted: Stamp | None = None
        self._last: Stamp | None = None
        self._since = 0.0

    def holds(self, stamp: Stamp | None) -> bool:
        """Whether the names still lead to the same files.

        :param stamp: The directory's, taken before.
        """
        if stamp is not None and stamp == self._trusted:
            return True
        now = time.monotonic()
        if stamp != self._last:
            self._last, self._since = stamp, now
        if self._look() != self._seen:
            return False
        if stamp is not None:
            tick = _TICK if stamp[0] % 1_000_000_000 else _LONG_TICK
            if now - self._since > tick:
                self._trusted = stamp
        return True


def is_used(path: str) -> bool:
    """Whether another process has the database open. Not for a process that has it open
    itself, which would lose its locks."""
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return is_range_locked(fd, _SHARED, _SHARED_BYTES)
    finally:
        os.close(fd)


def changed_since_log(path: str) -> bool:
    """Whether anything has changed the database after the last commit to its log: a
    backup that was restored, or a checkpoint. Without a log, nothing has. The time is one
    that programs can't set."""
    database, wal, _ = names(path)
    try:
        log = os.stat(wal)
        return log.st_size > 0 and os.stat(database).st_ctime_ns >= log.st_ctime_ns
    except OSError:
        return False


def remove(*paths: str) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def bytes_of(path: str) -> int:
    """The bytes that it takes on the disk."""
    try:
        found = os.stat(path)
    except OSError:
        return 0
    # Windows does not count them.
    return getattr(found, "st_blocks", -(-found.st_size // 512)) * 512
