"""A lock between processes that is polled, so that waiting for it has an end.

The kernel's lock alone is unfair: a process that publishes in a loop takes it again before
a process that sleeps between two attempts can. So there is a second lock, the *gate*, for
the process that is next. If that one still has to wait, it writes so into the lock's
file, which every process reads that takes the lock: it releases the lock again, and
waits. The longer a process has waited, the more often it tries the gate.
"""

from __future__ import annotations

import os
import random
import time
import typing as t
from pathlib import Path

from ..._system.inodes import identity
from ..._system.inodes import identity_of
from ..._system.inodes import open_own
from ..._system.inodes import read_at
from ..._system.inodes import write_at
from ..._system.lock import try_exclusive
from ..._system.lock import unlock
from .watch import Stamp
from .watch import Watch

# Seconds between two attempts: at first, when a publish may hold the lock, which takes a
# tenth of a millisecond; later; and for a process that has waited for long.
_SHORTEST, _LONGEST, _OFTEN = 0.000_05, 0.005, 0.000_5
# Seconds of short pauses, and those after which a process has waited for long.
_SHORT, _LONG = 0.002, 0.03
# Seconds at the gate until the others are made to wait. Meanwhile they publish one after
# another, which is faster than if each had to wait for its turn.
_GRACE = 0.001
# Seconds after which a gate that stays closed is ignored: its process may be stopped.
_STOPPED = 0.1

# The lock's file: the last number, whether a process waits at the gate, and inodes.
_NUMBER, _FLAG = 20, 21
_WAITS, _FREE = b"!", b"."
_FLAGS = os.O_RDWR | os.O_CREAT


class Note(t.NamedTuple):
    """What the last process with the lock has written into its file."""

    #: The last number that was committed.
    number: int
    #: The inodes of the files that it was committed to.
    inodes: tuple[int, ...]


class FileLock:
    """A lock on a separate file. The kernel releases it when the process ends, so it is
    never stale. For one connection, and one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        self._gate: int | None = None
        self._watch: Watch | None = None
        self._head = b""
        self._is_next = self._hurries = False
        # Since when this process has waited, or 0; and since when it has been the next.
        self._since = self._next_since = 0.0
        self._pause = _SHORTEST

    def acquire(self, deadline: float) -> bool:
        """Wait for the lock. False if ``time.monotonic()`` reaches the deadline."""
        while not self.attempt():
            if time.monotonic() >= deadline:
                self.give_up()
                return False
            time.sleep(self._pause)
        return True

    def attempt(self) -> bool:
        """Take the lock if it is free, and no other process is next. After a failed
        attempt, call this again, or :meth:`give_up`."""
        fd = self._open() if self._fd is None else self._fd
        if not try_exclusive(fd):
            self._wait(fd)
            return False
        self._head = read_at(fd, _FLAG, 0)
        if self._is_next or self._head[_NUMBER:] != _WAITS or self._goes_first(fd):
            self.give_up()
            return True
        unlock(fd)
        self._wait(fd)
        return False

    def _goes_first(self, fd: int) -> bool:
        """Whether the process that waits at the gate is gone, or stopped."""
        late = self._since and time.monotonic() - self._since > _STOPPED
        if late or self._take_gate():
            write_at(fd, _FREE, _NUMBER)
            return True
        return False

    def _wait(self, fd: int) -> None:
        now = time.monotonic()
        waited = now - self._since
        if not self._since:
            self._since, self._pause = now, _SHORTEST
        elif self._is_next:
            if now - self._next_since > _GRACE:
                # Each time, because a process that believes this one stopped resets it.
                self._hurries = True
                write_at(fd, _WAITS, _NUMBER)
        elif waited < _SHORT:
            self._pause *= 1.5
        elif self._take_gate():
            self._next_since, self._pause = now, _SHORTEST
        else:
            longest = _LONGEST * random.uniform(0.5, 1.5)
            self._pause = _OFTEN if waited > _LONG else longest

    def _take_gate(self) -> bool:
        if self._gate is None:
            self._gate = open_own(self.path.with_suffix(".gate"), _FLAGS)
        self._is_next = try_exclusive(self._gate)
        return self._is_next

    def _leave_gate(self) -> None:
        if self._is_next and self._gate is not None:
            unlock(self._gate)
        self._is_next = False

    def give_up(self) -> None:
        """Stop waiting."""
        if not self._since and not self._is_next:
            return
        self._since = 0.0
        if self._hurries and self._fd is not None:
            write_at(self._fd, _FREE, _NUMBER)
        self._hurries = False
        self._leave_gate()

    def _open(self) -> int:
        self._fd = fd = open_own(self.path, _FLAGS)
        self._watch = Watch(lambda: identity(self.path), identity_of(fd))
        return fd

    def is_current(self, stamp: Stamp | None) -> bool:
        """Whether the file at the path is still the locked one. See :meth:`Watch.holds`."""
        return self._watch is not None and self._watch.holds(stamp)

    # The note, for the process that has the lock.

    @property
    def number(self) -> int:
        """The last number in the note, as it was when the lock was taken."""
        number = self._head[:_NUMBER]
        return int(number) if number.isdigit() else 0

    def noted(self) -> Note | None:
        """The note, if it is complete."""
        assert self._fd is not None
        text = read_at(self._fd, 200, 0)
        number, inodes = text[:_NUMBER], text[_FLAG:].split()
        if len(inodes) == 3 and all(inode.isdigit() for inode in [number, *inodes]):
            return Note(int(number), tuple(map(int, inodes)))
        return None

    def note(self, number: int, inodes: tuple[int, ...] = ()) -> None:
        assert self._fd is not None
        text = b"%020d" % number
        write_at(self._fd, text, 0)
        self._head = text + self._head[_NUMBER:]
        if inodes:
            text = b" ".join(b"%020d" % inode for inode in inodes)
            write_at(self._fd, text + b"\n", _FLAG)

    def release(self) -> None:
        if self._fd is not None:
            unlock(self._fd)

    def close(self) -> None:
        self.give_up()
        self.abandon()

    def abandon(self) -> None:
        """Close it in a child after a fork, without unlocking the parent's."""
        self._since, self._is_next, self._hurries = 0.0, False, False
        for fd in self._fd, self._gate:
            if fd is not None:
                os.close(fd)
        self._fd = self._gate = self._watch = None
