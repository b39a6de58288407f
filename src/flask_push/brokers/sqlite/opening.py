"""How the files of a store are opened, replaced, and moved away. Always under its lock.

At any time, all who have one database open have the same ``-wal`` and ``-shm`` beside it,
and the lock's note says which. If one of them is gone, and only then, those who are in
the middle of it don't see what others write. So all three are replaced, by a copy in a
new database: a connection to the old one finds out by itself that it was moved, and
SQLite does nothing to the files at the path when it is closed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import typing as t
from pathlib import Path

from ..._event import Position
from ..._system.clock import boot_id
from ..._system.clock import Clock
from ..._system.inodes import check_own
from ..._system.logs import QuietLogger
from ..base import Retention
from . import statements
from . import watch
from .lock import FileLock
from .lock import Note
from .retention import is_broken
from .retention import is_busy
from .watch import Files

logger = logging.getLogger("flask_push")
_quiet = QuietLogger()

# Attempts to open a file that is replaced meanwhile.
_ATTEMPTS = 5
# Seconds that SQLite waits for those who have no lock of ours, before the caller waits.
_BUSY = 0.05


class Opened(t.NamedTuple):
    """A connection, and the files that it was opened on."""

    connection: sqlite3.Connection
    path: str
    files: Files
    clock: Clock


def open_store(
    path: Path,
    lock: FileLock,
    retention: Retention | None,
    seen: Position,
    is_used_here: t.Callable[[tuple[int, int]], bool],
) -> Opened:
    """Open the files at the path, or make them.

    :param seen: What this process has seen of it.
    :param is_used_here: Whether this process has the database open already.
    """
    for _ in range(_ATTEMPTS):
        # SQLite, too, puts the others beside the file that a link leads to.
        real = os.path.realpath(path)
        for name in (path, *watch.names(real)):
            check_own(name)
        note = lock.noted()
        before, alone, strange = _clear(path, real, note, is_used_here)
        doubtful = alone and watch.changed_since_log(real)
        connection = sqlite3.connect(
            real, timeout=_BUSY, isolation_level=None, check_same_thread=False
        )
        try:
            _set_up(connection, real)
            noted = None if note is None else note.number
            found = statements.Found(
                before.inodes[0], boot_id(), alone, doubtful, noted, seen
            )
            last, ahead = statements.prepare(connection, retention, found)
            after = Files.at(path, real)
            if strange and after.database == before.database:
                replace_lost(connection, real, note)
            elif after.database == before.database and all(after.inodes):
                with contextlib.suppress(OSError):
                    lock.note(last, after.inodes)
                return Opened(connection, real, after, Clock(ahead, last))
        except BaseException as error:
            if is_broken(error) and watch.file_at(real) == before.database:
                move_away(connection, real, error)
            connection.close()
            raise
        connection.close()
    raise TimeoutError(f"The files of {path} are replaced all the time.")


def _clear(
    path: Path,
    real: str,
    note: Note | None,
    is_used_here: t.Callable[[tuple[int, int]], bool],
) -> tuple[Files, bool, bool]:
    """Remove or move files that do not belong to the database, before it is opened.

    :return: The files; whether no process has them open; and whether other processes
        have files open that may not be these.
    """
    _, wal, shm = watch.names(real)
    with contextlib.suppress(FileExistsError):
        # For this user alone, and its companions with it. Only a file that no
        # process has open yet may be closed again.
        os.close(os.open(real, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        watch.remove(wal, shm)
    found = Files.at(path, real)
    database = found.inodes[0]
    if note is not None and note.inodes[0] != database:
        # They belong to a database that was here before.
        watch.remove(wal, shm)
        return found, True, False
    if is_used_here(found.database) or watch.is_used(real):
        return found, False, note is None or note.inodes != found.inodes
    if note is None or note.inodes != found.inodes:
        # SQLite makes it again from the log.
        watch.remove(shm)
        if note is not None and note.inodes[1] != found.inodes[1]:
            watch.remove(wal)
    return found, True, False


def _set_up(connection: sqlite3.Connection, path: str) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise RuntimeError(
            f"{path} is on a file system without shared memory. Set PUSH_RUN_DIR"
            " to a directory on a local disk."
        )
    # Survives the process, not the machine: for that, there is the boot's id.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA journal_size_limit = 4194304")


def replace_lost(connection: sqlite3.Connection, path: str, note: Note | None) -> None:
    """As :func:`replace`, if some of the files are gone."""
    _quiet.warning(
        "Files of the store were removed or replaced while they were in use: %s continues"
        " in new ones, and its readers get a gap. Exclude its directory from programs that"
        " clean up.",
        path,
        kind=path,
    )
    replace(connection, path, note)


def replace(connection: sqlite3.Connection, path: str, note: Note | None) -> None:
    """Replace all three files by a copy of what the connection reads. Nothing is replaced
    if no copy can be made, or if other processes have written since."""
    new = f"{path}.new"
    database, wal, shm = watch.names(path)
    watch.remove(new, f"{new}-journal")
    try:
        copied = _copy(connection, new, note)
    except (sqlite3.Error, OSError) as error:
        if is_busy(error):
            raise
        copied = False
    # First the companions: the new database must never stand beside them.
    watch.remove(wal, shm)
    if copied:
        os.replace(new, database)
    else:
        watch.remove(new, f"{new}-journal", database)


def _copy(connection: sqlite3.Connection, new: str, note: Note | None) -> bool:
    if connection.in_transaction:
        connection.execute("ROLLBACK")
    # A process may be writing that has locked another lock, which was removed too.
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("COMMIT")
    if note is not None and statements.last_number(connection) < note.number:
        return False
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as target:
        # The epoch will be new in any case, even if the machine crashes.
        target.execute("PRAGMA synchronous = OFF")
        connection.backup(target)
    return True


def move_away(connection: sqlite3.Connection, path: str, error: BaseException) -> None:
    """Move a file away. A broken one is kept for inspection.

    :raises PermissionError: If the system moves no file that another process has open.
    """
    logger.error("%s is broken (%s); it goes on in a new file.", path, str(error))
    try:
        _move(path)
    except PermissionError:
        # Windows moves no file that is open. Elsewhere, to close it first could write.
        connection.close()
        _move(path)


def _move(path: str) -> None:
    database, wal, shm = watch.names(path)
    for name in wal, shm, database:
        with contextlib.suppress(FileNotFoundError):
            os.replace(name, f"{path}.broken{name.removeprefix(path)}")
