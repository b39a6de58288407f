"""The runs that a process holds, and its signs of life (laws R52 to R54).

While a process holds runs, it has one row in the store, and writes a beat there every ten
seconds. If the beats end, hubs end its runs as lost. The first beat is stored in the
transaction that enters a run. So a process without a row holds no run.

A thread writes the beats. It is a thread of the system even if gevent has replaced threads.
So the beats go on while a greenlet computes.
"""

from __future__ import annotations

import atexit
import collections.abc as cabc
import contextlib
import time
import weakref

from .._delivery.options import Options
from .._delivery.run_record import Record
from .._system import unpatched
from .._system.fork import all_of
from .._system.fork import PerProcess
from .._system.turns import shared_lock
from ..brokers import Broker
from ..brokers import Conflict
from ..brokers import NotPublished
from ..brokers.base import TROUBLE
from .beats import Signs
from .entering import begin
from .held import HeldRun
from .look import RunLook
from .look import UNKNOWN_RETENTION
from .owned import end_unheld
from .owned import read_owned
from .store import keeper_of_runs
from .store import RunStore
from .thread import RunThread

#: Seconds without a beat after which a process is taken for dead.
LOST_AFTER = Options.lost_after
#: A shorter time would be no more than some pauses of a process.
MIN_LOST_AFTER = 10
# A write fails so many seconds before the run could be taken for lost.
_BEFORE_LOST = 5.0
# Seconds for which the thread waits for the next run.
_IDLE_SECONDS = 60.0
# Seconds for which the end of the process waits until its runs have ended.
_EXIT_SECONDS = 5.0
# How often others may take this process for dead while it enters a run.
_TRIES = 10


class RunProcess(PerProcess):
    """One for each :class:`.Publisher` and process. Any thread. A process that is forked
    begins again, without runs.

    :param store: For the threads that call this.
    :param opens: Returns the same store for the thread that writes the beats.
    :param lost_after: ``PUSH_LOST_AFTER``.
    :param retention: Seconds for which the store keeps events.
    """

    def __init__(
        self,
        store: RunStore,
        opens: cabc.Callable[[], Broker],
        lost_after: float,
        retention: float = UNKNOWN_RETENTION,
    ) -> None:
        self.store, self._opens, self._lost_after = store, opens, lost_after
        #: Ends runs of other processes, and of this one.
        self.look = RunLook(lost_after, retention)
        #: Seconds between two beats.
        self._pace = lost_after / 3
        # Whether the publisher is gone. Runs that it has made can still be entered.
        self._is_last = False
        self.abandon()
        super().__init__()
        _processes.add(self)

    def __repr__(self) -> str:
        about = f"{self._signs.beats.name}, beat {self._signs.beats.number}"
        return f"<RunProcess [{len(self._held)} runs]: {about}>"

    def abandon(self) -> None:
        self._lock = shared_lock()
        # Only with the lock.
        self._signs = Signs()
        # By their ids as objects. The process keeps no run alive: if nothing else refers
        # to a run, nothing can leave its block.
        self._held: dict[int, weakref.ref[HeldRun]] = {}
        self._held_at = time.monotonic()
        self._thread: RunThread | None = None
        # Whether the records in the store have to be compared with what is held.
        self._compares = False
        # Whether the thread ends with the last run.
        self._stops = False

    # What runs call.

    def enter(self, channel: str, run: Record) -> HeldRun:
        """Hold a run from now on.

        :param run: As it was read.
        :raises Refused: If it can't be entered.
        :raises RuntimeError: If this process can't write beats.
        :raises NotRead: If the store can't be read now.
        :raises NotPublished: If the run is not entered.
        :raises PublishUncertain: If it may be entered. Then it will be lost.
        """
        self.here()
        if why := unpatched.unfit():
            raise RuntimeError(
                "A run can't be written in this process, which can't show that it lives:"
                f" {why}."
            )
        with self._lock:
            thread = self._started()
            try:
                held = self._enter(channel, run)
            except BaseException:
                # It may be entered.
                self._compares = True
                thread.wake()
                raise
            key = id(held)
            self._held[key] = weakref.ref(held, lambda _: self._forget(key))
        thread.wake()
        return held

    def leave(self, held: HeldRun) -> None:
        """The block of a run was left. If it has not ended, the thread ends it as lost."""
        self.here()
        if self._held.get(id(held)) is None:
            return
        if held.has_ended:
            self._held.pop(id(held))
            if self._held:
                # There is nothing to do. So it does not wait for those who enter runs.
                return
        with self._lock:
            self._held.pop(id(held), None)
            if not held.has_ended:
                self._compares = True
            elif not self._held and not self._compares:
                with contextlib.suppress(*TROUBLE):
                    self._signs.remove(self.store)
            if self._thread is not None and (self._compares or self._stops):
                self._thread.wake()

    def wants(self, held: HeldRun) -> None:
        """A run has gathered something, which the thread should store."""
        thread = self._thread
        if thread is not None:
            thread.wants(held)

    def sign(self) -> None:
        """Write a beat if the thread does not, because it can't run, or its connection to
        the store fails."""
        if time.monotonic() < self._signs.beats.at + 1.5 * self._pace:
            return
        if self._held and not self._lock.locked():
            with self._lock, contextlib.suppress(*TROUBLE):
                self._signs.beat(self.store, len(self._held))

    # When the publisher or the process ends.

    def stop(self) -> None:
        """From now on, the thread ends with the last run. Takes no lock, so that a
        finalizer may call it."""
        self._is_last = self._stops = True
        if self._thread is not None:
            self._thread.wake()

    def close(self) -> None:
        """End the thread, or let it end with the last run. The next run starts it again."""
        self.here()
        thread = self._thread
        if thread is not None:
            self._stops = True
            thread.wake()
            if not self._held:
                thread.join(_EXIT_SECONDS)

    def finish(self) -> None:
        """End all runs of this process as lost, because it ends."""
        self.here()
        thread = self._thread
        if thread is not None:
            self._held.clear()
            self._compares = self._stops = True
            thread.wake()
            thread.join(_EXIT_SECONDS)

    # What the thread calls.

    def beat_if_due(self, store: RunStore) -> float | None:
        """As :meth:`.Beating.beat_if_due`."""
        now = time.monotonic()
        with self._lock:
            if self._held:
                self._held_at = now
                if now >= self._signs.beats.at + self._pace:
                    self._signs.beat(store, len(self._held))
                    self._compares = True
            elif self._stops or now >= self._held_at + _IDLE_SECONDS:
                self._end(store)
                return None
        if self._compares:
            self._compare(store)
        if self._signs.beats.id and not self._held:
            with self._lock:
                if not self._held:
                    self._signs.remove(store)
        if self._held:
            return self._signs.beats.at + self._pace - now
        return self._held_at + _IDLE_SECONDS - now

    # Inside.

    def _started(self) -> RunThread:
        self._stops = self._is_last
        thread = self._thread
        if thread is None or not thread.is_alive():
            try:
                self._thread = thread = RunThread(self, self._opened)
            except RuntimeError as error:
                raise RuntimeError(
                    "A run can't be written in this process, which can't start the thread"
                    " that shows that it lives. Raise the limit of threads (ulimit -u):"
                    f" {error}"
                ) from error
        return thread

    @contextlib.contextmanager
    def _opened(self) -> cabc.Iterator[RunStore]:
        broker = self._opens()
        keeper = keeper_of_runs(broker)
        try:
            yield self.store.by(keeper)
        finally:
            if keeper is not self.store.broker:
                broker.close()

    def _enter(self, channel: str, run: Record) -> HeldRun:
        for _ in range(_TRIES):
            beats, began = self._signs.beats, time.monotonic()
            beat = beats.next(len(self._held) + 1)
            try:
                holder, id = begin(self.store, channel, run, beats.name, beat)
            except Conflict:
                self._signs.read(self.store)
                continue
            # If the store did not say the id, the next beat reads it.
            beats.stored(id or beats.id, began)
            return HeldRun(self.store, holder, self._until, self.sign)
        raise NotPublished(
            "Other processes take this process for dead. Check that PUSH_LOST_AFTER is the"
            " same in all processes."
        )

    def _until(self) -> float:
        """Until when writes wait for a store in trouble."""
        return self._signs.beats.at + self._lost_after - _BEFORE_LOST

    def _forget(self, key: int) -> None:
        """Any thread may collect a run, even one that has the lock."""
        self._held.pop(key, None)
        self._compares = True
        if self._thread is not None:
            self._thread.wake()

    def _compare(self, store: RunStore) -> None:
        """Compare the records in the store with the runs that are held."""
        self._compares = False
        try:
            owned = read_owned(store, self._signs.beats.name, self._living())
            with self._lock:
                # No other thread enters a run now, and all that are entered are held.
                held = self._living()
                if not held:
                    # The store may have a row of which it did not say so.
                    self._signs.read(store)
            end_unheld(store, owned, held)
        except BaseException:
            self._compares = True
            raise

    def _living(self) -> list[HeldRun]:
        found = [reference() for reference in [*self._held.values()]]
        return [held for held in found if held is not None]

    def _end(self, store: RunStore) -> None:
        """End the thread. With the lock."""
        with contextlib.suppress(*TROUBLE):
            if self._compares:
                rows = read_owned(store, self._signs.beats.name, [])
                end_unheld(store, rows, [])
                self._signs.read(store)
            if self._signs.beats.id:
                self._signs.remove(store)
        self._thread = None


_processes: weakref.WeakSet[RunProcess] = weakref.WeakSet()


@atexit.register
def _finish() -> None:
    for process in all_of(_processes):
        process.finish()
