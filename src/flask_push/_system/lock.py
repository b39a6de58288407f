"""Locks between processes, which the kernel releases when a process ends.

They are locks of a whole file (``flock``). Windows has locks of ranges, within which no
other process can even read. So there a file is locked by one byte that is never written.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from .abilities import fcntl
from .abilities import msvcrt
from .inodes import identity
from .inodes import identity_of
from .inodes import open_own

# Seconds between two attempts to share a lock.
_RETRY_SECONDS = 0.005
# Where that byte is: behind everything that is written into a lock's file.
_LOCKED_BYTE = 0x3FFF_FFFF


def try_exclusive(fd: int) -> bool:
    """Take the lock, if no other descriptor has it."""
    if fcntl is None:
        return _try_range(fd, _LOCKED_BYTE, 1)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def try_lock(path: Path) -> int | None:
    """Open the file at the path and lock it.

    :return: Its descriptor, or ``None`` if another process has the lock.
    """
    while True:
        fd = open_own(path, os.O_RDWR | os.O_CREAT)
        try:
            locked = try_exclusive(fd)
        except OSError:
            os.close(fd)
            raise
        if locked and identity(path) == identity_of(fd):
            return fd
        os.close(fd)
        if not locked:
            return None
        # The file was replaced, and other processes lock the new one.


def is_locked(path: Path) -> bool:
    """Whether a process has the lock. Makes no file."""
    try:
        fd = open_own(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return not try_exclusive(fd)
    finally:
        os.close(fd)


def lock_shared(fd: int, seconds: float) -> bool:
    """Share a lock. False if another process has it exclusively for so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_RETRY_SECONDS)


def is_shared(fd: int) -> bool:
    """Whether another descriptor has the lock."""
    if not try_exclusive(fd):
        return True
    unlock(fd)
    return False


def unlock(fd: int) -> None:
    if fcntl is None:
        _unlock_range(fd, _LOCKED_BYTE, 1)
    else:
        fcntl.flock(fd, fcntl.LOCK_UN)


def is_range_locked(fd: int, start: int, size: int) -> bool:
    """Whether another process has locked some of these bytes, as SQLite does."""
    if fcntl is None:
        if free := _try_range(fd, start, size):
            _unlock_range(fd, start, size)
        return not free
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, size, start)
    except (BlockingIOError, PermissionError):
        return True
    except OSError:
        return False
    return False


def _try_range(fd: int, start: int, size: int) -> bool:
    os.lseek(fd, start, os.SEEK_SET)
    try:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, size)
    except PermissionError:
        return False
    return True


def _unlock_range(fd: int, start: int, size: int) -> None:
    os.lseek(fd, start, os.SEEK_SET)
    # It fails if the bytes are not locked.
    with contextlib.suppress(OSError):
        msvcrt.locking(fd, msvcrt.LK_UNLCK, size)
