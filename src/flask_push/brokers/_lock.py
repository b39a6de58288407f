"""A lock between processes that is polled, so that waiting for it has an end."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

# From short, because a publish holds the lock for a tenth of a millisecond, to what
# costs nothing while somebody holds it for long.
_SHORTEST, _LONGEST = 0.000_05, 0.005


class FileLock:
    """``flock`` on a file of its own. The kernel drops it with the process, so a lock
    is never stale. Not for several threads at once; belongs to one connection."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def acquire(self, deadline: float) -> bool:
        """Wait until ``time.monotonic()`` says the deadline. False if it is past."""
        pause = _SHORTEST
        while True:
            if self._fd is None:
                self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                if self._is_current():
                    return True
                # Somebody replaced the file: others hold a lock on the new one.
                self.close()
                continue
            if time.monotonic() >= deadline:
                return False
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST)

    def note(self, number: int) -> None:
        """Leave a number in the file, for whoever holds the lock next."""
        assert self._fd is not None
        os.pwrite(self._fd, b"%020d" % number, 0)

    def noted(self) -> int:
        assert self._fd is not None
        text = os.pread(self._fd, 20, 0)
        return int(text) if text.isdigit() else 0

    def release(self) -> None:
        if self._fd is not None:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Also right in a child after a fork, where it does not unlock the parent's."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _is_current(self) -> bool:
        assert self._fd is not None
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self._fd))
