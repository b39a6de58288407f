"""The runs that this process holds."""

from __future__ import annotations

import secrets
import time

from ._delivery.run_record import Record
from ._delivery.run_record import Refusal
from ._run_held import begin
from ._run_held import HeldRun
from ._run_held import Refused
from ._run_store import RunStore
from ._system.fork import PerProcess
from ._system.unpatched import SharedLock

_NAME_BYTES = 9
#: Seconds without a sign of life after which a process is taken for dead.
LOST_AFTER = 30.0
# A write fails so many seconds before the run could be taken for lost.
_BEFORE_LOST = 5.0


class RunProcess(PerProcess):
    """One for each :class:`.Publisher` and process."""

    def __init__(self, store: RunStore, lost_after: float = LOST_AFTER) -> None:
        self.store, self._lost_after = store, lost_after
        self._begin()
        super().__init__()

    def _begin(self) -> None:
        self._name = secrets.token_hex(_NAME_BYTES)
        self._lock = SharedLock()
        #: By their channels.
        self._held: dict[str, HeldRun] = {}
        self._signed = time.monotonic()

    def enter(self, channel: str, run: Record) -> HeldRun:
        """Hold a run from now on.

        :param run: As it was read.
        :raises Refused: If it can't be entered.
        """
        self.here()
        with self._lock:
            held = self._held.get(channel)
            if held is not None and not held.has_ended:
                raise Refused(Refusal.BUSY, held.holder.record)
            holder = begin(self.store, channel, run, self._name, ())
            self._signed = time.monotonic()
            self._held[channel] = held = HeldRun(self.store, holder, self._until)
            return held

    def leave(self, held: HeldRun) -> None:
        """The block of the run was left."""
        with self._lock:
            if self._held.get(held.holder.channel) is held:
                del self._held[held.holder.channel]

    def wake(self) -> None:
        """There is something to store."""

    def abandon(self) -> None:
        self._begin()

    def _until(self) -> float:
        return self._signed + self._lost_after - _BEFORE_LOST
