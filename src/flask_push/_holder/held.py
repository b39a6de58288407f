"""A run that this process holds: what it has stored of it, and whether it may store more.

A write waits for a store in trouble, until shortly before the run could be taken for lost
(law R56). If the store did not answer whether it has stored something, its rows show it
(law R47).
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import os
import time

from .._delivery.run_holder import Holder
from .._delivery.run_holder import Look
from .._delivery.run_record import end
from .._delivery.run_record import Record
from .._delivery.run_record import Status
from .._delivery.run_record import status_now
from .._delivery.run_rows import Change
from .._delivery.run_rows import unpack
from .._delivery.run_size import is_renewed
from .._system.turns import shared_lock
from ..brokers import Conflict
from ..brokers import ItemRow
from ..brokers import ItemsFull
from ..brokers import NotPublished
from ..brokers import NotRead
from ..brokers import PublishUncertain
from ..brokers.base import TROUBLE
from .cut import RunCut
from .patience import Patience
from .pending import Pending
from .pending import Progress
from .space import make_space
from .store import record_of
from .store import RunStore

# Seconds between two looks of `check`.
_CHECK_SECONDS = 0.1


class Over(Exception):
    """Nothing more can be stored of a run. :attr:`HeldRun.status` says why."""


class HeldRun:
    """
    :param until: Returns until when writes wait for a store in trouble, by the monotonic
        clock. It is called at each failure.
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
        self._cut = RunCut(store.max_run_bytes)
        #: Held while a thread stores something of this run.
        self.lock = shared_lock()
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
                id = self._look(changes[-1], error, patience)
            except ItemsFull as full:
                self._make_space(full)
            except (NotPublished, PublishUncertain) as error:
                patience.wait(error)
        self.stored(changes[-1], id, len(texts))
        self.cut(self.store)

    def _make_space(self, full: ItemsFull) -> None:
        channel, record = self.holder.channel, self.holder.record
        if not make_space(self.store.broker, channel, record._replace(listed=""), full):
            raise ItemsFull(
                f"The run on {channel!r} has too many rows, or too many bytes of them."
                " Lower PUSH_MAX_RUN_BYTES, so that the oldest are deleted."
            ) from full

    def stored(self, row: Change, id: str, count: int) -> None:
        """The next row is stored.

        :param count: How many events it has.
        """
        self.holder = self.holder.written(id, count)
        self._cut.add(row, id)

    def cut(self, store: RunStore) -> None:
        """Forget the beginning of a run that is too large."""
        self.holder = self._cut.cut(store, self.holder)

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
                    self.store.count(status)
                    return
            except TROUBLE as error:
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
        """The record is another one."""
        mine = self.holder.record
        if record is not None and is_renewed(record, mine):
            self.holder = self.holder._replace(record=record)
            return
        self.is_over, self.status = True, status_now(record, mine)
        if record is not None and self.status == "stopping":
            # The end expects it.
            self.holder = self.holder._replace(record=record)

    def _ended(self, record: Record) -> None:
        self.holder = self.holder._replace(record=record)
        self.is_over, self.status = True, record.status

    def is_in_place(self, row: Change, rows: cabc.Iterable[ItemRow], id: str) -> bool:
        """Whether the row in the next place is this one. If it is another one, an earlier
        call has stored it, which has raised :exc:`PublishUncertain`. Then this row has to
        be stored behind it.

        :param id: That of the row in the next place.
        """
        data = next(each.data for each in rows if each.item == self.holder.place)
        if data == (row.data or "").encode():
            return True
        self.stored(row._replace(data=data.decode()), id, len(unpack(data)))
        return False

    def _look(self, row: Change, error: Exception, patience: Patience) -> str:
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
            return id if self.is_in_place(row, rows, id) else ""
        if look is Look.AGAIN:
            patience.wait(error)
        else:
            self._lose(rows, patience)
            if self.is_over:
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
            except TROUBLE as failure:
                patience.wait(failure)
        self.see(record)
