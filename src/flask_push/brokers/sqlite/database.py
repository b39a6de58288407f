"""Transactions in the store's files.

All writing happens under a lock of our own. That keeps writers from sleeping in
SQLite's busy handler, which is slow and unfair, and rules out a bug of SQLite 3.7.0 to
3.51.2, where a commit and a checkpoint at the same instant can corrupt a WAL file.
Checkpoints happen within commits, so they are under the lock too. So are closes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import sys
import threading
import time
import typing as t
from functools import partial
from pathlib import Path

from ..._event import Position
from ..._system import fork
from ..._system import turns
from ..._system.logs import QuietLogger
from ..base import Retention
from . import item_tables
from . import opening
from . import retention as _forget
from . import runs
from . import watch
from .access import Access
from .access import if_busy_again
from .retention import is_busy
from .transaction import Transaction

logger = logging.getLogger("flask_push")
_quiet = QuietLogger()

# Bytes after which a process that has written them looks how long the log (-wal) is, and
# those that a transaction writes beside its events, about.
_LOOK, _BESIDE = 2**20, 2**15
# Bytes above which the log is cut; how many more if that fails; and above which it is cut
# by any means.
_LONG, _LONGER, _TOO_LONG = 8 * 2**20, 4 * 2**20, 256 * 2**20


class Replaced(Exception):
    """Files of the store were removed or replaced while it was written. The present files
    may contain the events, or not."""


class Occupied(TimeoutError):
    """Other threads of this process use the store. It says nothing about the store."""


class Database:
    """A connection that opens itself, once in each process. Any thread, one at a time.

    :param retention: Written into the store if given. Otherwise what is there counts.
    """

    def __init__(self, path: Path, retention: Retention | None = None) -> None:
        self.path = path
        self._retention = retention
        #: The last position that was read or written.
        self.seen = Position("", 0)
        self._start()
        fork.register(self)

    def _start(self) -> None:
        self._pid = os.getpid()
        self._thread_lock = turns.shared_lock()
        self._access = Access(self.path, self._retention)
        self._written, self._long = 0, _LONG

    def write(self, timeout: float) -> Transaction:
        """A transaction under the lock. It is undone if it does not end in a commit.

        :raises TimeoutError: If the lock is not to be had in time.
        """
        return Transaction(self._begin_writing, self._end_writing, timeout)

    def read(self, timeout: float | None = 2) -> Transaction:
        """A snapshot. Needs no lock, except to open the file.

        :param timeout: Without one, this is an attempt that fails at once. It has to be
            repeated until one succeeds, and each is more likely to.
        """
        return Transaction(self._begin_reading, self._end_reading, timeout)

    # Within a transaction that writes.

    @property
    def noted(self) -> int:
        """The last number that is known to have been committed."""
        return self._access.lock.number

    def now(self, last: int) -> int:
        """The time, in numbers, given the last one."""
        assert self._access.opened is not None
        return self._access.opened.clock.now(last)

    def commit(self, last: int, size: int) -> None:
        """Commit what was written, and note the last number beside the file: an older copy
        put in its place is then found out. On a disk that fails, it is not; what was
        committed counts nevertheless.

        :param size: Bytes that were written.
        :raises Replaced: If it may not be in the files that are there now.
        """
        access = self._access
        assert access.opened is not None
        access.opened.connection.execute("COMMIT")
        with contextlib.suppress(OSError):
            access.lock.note(last)
        if not access.is_current():
            raise Replaced(f"Files of {self.path} were replaced.")
        self._written += size + _BESIDE
        if self._written > _LOOK:
            self._written = 0
            with contextlib.suppress(OSError, sqlite3.Error):
                self._cut_log()

    def _cut_log(self) -> None:
        """Begin the log from its start where readers have kept SQLite from doing so."""
        opened = self._access.opened
        assert opened is not None
        size = os.stat(f"{opened.path}-wal").st_size
        if size < self._long:
            return
        # Those who read are waited for, and those who come don't read the log.
        restart = "PRAGMA wal_checkpoint(RESTART)"
        busy, *_ = opened.connection.execute(restart).fetchone()
        self._long = size + _LONGER if busy else _LONG
        if busy and size > _TOO_LONG:
            try:
                opening.replace(opened.connection, opened.path, self._access.lock.noted())
            except PermissionError:
                _quiet.warning(
                    "The log of %s grew to %d bytes, because a process was stopped while it"
                    " was reading. This system replaces no file that is open: end that"
                    " process.",
                    *(self.path, size),
                    kind=str(self.path),
                )
                return
            logger.warning(
                "A process was stopped while it was reading %s, whose log grew to %d bytes."
                " The store continues in new files, and its readers get a gap.",
                *(self.path, size),
            )

    def make_space(self, timeout: float, size: int, step: int, sure: bool) -> bool:
        """Make space for so many bytes on a disk that is full, and by more at each step: at
        first put into the database what is in its log, then delete the oldest events, then
        the store. If it has items, which are kept until they are unset (law 23), the last
        step deletes runs that have ended.

        :param sure: Whether that is certain.
        :return: False if it would be of no use.
        """
        with self.write(timeout) as connection:
            assert self._access.opened is not None
            names = watch.names(self._access.opened.path)
            held = sum(map(watch.bytes_of, names))
            if held < max(_LOOK, 4 * size) and (step > 1 or not sure):
                return False
            has_items = item_tables.has_living(connection)
            connection.execute("ROLLBACK")
            try:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if step == 2:
                    connection.execute("BEGIN IMMEDIATE")
                    _forget.make_space(connection, max(4 * size, held // 8))
                    connection.execute("COMMIT")
            except sqlite3.OperationalError:
                if has_items:
                    return step == 1
                step += 1
            if step > 2 and has_items:
                return runs.make_space(connection)
            if step > 1:
                _quiet.warning(
                    "The disk of %s is full; deleted the oldest events, whose readers get a"
                    " gap. Free some space, or lower PUSH_STORE_BYTES.",
                    self.path,
                    kind=str(self.path),
                )
            if step > 2:
                watch.remove(*reversed(names))
        return True

    # How transactions begin and end.

    def _begin_writing(self, owner: Transaction) -> sqlite3.Connection:
        deadline = time.monotonic() + (owner.timeout or 0)
        self._enter(owner.timeout, owner.held)
        access = self._access
        try:
            access.acquire(deadline)
            connection = access.ready(deadline, self.seen)
            if_busy_again(partial(connection.execute, "BEGIN IMMEDIATE"), deadline)
        except BaseException as error:
            # It may be of a signal's handler, and the lock is held, or the transaction has
            # begun.
            self._end_writing(owner, error)
            raise
        return connection

    def _end_writing(self, owner: Transaction, error: BaseException | None) -> None:
        try:
            try:
                self._rollback()
                self._access.mend(error, locked=True)
            finally:
                # If that was interrupted.
                self._rollback()
        finally:
            self._access.lock.release()
            self._leave(owner)
        self._explain(error)

    def _begin_reading(self, owner: Transaction) -> sqlite3.Connection:
        self._enter(owner.timeout, owner.held)
        try:
            connection = self._access.current(owner.timeout, self.seen)
            connection.execute("BEGIN")
        except BaseException as error:
            self._rollback()
            self._leave(owner)
            self._explain(error)
            raise
        return connection

    def _end_reading(self, owner: Transaction, error: BaseException | None) -> None:
        try:
            try:
                self._rollback()
                self._access.mend(error, locked=False)
            finally:
                self._rollback()
        finally:
            self._leave(owner)
        self._explain(error)

    def _leave(self, owner: Transaction) -> None:
        # No handler of a signal is called between the two.
        del owner.held[:]
        self._thread_lock.release()

    def _enter(self, timeout: float | None, held: list[bool]) -> None:
        if self._pid != os.getpid():
            # A server has forked without Python's hooks.
            self.abandon(clean=False)
        if not turns.acquire_noted(self._thread_lock, timeout or 0, held):
            raise Occupied(
                f"This process is too busy: other threads of it use {self.path}, one after"
                " another."
            )

    def _rollback(self) -> None:
        opened = self._access.opened
        if opened is not None and opened.connection.in_transaction:
            opened.connection.execute("ROLLBACK")

    def _explain(self, error: BaseException | None) -> None:
        if error is not None and is_busy(error):
            raise TimeoutError(f"Another program keeps {self.path} busy.") from error

    def close(self) -> None:
        """Close what is open. It opens again when it is used."""
        self._enter(threading.TIMEOUT_MAX, [])
        try:
            self._access.close()
        finally:
            self._thread_lock.release()

    def __del__(self, is_ending: t.Callable[[], bool] = sys.is_finalizing) -> None:
        if is_ending():
            return
        # Python would close the connection, but without holding the lock.
        if self._pid == os.getpid():
            self._access.give_up()
        else:
            self._access.abandon(clean=False)

    def hold(self, timeout: float) -> bool:
        return self._thread_lock.acquire(True, timeout)

    def let_go(self) -> None:
        self._thread_lock.release()

    def abandon(self, clean: bool) -> None:
        """In the child of a fork, forget what belongs to the parent.

        :param clean: Whether no thread of the parent was using it.
        """
        self._access.abandon(clean)
        self._start()
