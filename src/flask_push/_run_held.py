"""A run that this process holds: what it has stored of it, and whether it may store more.

A write waits for a store in trouble, until shortly before the run could be taken for lost
(law R56). The user's code never learns that the store did not say whether it has stored
something: the rows say it (law R47).
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import os
import time

from ._delivery.run_holder import Holder
from ._delivery.run_holder import Look
from ._delivery.run_record import end
from ._delivery.run_record import enter
from ._delivery.run_record import Record
from ._delivery.run_record import Refusal
from ._delivery.run_record import Status
from ._delivery.run_record import status_now
from ._delivery.run_rows import Change
from ._delivery.run_rows import unpack
from ._run_patience import Patience
from ._run_pending import Pending
from ._run_pending import Progress
from ._run_store import record_of
from ._run_store import RunStore
from ._system.unpatched import SharedLock
from .brokers import Conflict
from .brokers import ItemRow
from .brokers import NotPublished
from .brokers import NotRead
from .brokers import PublishUncertain

# Seconds between two looks of `check`.
_CHECK_SECONDS = 0.1


class Refused(Exception):
    """A run can't be entered."""

    def __init__(self, refusal: Refusal, record: Record | None) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal
        #: That of the channel now.
        self.record = record


class Over(Exception):
    """Nothing more can be stored of a run. :attr:`HeldRun.status` says why."""


def begin(
    store: RunStore, channel: str, run: Record, process: str, beat: Change
) -> tuple[Holder, str]:
    """Enter a run.

    :param run: As it was read.
    :param process: Who holds it from now on.
    :param beat: The change that says that the process lives. It is the last of the
        transaction.
    :return: And the id of the beat. Empty if the store did not say it.
    :raises Refused: If the run can't be entered.
    :raises Conflict: If an expectation of the beat is not met.
    """
    record = store.record(channel)
    while True:
        if record is None:
            raise Refused(Refusal.OVER, None)
        # A store that was emptied counts from 1 again.
        serial = run.serial if record.run == run.run else 0
        entering = enter(channel, record, serial, process)
        if isinstance(entering, Refusal):
            raise Refused(entering, record)
        try:
            stored = store.commit(channel, entering, [beat])
        except Conflict:
            before, record = record, store.record(channel)
            if record is not None and record.id == before.id:
                raise
        else:
            about = channel, stored.record, entering.event, stored.event_id
            return Holder(*about), stored.last_id


class HeldRun:
    """
    :param until: Until when a store in trouble is waited for, by the monotonic clock. It
        is asked at each failure.
    :param sign: Is called before a write, which is a sign of life.
    """

    def __init__(
        self,
        store: RunStore,
        holder: Holder,
        until: cabc.Callable[[], float],
        sign: cabc.Callable[[], object] = bool,
    ) -> None:
        self.store, self.holder, self._until, self._sign = store, holder, until, sign
        #: What it has gathered, and the store does not have yet.
        self.pending = Pending()
        #: Whoever stores something of this run holds it.
        self.lock = SharedLock()
        self.pid = os.getpid()
        #: As it was last seen.
        self.status: Status = "running"
        #: Whether nothing more can be written.
        self.is_over = False
        #: The newest progress, if there was some.
        self.shown: Progress | None = None
        self._looked = 0.0

    @property
    def has_ended(self) -> bool:
        """Whether it needs no end any more."""
        return self.is_over and self.status != "stopping"

    # All of these are called with the lock.

    def write(self, texts: cabc.Sequence[str], type: str) -> None:
        """Store events, which become one row, behind all that are pending.

        :raises Over: If the run is over.
        :raises NotPublished: If the store is in trouble for too long.
        :raises PublishUncertain: If it is also not certain that nothing was stored.
        """
        self.write_pending()
        self._write(texts, type)

    def write_pending(self) -> None:
        """Store the events that are pending. As :meth:`write`."""
        while self.pending.has_events:
            self._write(*self.pending.row())
            self.pending.row_stored()

    def show_pending(self) -> None:
        """Store the progress that is pending. As :meth:`write`."""
        patience = Patience(self._until)
        while (progress := self.pending.progress) is not None:
            if self.is_over:
                raise Over
            self._sign()
            try:
                self.store.show(self.holder.show(progress))
                self.pending.progress_stored(progress)
            except Conflict as error:
                self._look_at_the_record(error, patience)
            except (NotPublished, PublishUncertain) as error:
                patience.wait(error)

    def _write(self, texts: cabc.Sequence[str], type: str) -> None:
        if self.is_over:
            raise Over
        self._sign()
        patience = Patience(self._until)
        id = ""
        while not id:
            changes = self.holder.write(texts, type)
            try:
                id = str(self.store.change(changes)[-1])
            except Conflict as error:
                id = self._look(changes[-1].data or "", error, patience)
            except (NotPublished, PublishUncertain) as error:
                patience.wait(error)
        self.holder = self.holder.written(id, len(texts))

    def end(self, status: Status, text: str = "") -> None:
        """End the run. One that was stopped ends as stopped.

        :raises Over: If another process has ended it.
        :raises NotPublished: If the store is in trouble for too long.
        :raises PublishUncertain: If it is also not certain that nothing was stored.
        """
        with contextlib.suppress(Over):
            self.write_pending()
            self.show_pending()
        patience = Patience(self._until)
        while not self.has_ended:
            ending = self.holder.end(status, text, self.shown)
            assert ending is not None
            try:
                record = self.store.commit(self.holder.channel, ending).record
            except Conflict as error:
                self._look_for_the_end(error, patience)
                if self.status == status != "lost":
                    # It was this one. Only the holder ends a run in this way.
                    return
            except (NotPublished, NotRead, PublishUncertain) as error:
                patience.wait(error)
            else:
                self._ended(record)
                return
        raise Over

    def check(self) -> None:
        """Read the record, unless this was done just now.

        :raises Over: If the run is over.
        """
        now = time.monotonic()
        if not self.is_over and now - self._looked >= _CHECK_SECONDS:
            self._looked = now
            try:
                record = self.store.record(self.holder.channel)
            except NotRead:
                # This does not say that the run is over.
                return
            if record is None or record.id != self.holder.record.id:
                self.see(record)
        if self.is_over:
            raise Over

    def see(self, record: Record | None) -> None:
        """Another process has changed the record."""
        self.is_over, self.status = True, status_now(record, self.holder.record)
        if record is not None and self.status == "stopping":
            # The end expects it.
            self.holder = self.holder._replace(record=record)

    def _ended(self, record: Record) -> None:
        self.holder = self.holder._replace(record=record)
        self.is_over, self.status = True, record.status

    def _look(self, data: str, error: Exception, patience: Patience) -> str:
        """What became of a write that conflicts, perhaps with itself.

        :return: The id of its row. Empty if it has to be repeated.
        """
        try:
            rows = self.store.find(self.holder.channel, self.holder.wanted)
        except NotRead as failure:
            patience.wait(failure)
            return ""
        look, id = self.holder.look(rows)
        if look is Look.STORED:
            stored = next(row.data for row in rows if row.item == self.holder.place)
            if stored == data.encode():
                return id
            # The caller was told that it is not certain whether this was stored.
            self.holder = self.holder.written(id, len(unpack(stored)))
        elif look is Look.AGAIN:
            patience.wait(error)
        else:
            self._lose(rows, patience)
            raise Over
        return ""

    def _look_at_the_record(self, error: Exception, patience: Patience) -> None:
        try:
            record = self.store.record(self.holder.channel)
        except NotRead as failure:
            patience.wait(failure)
            return
        if record is not None and record.id == self.holder.record.id:
            patience.wait(error)
        else:
            self.see(record)

    def _look_for_the_end(self, error: Exception, patience: Patience) -> None:
        holder = self.holder
        try:
            rows = self.store.find(holder.channel, [*holder.wanted[:2]])
        except NotRead as failure:
            patience.wait(failure)
            return
        last = [row for row in rows if row.item == holder.last]
        if [str(row.position) for row in last] == [holder.last_id]:
            record = record_of(rows)
            if record is not None and record.id == holder.record.id:
                patience.wait(error)
                return
        self._lose(rows, patience)

    def _lose(self, rows: cabc.Iterable[ItemRow], patience: Patience) -> None:
        """The record has changed; or the store has lost events, and the run with them."""
        record = record_of(rows)
        while record is not None and record.id == self.holder.record.id:
            lost = end(self.holder.channel, record, "lost")
            assert lost is not None
            try:
                self._ended(self.store.commit(self.holder.channel, lost).record)
                return
            except Conflict:
                try:
                    record = self.store.record(self.holder.channel)
                except NotRead as failure:
                    patience.wait(failure)
            except (NotPublished, NotRead, PublishUncertain) as failure:
                patience.wait(failure)
        self.see(record)
