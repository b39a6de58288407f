"""One connection to the store's file, and the care that it is the right file.

All writing happens under a lock of our own. That keeps writers from sleeping in
SQLite's busy handler, which is slow and unfair, and rules out a bug of SQLite 3.7.0 to
3.51.2, where a commit and a checkpoint at the same instant can corrupt a WAL file.
Checkpoints happen within commits, hence under the lock too.

The file is a cache that may be lost, and never one that may lie. It can be deleted,
replaced or broken at any time: before each use its path is looked at (and never opened,
since closing it again would drop SQLite's own locks). Another inode, another boot of the
machine, whose last moments may not have reached the disk, or a file that knows less than
was committed to it, is a new epoch (laws 3 and 4).
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sqlite3
import threading
import time
import typing as t
import weakref
from pathlib import Path

from ._lock import FileLock
from ._sql import prepare
from .base import Retention

logger = logging.getLogger("flask_push")

# The file is no database, or no longer.
BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Database:
    """A connection that opens itself, in each process anew. Any thread, one at a time.

    :param retention: Written into the store if given. Otherwise what is there counts.
    """

    def __init__(self, path: Path, retention: Retention | None = None) -> None:
        self.path = path
        self._retention = retention
        self._files: tuple[int, int] | None = None
        self._forget()
        _open.add(self)

    def _forget(self) -> None:
        self._thread_lock = threading.Lock()
        self._lock = FileLock(self.path.with_name(f"{self.path.name}.lock"))
        self._connection: sqlite3.Connection | None = None

    @contextlib.contextmanager
    def write(self, timeout: float) -> t.Iterator[sqlite3.Connection]:
        """A transaction under the lock. Its end is the caller's to commit.

        :raises TimeoutError: If the lock is not to be had in time.
        """
        deadline = time.monotonic() + timeout
        with self._exclusive(deadline), self._unbroken(locked=True):
            connection = self._current(locked=True, deadline=deadline)
            # Only programs that don't know our lock can be in the way now.
            connection.execute(f"PRAGMA busy_timeout = {1000 * _left(deadline):.0f}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def read(self, timeout: float = 2) -> t.Iterator[sqlite3.Connection]:
        """A snapshot. Needs no lock, except to open the file."""
        deadline = time.monotonic() + timeout
        if not self._thread_lock.acquire(timeout=timeout):
            raise TimeoutError(f"Another thread keeps {self.path} busy.")
        try:
            with self._unbroken(locked=False):
                connection = self._current(locked=False, deadline=deadline)
                connection.execute("BEGIN")
                try:
                    yield connection
                finally:
                    connection.execute("ROLLBACK")
        finally:
            self._thread_lock.release()

    def note(self, last: int) -> None:
        """Remember beside the file, within :meth:`write`, what was committed to it: an
        older copy put in its place, even into the same inode, is then found out. On a
        disk that fails, it is not; what was committed counts nevertheless."""
        with contextlib.suppress(OSError):
            self._lock.note(last)

    def close(self) -> None:
        with self._thread_lock:
            if self._connection is not None:
                # Closing the last connection checkpoints, which the lock has to guard.
                # Not for long: it may be the end of the process.
                self._lock.acquire(time.monotonic() + 0.3)
                self._connection.close()
                self._connection = None
            self._lock.close()

    def __del__(self) -> None:
        # Python would close the connection, but without the lock, and never the lock.
        self.close()

    def hold(self, timeout: float) -> bool:
        """Keep other threads from using it."""
        return self._thread_lock.acquire(timeout=timeout)

    def let_go(self) -> None:
        self._thread_lock.release()

    def abandon(self) -> None:
        """After a fork, let go without touching what is the parent's."""
        if self._connection is not None:
            # Never closed: SQLite would take the parent's locks for its own.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))
        self._lock.close()
        self._forget()

    @contextlib.contextmanager
    def _exclusive(self, deadline: float) -> t.Iterator[None]:
        if not self._thread_lock.acquire(timeout=_left(deadline)):
            raise TimeoutError(f"Other threads of this process keep {self.path} busy.")
        try:
            with self._locked(deadline):
                yield
        finally:
            self._thread_lock.release()

    @contextlib.contextmanager
    def _locked(self, deadline: float) -> t.Iterator[None]:
        if not self._lock.acquire(deadline):
            raise TimeoutError(f"Another process holds {self._lock.path}.")
        try:
            yield
        finally:
            self._lock.release()

    @contextlib.contextmanager
    def _unbroken(self, locked: bool) -> t.Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = _code(error)
            if code in BROKEN:
                with contextlib.nullcontext() if locked else self._locked(_soon()):
                    self._quarantine(error)
            elif code == sqlite3.SQLITE_BUSY:
                raise TimeoutError(f"Another program keeps {self.path} busy.") from error
            raise

    def _quarantine(self, error: Exception) -> None:
        """Move the file away, with all that belongs to it. One is kept, to look at."""
        if self._connection is not None and self._is_current():
            logger.error(
                "%s is broken (%s); it goes on in a new file.", self.path, str(error)
            )
            for suffix in "-wal", "-shm", "":
                with contextlib.suppress(FileNotFoundError):
                    os.replace(f"{self.path}{suffix}", f"{self.path}.broken{suffix}")
        self._drop()

    def _current(self, locked: bool, deadline: float) -> sqlite3.Connection:
        if self._connection is not None and not self._is_current():
            self._drop()
        if self._connection is None:
            with contextlib.nullcontext() if locked else self._locked(deadline):
                try:
                    self._connection = self._open(deadline)
                except BaseException as error:
                    # What is half open is only of use to see that the file is broken.
                    if _code(error) not in BROKEN:
                        self._drop()
                    raise
        return self._connection

    def _is_current(self) -> bool:
        try:
            there = os.stat(self.path)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == self._files

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self, deadline: float) -> sqlite3.Connection:
        with contextlib.suppress(FileExistsError):
            # For this user alone, and its companions with it. Only a file that nobody
            # has open yet may be closed again.
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        connection = sqlite3.connect(
            self.path,
            timeout=_left(deadline),
            isolation_level=None,
            check_same_thread=False,
        )
        self._connection = connection
        there = os.stat(self.path)
        self._files = there.st_dev, there.st_ino
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise RuntimeError(
                f"{self.path} is on a file system without shared memory. Set PUSH_RUN_DIR"
                " to a directory on a local disk."
            )
        # Survives the process, not the machine: for that, there is the boot's id.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA journal_size_limit = 4194304")
        connection.execute("BEGIN IMMEDIATE")
        try:
            inode, noted = there.st_ino & (2**63 - 1), self._lock.noted()
            last = prepare(connection, self._retention, boot_id(), inode, noted)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        if last < noted:
            # It is another epoch now, which whoever opens it next need not begin again.
            self.note(last)
        return connection


def boot_id() -> str:
    """Names the time since the machine was started."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _soon() -> float:
    return time.monotonic() + 1


def _left(deadline: float) -> float:
    return max(0, deadline - time.monotonic())


def _code(error: BaseException) -> int:
    """What SQLite calls the error, without the details; 0 if it is not SQLite's."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


# A fork in the middle of another thread's call would leave the child SQLite's own
# mutexes, locked for ever. So it waits until none of our threads is inside.
_open: weakref.WeakSet[Database] = weakref.WeakSet()
_held = threading.local()


def _before_fork() -> None:
    _held.databases = [db for db in list(_open) if db.hold(timeout=1)]


def _after_fork_in_parent() -> None:
    for database in _held.databases:
        database.let_go()


def _after_fork_in_child() -> None:
    for database in list(_open):
        database.abandon()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
