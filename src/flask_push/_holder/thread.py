"""The thread of a process that holds runs.

It works in turns: it writes the beat of the process if it is due, and stores what runs have
gathered. It waits for no run that another thread is using. Such a run is stored in a later
turn, or by the other thread.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import time
import typing as t
from collections import deque

from .._system import unpatched
from .._system.logs import QuietLogger
from ..brokers.base import TROUBLE
from .group import Part
from .group import parts_of
from .group import store_together
from .held import HeldRun
from .store import RunStore

# How many runs a transaction has at most, and how many bytes of rows, unless it has one
# run.
_MOST_RUNS, _MOST_BYTES = 250, 2**20
# Seconds between two turns that store rows. What is due before the next turn is stored now.
_TURN_SECONDS = 0.01
# Seconds between two tries of a store in trouble.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0


class Beating(t.Protocol):
    """What the thread does for its process."""

    def beat_if_due(self, store: RunStore) -> float | None:
        """Write a beat if it is due.

        :return: How many seconds there are until the next one. ``None`` if the thread ends.
        :raises NotPublished: If the store can't be changed now, or another exception of it.
        """


class RunThread:
    """
    :param opens: Opens the store for the thread, and closes it.
    """

    def __init__(
        self,
        process: Beating,
        opens: cabc.Callable[[], contextlib.AbstractContextManager[RunStore]],
    ) -> None:
        self._process, self._opens = process, opens
        self._quiet = QuietLogger()
        # Held until there is something to do.
        self._work = unpatched.lock()
        # Runs that have something to store: those of which the thread does not know yet,
        # and those of which it does, with the time at which they are due.
        self._new: deque[HeldRun] = deque()
        self._due: dict[HeldRun, float] = {}
        self._pause = 0.0
        self._thread = unpatched.start_thread(self._run)

    # Any thread.

    def wants(self, held: HeldRun) -> None:
        """A run has gathered something."""
        if not held.pending.is_known:
            held.pending.is_known = True
            self._new.append(held)
            self.wake()

    def wake(self) -> None:
        """There is something to do. Takes no lock, so that a finalizer may call it."""
        if self._work.locked():
            # Another thread may have released it meanwhile.
            with contextlib.suppress(RuntimeError):
                self._work.release()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    # In the thread.

    def _run(self) -> None:
        with self._opens() as store:
            while (seconds := self._turn(store)) is not None:
                self._work.acquire(timeout=max(seconds, 0))

    def _turn(self, store: RunStore) -> float | None:
        """
        :return: How many seconds there are until the next turn. ``None`` if there is none.
        """
        try:
            seconds = self._process.beat_if_due(store)
            if seconds is None:
                return None
            due = self._store(store)
        except TROUBLE as error:
            self._quiet.error(
                "Could not store what the runs of this process have written; it tries"
                " again: %s",
                error,
            )
        except Exception:
            self._quiet.exception("A step of the thread of runs failed; it goes on.")
        else:
            self._pause = 0.0
            if due is None:
                return seconds
            return min(seconds, max(due - time.monotonic(), _TURN_SECONDS))
        self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE)
        return self._pause

    def _store(self, store: RunStore) -> float | None:
        """Store what is due.

        :return: When the next is due. ``None`` if nothing is pending.
        """
        now = time.monotonic()
        while self._new:
            held = self._new.popleft()
            self._due[held] = held.pending.due() or now
        ready = [held for held, due in self._due.items() if due <= now + _TURN_SECONDS]
        taken, parts = _take(ready[:_MOST_RUNS])
        try:
            store_together(store, parts)
            for held in taken:
                held.cut(store)
        finally:
            for held in taken:
                held.lock.release()
        for held in ready[:_MOST_RUNS]:
            self._await_next(held)
        return min(self._due.values(), default=None)

    def _await_next(self, held: HeldRun) -> None:
        """Put a run behind all others."""
        del self._due[held]
        due = held.pending.due() or held.pending.expected()
        if due is None or held.is_over:
            held.pending.is_known = False
            # Another thread may have added something before it could see this.
            if held.is_over or not held.pending:
                return
            held.pending.is_known, due = True, 0.0
        # If it is due already, it was not stored.
        assert due is not None
        self._due[held] = max(due, time.monotonic() + _TURN_SECONDS)


def _take(ready: cabc.Sequence[HeldRun]) -> tuple[list[HeldRun], list[Part]]:
    """Take the locks of these runs, as far as they are free, and what is to be stored."""
    taken: list[HeldRun] = []
    parts: list[Part] = []
    size = 0
    for held in ready:
        if size < _MOST_BYTES and held.lock.acquire(blocking=False):
            taken.append(held)
            more = parts_of(held)
            size += sum(len(each.data or "") for part in more for each in part.changes)
            parts += more
    return taken, parts
