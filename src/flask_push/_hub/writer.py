"""The one thread of a hub that writes to the store.

A call of the store may wait, and the hub's loop must never wait. So all that a hub stores
is stored in this thread.

What is *wanted* is a state of the store, and not a list of commands: the thread asks which
changes are still missing, stores them, and asks again until none is missing. So it does not
matter what other processes store meanwhile, and nothing piles up while the store can't be
reached. If the next changes depend on what became of these, the hub asks for them instead.

The thread starts when something is wanted for the first time. A hub that wants nothing has
no thread, and neither reads nor writes the store.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import typing as t
from collections import deque

from .._event import Position
from .._system import unpatched
from .._system.logs import QuietLogger
from ..brokers import Broker
from ..brokers import Conflict
from ..brokers import ItemChange
from ..brokers import KeepsItems

#: How many changes the thread stores together at most.
MAX_CHANGES = 500
# Seconds between two batches. They double each time that the store fails, up to this.
_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.25, 8.0
# Seconds for which the end of a hub waits for the thread. A store that can't be reached
# makes a call last for PUSH_PUBLISH_TIMEOUT, which is 2 s by default.
_END_SECONDS = 3.0


class Answer(t.NamedTuple):
    """What became of a batch."""

    changes: cabc.Sequence[ItemChange]
    #: Of each change. Empty if there is an error.
    positions: cabc.Sequence[Position]
    #: Why nothing was stored; or why it is not known, if it is ``PublishUncertain``. A
    #: ``Conflict`` is no failure of the store.
    error: Exception | None
    #: Whether the thread goes on, because changes may be missing.
    goes_on: bool


class Wanted(t.Protocol):
    """A state that a hub wants the store to have."""

    #: Whether the thread goes on while changes may be missing. If it does not, because the
    #: next changes depend on the answer, the hub asks for them again.
    goes_on: bool

    def missing(self, broker: KeepsItems) -> list[ItemChange]:
        """Changes that the store needs for it, at most :data:`MAX_CHANGES`. Called in the
        thread. May raise an exception, as calls of the broker do."""

    def answered(self, answer: Answer) -> None:
        """Called on the loop after each batch, until none goes on."""


class Writer:
    """All but its thread is called on the loop. A broker that keeps no items stores
    nothing.

    :param guard: Calls a function, and handles its exceptions.
    """

    def __init__(
        self,
        broker: Broker,
        loop: asyncio.AbstractEventLoop,
        guard: cabc.Callable[..., None],
    ) -> None:
        #: Whether the thread is in a call of the store. Any thread.
        self.busy = False
        self._broker = broker if isinstance(broker, KeepsItems) else None
        self._loop = loop
        self._guard = guard
        self._quiet = QuietLogger()
        # What was stored, and is still to be answered on the loop.
        self._answers: deque[tuple[Wanted, Answer]] = deque()
        # In the order in which they get their turns.
        self._wanted: dict[Wanted, None] = {}
        self._lock = unpatched.free_lock()
        # The thread waits for the first two: they are held until something is wanted, and
        # until the hub ends. The third is held until a batch is stored.
        self._work, self._end = unpatched.lock(), unpatched.lock()
        self._stored = unpatched.lock()
        self._thread: unpatched.Thread | None = None
        self._closed = False

    def __repr__(self) -> str:
        started = "not started" if self._thread is None else f"busy={self.busy}"
        return f"<Writer {started}, {len(self._wanted)} wanted>"

    def want(self, wanted: Wanted) -> None:
        """Bring about a state of the store."""
        if self._closed or self._broker is None:
            return
        with self._lock:
            self._wanted[wanted] = None
        if self._thread is None:
            self._start()
        elif self._work.locked():
            self._work.release()

    def _start(self) -> None:
        if self._closed or self._thread is not None:
            return
        try:
            self._thread = unpatched.start_thread(self._run)
        except RuntimeError as error:
            self._quiet.error(
                "Could not start the thread that writes to the store; the hub tries again:"
                " %s",
                error,
            )
            self._loop.call_later(_MAX_PAUSE_SECONDS, self._start)

    def finish(self, is_finished: cabc.Callable[[], bool], seconds: float) -> None:
        """Wait at the end of a hub until what is wanted is stored.

        :param is_finished: Whether the hub wants nothing more.
        :param seconds: For how long at most, because the loop waits.
        """
        until = self._loop.time() + seconds
        while self._thread is not None and not is_finished():
            left = until - self._loop.time()
            if left <= 0 or not self._stored.acquire(timeout=left):
                break
            self._answer_all()

    def close(self) -> None:
        """End the thread, after the batch that it may be storing. No answers follow."""
        if self._closed:
            return
        self._closed = True
        self._end.release()
        if self._work.locked():
            self._work.release()
        if self._thread is not None:
            self._thread.join(_END_SECONDS)

    def _answer_all(self) -> None:
        while self._answers:
            wanted, answer = self._answers.popleft()
            if not self._closed:
                self._guard(wanted.answered, answer)

    # In the thread.

    def _run(self) -> None:
        broker, pause = self._broker, 0.0
        assert isinstance(broker, KeepsItems)
        try:
            while not self._end.acquire(timeout=pause):
                wanted = self._next()
                if wanted is None:
                    self._work.acquire()
                    pause = 0.0
                else:
                    pause = self._bring_about(wanted, broker, pause)
        finally:
            with contextlib.suppress(Exception):
                t.cast(Broker, broker).close()

    def _next(self) -> Wanted | None:
        with self._lock:
            wanted = next(iter(self._wanted), None)
            if wanted is not None:
                del self._wanted[wanted]
                self.busy = True
            return wanted

    def _bring_about(self, wanted: Wanted, broker: KeepsItems, pause: float) -> float:
        """Store one batch.

        :param pause: How long the thread has waited before it.
        :return: For how long it waits before the next one.
        """
        answer = self._store(wanted, broker)
        if answer.goes_on:
            with self._lock:
                self._wanted.setdefault(wanted)
        with contextlib.suppress(RuntimeError):
            # Otherwise the loop has ended.
            self._answers.append((wanted, answer))
            self._loop.call_soon_threadsafe(self._answer_all)
        if self._stored.locked():
            self._stored.release()
        if isinstance(answer.error, Conflict):
            return _PAUSE_SECONDS
        if answer.error is None:
            return 0.0 if answer.goes_on else _PAUSE_SECONDS
        self._quiet.error(
            "Could not change items in the store; the hub tries again: %s", answer.error
        )
        return min(max(2 * pause, _PAUSE_SECONDS), _MAX_PAUSE_SECONDS)

    def _store(self, wanted: Wanted, broker: KeepsItems) -> Answer:
        changes: list[ItemChange] = []
        positions: list[Position] = []
        self.busy = True
        try:
            # Sets first: an item that moves from one place to another is always in one.
            changes = sorted(wanted.missing(broker), key=lambda each: each.data is None)
            if changes:
                positions = broker.change(changes)
        except Exception as error:
            return Answer(changes, [], error, wanted.goes_on)
        finally:
            self.busy = False
        # If all have one position, none was stored: another hub is doing the same.
        is_full = len(changes) >= MAX_CHANGES and len({*positions}) > 1
        return Answer(changes, positions, None, is_full and wanted.goes_on)
