"""What a process of the app counts, and how the hub gets it.

Each process has a file of its own in the directory of the hub, and writes what it has
counted there at once. So nothing that a process has counted is lost when it is killed. The
hub reads all files every five seconds. It notes in each file how much of it is in the
hub's own figures by now. So another hub, which has none of them, goes on from there.

A process shares a lock on its file as long as it lives. The hub removes the file of a
process that is dead. If the file can't be made, because the disk is full or there are too
many, or if something has removed it, the process makes another one later, with the same
numbers. So nothing is lost then, either.

What is in a file is in :mod:`.figures_file`.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import stat
import threading
import time
from bisect import bisect_left
from pathlib import Path

from .._delivery.figures import BY_NAME
from .._delivery.figures import Figures
from .._system import unpatched
from .._system.fork import PerProcess
from .._system.inodes import open_own
from .._system.lock import is_shared
from .._system.names import new_name
from .figures_file import FiguresFile

#: How many processes may have a file. What others count is not shown, until they have one.
MAX_FILES = 1000
# The name of a file that a process has made, or is making. No other file is touched.
_NAME = re.compile(r"\.?\d+-[0-9A-Za-z]+")
# Seconds after which a process looks whether it has a file.
_LOOK_SECONDS = 5.0
# Seconds after which a process has made its file, if it lives.
_MAKING_SECONDS = 60.0

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
        self._file: FiguresFile | None = None
        self._look_at = -math.inf

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
        if self._directory is not None and (now := time.monotonic()) >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self._look(self._directory)
        if self._file is None:
            return
        # A disk that is full must not keep the app from publishing.
        with contextlib.suppress(OSError):
            self._file.write(self._values)

    def _look(self, directory: Path) -> None:
        """Make a file, if this process has none, or if something has removed it."""
        old = self._file
        if old is not None and not old.is_removed:
            return
        with contextlib.suppress(OSError):
            self._file = _make(directory, Figures() if old is None else self._noted(old))
            if old is not None:
                old.close()

    def _noted(self, old: FiguresFile) -> Figures:
        """What the hub has of a file that was removed, and so must not count again."""
        try:
            return old.read()[1]
        except (RecursionError, ValueError):
            return self.figures.counted

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
            for name in sorted(_names(self._directory))[: 2 * MAX_FILES]:
                if name.startswith("."):
                    # It is not whole yet.
                    _remove_old(self._directory / name)
                    continue
                more, now = _take(self._directory / name)
                since += more
                gauges += now
        return since, gauges


def _make(directory: Path, noted: Figures) -> FiguresFile:
    """
    :raises OSError: If it can't be made, or if there are too many.
    """
    directory.mkdir(mode=0o700, exist_ok=True)
    if len(_names(directory)) >= MAX_FILES:
        raise OSError(f"{directory} has {MAX_FILES:,} files")
    return FiguresFile.make(directory, f"{os.getpid()}-{new_name()}", _KEYS, noted)


def _names(directory: Path) -> list[str]:
    """The names of all files of processes, whole or not.

    :raises OSError: If the directory can't be read.
    """
    return [name for name in os.listdir(directory) if _NAME.fullmatch(name)]


def _remove_old(path: Path) -> None:
    """Remove a file that no process will use any more. Never raises."""
    with contextlib.suppress(OSError):
        found = os.lstat(path)
        is_old = abs(time.time() - found.st_mtime) > _MAKING_SECONDS
        if is_old and not stat.S_ISDIR(found.st_mode):
            path.unlink(missing_ok=True)


def _take(path: Path) -> tuple[Figures, Figures]:
    nothing, is_dead = Figures(), False
    try:
        file = FiguresFile(open_own(path, os.O_RDWR), path)
    except PermissionError:
        # It is none that a process could make. A process that has lost its file this way
        # makes another one.
        _remove_old(path)
        return nothing, nothing
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
    except (RecursionError, ValueError):
        if is_dead:
            # It is damaged, and will be for ever.
            with contextlib.suppress(OSError):
                file.remove()
        return nothing, nothing
    except OSError:
        return nothing, nothing
    finally:
        file.close()
