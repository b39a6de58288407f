"""The way to a store's files: a lock, a connection, and a look at what is there.

The store is a cache that may be lost, and never one that may lie. Its files can be
removed, replaced or broken at any time, one or all. So they are looked at before each
use, and after each commit, before it is acknowledged. What was put in their place is
another epoch (laws 3 and 4).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sqlite3
import time
import typing as t
import weakref
from functools import partial
from pathlib import Path

from ..._event import Position
from ..._system.fork import all_of
from ..base import Retention
from . import opening
from . import watch
from .lock import FileLock
from .opening import Opened
from .retention import is_broken
from .retention import is_busy
from .watch import Files
from .watch import Stamp
from .watch import Watch

# Seconds between two attempts while others have a lock of SQLite's.
_PAUSE = 0.005


def if_busy_again(work: t.Callable[[], object], deadline: float) -> None:
    """Do it, and as long as SQLite is locked, again. This process has our own lock, so the
    other one does not know it, or it is the child of a fork, and closes what it inherited.

    :raises sqlite3.OperationalError: If it is still locked at the deadline.
    """
    while True:
        try:
            work()
            return
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= deadline:
                raise
            time.sleep(_PAUSE)


class Access:
    """Of one process, and one thread at a time.

    :param retention: Written into the store if given. Otherwise what is there counts.
    """

    def __init__(self, path: Path, retention: Retention | None) -> None:
        self.path = path
        self.lock = FileLock(path.with_name(f"{path.name}.lock"))
        self.opened: Opened | None = None
        self._retention = retention
        self._watch: Watch | None = None
        self._directory = ""
        _all.add(self)

    def acquire(self, deadline: float) -> None:
        """
        :raises TimeoutError: If the lock is not to be had in time.
        """
        if not self.lock.acquire(deadline):
            raise TimeoutError(f"Another process holds {self.lock.path}.")

    def ready(self, deadline: float, seen: Position) -> sqlite3.Connection:
        """The connection to the files that are there, under the lock that is there.

        :param seen: What was last read or written.
        """
        stamp = self._stamp()
        while not self.lock.is_current(stamp):
            # Other processes lock the new file.
            self.lock.close()
            self.acquire(deadline)
            stamp = self._stamp()
            if self.opened is not None and self.lock.noted() is None:
                self.lock.note(0, self.opened.files.inodes)
        if self.opened is not None and not self._holds(stamp):
            if_busy_again(partial(self._leave, self.opened), deadline)
        if self.opened is None:
            if_busy_again(partial(self._open, seen), deadline)
        assert self.opened is not None
        return self.opened.connection

    def current(self, timeout: float | None, seen: Position) -> sqlite3.Connection:
        """The same, if others have the lock. It is needed to open the files, if at all.

        :param timeout: As :meth:`.Database.read`.
        """
        if self.opened is not None and self._holds(self._stamp()):
            self.lock.give_up()
            return self.opened.connection
        deadline = time.monotonic() + (timeout or 0)
        try:
            if timeout is not None:
                self.acquire(deadline)
            elif not self.lock.attempt():
                raise TimeoutError(f"Another process holds {self.lock.path}.")
            return self.ready(deadline, seen)
        finally:
            self.lock.release()

    def is_current(self) -> bool:
        """Whether the open files and the lock are still those at the paths."""
        stamp = self._stamp()
        return self.lock.is_current(stamp) and self._holds(stamp)

    def _stamp(self) -> Stamp | None:
        return watch.stamp_of(self._directory)

    def _holds(self, stamp: Stamp | None) -> bool:
        return self._watch is not None and self._watch.holds(stamp)

    def _open(self, seen: Position) -> None:
        for late in [late for late in _late if late.path == os.path.realpath(self.path)]:
            _late.remove(late)
            late.connection.close()
        self.opened = opened = opening.open_store(
            self.path, self.lock, self._retention, seen, _is_used_here
        )
        path, real = self.path, opened.path
        self._watch = Watch(lambda: Files.at(path, real), opened.files)
        # Behind a link, names may change unnoticed.
        self._directory = "" if os.path.islink(path) else os.path.dirname(path)

    def _leave(self, opened: Opened) -> None:
        """Close a connection of whose files some or all are gone."""
        if watch.file_at(str(self.path)) == opened.files.database:
            opening.replace_lost(opened.connection, opened.path, self.lock.noted())
        self.drop()

    def mend(self, error: BaseException | None, locked: bool) -> None:
        """Move broken files away. One of each is kept for inspection."""
        opened = self.opened
        if error is None or opened is None or not is_broken(error):
            return
        if not locked:
            self.acquire(time.monotonic() + 0.2)
        try:
            if watch.file_at(str(self.path)) == opened.files.database:
                opening.move_away(opened.connection, opened.path, error)
            self.drop()
        finally:
            if not locked:
                self.lock.release()

    def drop(self) -> None:
        """Close the connection, under the lock: the last one that is closed writes."""
        if self.opened is not None:
            self.opened.connection.close()
            self.opened = None

    def close(self) -> None:
        """Close all, unless the lock is not to be had: then it stays open, for this may be
        the end of the process, which must not wait."""
        if self.opened is not None and self.lock.acquire(time.monotonic() + 0.3):
            path = self.opened.path
            self.drop()
            self._note_end(path)
            self.lock.release()
        if self.opened is None:
            self.lock.close()

    def _note_end(self, path: str) -> None:
        """If that was the last connection, note that there is no log: one that is there
        later is of another store, even if it has the inode of the old one."""
        with contextlib.suppress(OSError):
            note, found = self.lock.noted(), Files.at(self.path, path)
            if (
                note is not None
                and note.inodes[0] == found.inodes[0]
                and not any(found.wal)
            ):
                self.lock.note(note.number, found.inodes)

    def give_up(self) -> None:
        """Close all connections that can be closed now, and the others later."""
        self.close()
        if self.opened is not None:
            _late.append(self.opened)
            self.opened = None
            self.lock.close()

    def abandon(self, clean: bool) -> None:
        """As :meth:`.Database.abandon`."""
        _all.discard(self)
        if self.opened is not None:
            if clean:
                # The parent has the files open and locked, so this changes none. Without
                # it, SQLite would believe that this process has the parent's locks.
                self.opened.connection.close()
            else:
                _leak(self.opened)
        while _late:
            _leak(_late.pop())
        self.opened = None
        self.lock.abandon()


# All of this process, and connections that could not be closed in time.
_all: weakref.WeakSet[Access] = weakref.WeakSet()
_late: list[Opened] = []


def _is_used_here(database: tuple[int, int]) -> bool:
    opened = [access.opened for access in all_of(_all) if access.opened is not None]
    return any(other.files.database == database for other in [*opened, *_late])


def _leak(opened: Opened) -> None:
    """Never close it, because its state is unknown."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(opened.connection))
