"""Locks between processes (``flock``), which the kernel releases when a process ends."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from .abilities import fcntl
from .inodes import identity
from .inodes import identity_of
from .inodes import open_own

# Seconds between two attempts to share a lock.
_RETRY_SECONDS = 0.005


def try_exclusive(fd: int) -> bool:
    """Take the lock, if no other descriptor has it."""
    if fcntl is None:
        raise OSError(errno.ENOTSUP, "this system has no flock")
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
    fcntl.flock(fd, fcntl.LOCK_UN)


def is_range_locked(fd: int, start: int, size: int) -> bool:
    """Whether another process has locked some of these bytes, as SQLite does."""
    if fcntl is None:
        return True
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, size, start)
    except (BlockingIOError, PermissionError):
        return True
    except OSError:
        return False
    return False
