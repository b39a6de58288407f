"""What the relay of an outbox does, in turns, with the store and the app's database.

Each turn either looks at the lease of another process; or deletes the rows that are
published, reads those that are next, and publishes them. A turn may be cut anywhere, by an
exception or by the end of the process: the next one, of any process, goes on.
"""

from __future__ import annotations

import collections.abc as cabc
import logging
import time

from .._changes import Change
from .._delivery import outbox_lease
from .._delivery.disconnect import Disconnect
from .._delivery.outbox_ids import ranges_of
from .._delivery.outbox_lease import Lease
from .._delivery.outbox_lease import LeaseRecord
from .._delivery.outbox_lease import OUTBOX
from .._delivery.outbox_recent import check_of
from .._delivery.outbox_recent import OutboxRow
from .._delivery.outbox_recent import RecentRows
from .._delivery.run_rows import Change as RowChange
from .._event import Event
from .._ipc.lost_runs import item_changes
from .._item_publisher import change as store
from .._publisher import Publisher
from .._system.names import new_name
from ..brokers import Conflict
from ..brokers import ItemChange
from ..brokers import ItemsFull
from ..brokers import NotPublished
from ..brokers.base import TROUBLE
from ._backlog import Backlog
from ._database import OutboxRows
from ._row_text import from_text

logger = logging.getLogger("flask_push")

# A row that is published alone and still refused with one of these can't be published.
_REFUSALS = ItemsFull, ValueError, TypeError

_Batch = list[tuple[OutboxRow, Change]]


class RelayTurns:
    """One thread at a time.

    :param name: The outbox's.
    :param publisher: Publishes the rows.
    :param lost_after: Seconds after which the lease of a killed process is taken.
    :param is_quiet: Whether the log has no lines about the lease.
    """

    def __init__(
        self,
        name: str,
        rows: OutboxRows,
        publisher: Publisher,
        *,
        lost_after: float | None = None,
        is_quiet: bool = False,
    ) -> None:
        self.rows, self._publisher, self._is_quiet = rows, publisher, is_quiet
        self._keeper = publisher._keeper()
        self.lease = Lease(name, new_name(), lost_after or outbox_lease.LOST_AFTER)
        self.recent = RecentRows()
        self._backlog = Backlog(name, rows)
        #: How many rows this process has published.
        self.relayed = 0

    def __repr__(self) -> str:
        held = "holds the lease" if self.lease.holds else "does not hold the lease"
        return f"<RelayTurns {self.lease.outbox!r} [{held}, {self.relayed:,} relayed]>"

    def turn(self) -> bool:
        """
        :return: Whether there may be more to do now.
        :raises NotPublished: If the store can't be changed now.
        :raises NotRead: If it can't be read.
        :raises PublishUncertain: If it is not certain that it was changed.
        :raises SQLAlchemyError: If the app's database can't be used now.
        """
        try:
            return self._turn()
        except TROUBLE:
            self.lease.count_again()
            raise

    def _turn(self) -> bool:
        lease = self.lease
        if not lease.holds and not self._hold():
            self._backlog.others()
            return False
        if time.monotonic() >= lease.at + lease.pause:
            # Before the database is asked, which may be away.
            self._write(lease.beat())
            self.recent.trim(lease.at)
        if lease.record is None:
            return True
        rows = self._next(lease.record)
        self._backlog.read(len(rows))
        self._publish(rows)
        return bool(rows)

    def release(self) -> None:
        """Give the lease to any other process. As :meth:`turn`."""
        if self.lease.record is not None and self.lease.holds:
            if self.lease.record.rows:
                self._next(self.lease.record)
            self._write(self.lease.free())
            self.lease.forget()
            self.recent.begin(0)
            if not self._is_quiet:
                logger.info("Gave back the lease of the outbox %r.", self.lease.outbox)

    # The lease.

    def _hold(self) -> bool:
        """Read the lease, and take it if it may be taken.

        :return: Whether this process holds it.
        """
        lease = self.lease
        now = time.monotonic()
        page = self._keeper.read_items([lease.outbox], kind=OUTBOX)
        record = lease.read(page.rows, now)
        if lease.holds:
            self._compare(record)
            return True
        if self.recent.last:
            self._lose(record)
        if not lease.may_take():
            return False
        self._write(lease.take())
        if lease.record is None:
            return False
        self.recent.begin(lease.record.batch)
        if not self._is_quiet:
            logger.info("Took the lease of the outbox %r.", lease.outbox)
        return True

    def _compare(self, record: LeaseRecord) -> None:
        """Find out whether the store has what this process has published."""
        recent = self.recent
        if recent.follows(record.batch):
            self.relayed += len(recent.rows_of(record.batch))
            recent.is_stored(record.batch, time.monotonic())
        elif record.batch != recent.last:
            # Until it is put back, the next turn has to find out again.
            self.lease.forget()
            self._restore(record.batch)
            recent.go_back(record.batch)
            self.lease.record = record

    def _lose(self, record: LeaseRecord) -> None:
        """Another process has the lease, or there is none."""
        name = self.lease.outbox
        if not record.id:
            # All of the store is gone. Its readers get a gap, and what they were sent is
            # not sent again. But if the lease was made a moment ago, it may be that only
            # this was lost.
            if self.recent.lost(0)[1]:
                self._restore(0)
            else:
                logger.warning(
                    "The store was emptied. Of the outbox %r, only rows that were not"
                    " published yet are published now.",
                    name,
                )
        else:
            logger.info("Another process has taken the lease of the outbox %r.", name)
            if record.prior == self.lease.name and record.prior_batch != self.recent.last:
                self._restore(record.prior_batch)
        self.recent.begin(0)

    def _restore(self, batch: int) -> None:
        rows, all_of_them = self.recent.lost(batch)
        self.rows.restore(rows)
        if again := self.recent.there_again(batch):
            self.rows.next(ranges_of(again))
        logger.warning(
            "The store has lost %d published rows of the outbox %r, and gets them again.",
            *(len(rows), self.lease.outbox),
        )
        if not all_of_them:
            logger.error(
                "The store has lost more rows of the outbox %r than this process knows."
                " Let pages fetch their data again; see 'What a failover can lose'.",
                self.lease.outbox,
            )

    def _write(
        self, lease: RowChange, more: cabc.Sequence[Event | ItemChange] = ()
    ) -> None:
        """Write the lease, with the events of a batch. If it is another one now, it is
        read in the next turn."""
        began = time.monotonic()
        try:
            positions, known = store(self._keeper, [*item_changes([lease]), *more])
        except Conflict:
            self.lease.forget()
            return
        except (NotPublished, *_REFUSALS):
            raise
        except BaseException:
            # The store may have it.
            self.lease.forget()
            raise
        self.lease.stored(str(positions[0]), began)
        if known is not None:
            self._publisher._note(known)

    # The rows.

    def _next(self, record: LeaseRecord) -> list[OutboxRow]:
        """Delete the rows that are published, and read those that are next."""
        done = record.rows
        if done and self.lease.is_doubtful:
            there = self.rows.read(done)
            if there and check_of(there) != record.check:
                logger.warning(
                    "The table of the outbox %r was emptied or changed by hand: %d of its"
                    " rows have the numbers of rows that were published before, and are"
                    " published now.",
                    *(self.lease.outbox, len(there)),
                )
                done = ()
        # If the table can't be used now, it may be another one when it can.
        self.lease.is_doubtful = True
        rows = self.rows.next(done)
        self.lease.deleted()
        return rows

    def _publish(self, rows: list[OutboxRow]) -> None:
        batch: _Batch = []
        for row in rows:
            try:
                change = from_text(row.text, self._publisher._checks)
            except ValueError as error:
                # Those before it come first, so that the log has the order of the rows.
                self._publish_batch(batch)
                batch = []
                self._refuse(row, error)
                continue
            if isinstance(change, Disconnect):
                self._publish_batch(batch)
                batch = []
            batch.append((row, change))
        self._publish_batch(batch)

    def _publish_batch(self, batch: _Batch) -> None:
        """Publish rows. Only the first may be a disconnect."""
        if not batch or self.lease.record is None:
            return
        rows = [row for row, _ in batch]
        changes = [each for _, each in batch if not isinstance(each, Disconnect)]
        number = self.recent.add(rows, time.monotonic())
        change = self.lease.batch(number, [row.id for row in rows], check_of(rows))
        try:
            if isinstance(batch[0][1], Disconnect):
                # If the row is not deleted afterwards, it is done once more.
                self._publisher._disconnect(batch[0][1])
            self._write(change, changes)
        except _REFUSALS as error:
            self.recent.is_not_stored(number)
            self._publish_parts(batch, error)
            return
        except NotPublished:
            self.recent.is_not_stored(number)
            raise
        if self.lease.record is not None:
            self.recent.is_stored(number, self.lease.at)
            self.relayed += len(rows)
        else:
            self.recent.is_not_stored(number)

    def _publish_parts(self, batch: _Batch, error: Exception) -> None:
        """Publish as much of a batch as the store takes."""
        if len(batch) == 1:
            self._refuse(batch[0][0], error)
            return
        half = len(batch) // 2
        self._publish_batch(batch[:half])
        self._publish_batch(batch[half:])

    def _refuse(self, row: OutboxRow, error: Exception) -> None:
        if self.lease.record is None:
            # Another process may have published it meanwhile.
            return
        self.rows.refuse(row.id, str(error) or type(error).__name__)
        logger.error(
            "Could not publish the row %d of the outbox %r, and skip it: %s To try again,"
            " set its column 'refused' to NULL; or delete it.",
            *(row.id, self.lease.outbox, error),
        )
