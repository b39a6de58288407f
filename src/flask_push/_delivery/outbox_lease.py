"""The lease of an outbox: which process publishes its rows, and what it published last.

The lease is a row of the store, and each write of its holder expects the row as it is. A
batch of the outbox's rows is published in one transaction with the lease, which then names
these rows. Only afterwards they are deleted in the app's database. So the next holder of
the lease knows from it which rows are published, though they may still be there (laws T8
to T11):

- It deletes those that the lease names, before it reads any. The lease has a checksum of
  them: if the app's table was made again meanwhile, these numbers are those of other rows.
- Two processes can't both publish a row, for the second one expects another lease.
- If the store does not say whether it has a batch, the lease says so.

No time matters for this. A process that was paused finds that its lease is another one. The
time after which a lease is taken only says how long rows wait if their process is killed.

The lease is written at least once a second, a *beat*. Another process takes it when it did
not change while that process looked at it for :data:`LOST_AFTER` seconds, by
:class:`.Holders`. It is never unset, so the numbers of batches grow over all holders.
"""

from __future__ import annotations

import collections.abc as cabc
import json
import math
import typing as t

from .._event import ItemRow
from .holders import Holders
from .holders import LOOKS
from .outbox_ids import check_ranges
from .outbox_ids import ids_in
from .outbox_ids import Ranges
from .outbox_ids import ranges_of
from .run_rows import Change

#: The kind of the item that is the lease. Its channel is the outbox's name.
OUTBOX = "outbox"
#: The item.
LEASE = "lease"
#: Seconds after which the lease of a process that shows no sign of life is taken.
LOST_AFTER = 6.0


class LeaseRecord(t.NamedTuple):
    """What the lease says."""

    #: That of the row. Empty if there is none.
    id: str = ""
    #: A name that is given to one process. Empty if the lease is free.
    holder: str = ""
    #: The number of the last batch.
    batch: int = 0
    #: The rows of the app's database that are published, and not certainly deleted.
    rows: Ranges = ()
    #: The holder before this one, and its last batch.
    prior: str = ""
    prior_batch: int = 0
    #: :func:`.check_of` these rows.
    check: int = 0

    @classmethod
    def read(cls, row: ItemRow) -> LeaseRecord:
        """
        :raises ValueError: If it can't be read.
        """
        try:
            values = json.loads(row.data)
            holder, batch = values["holder"], values["batch"]
            prior, prior_batch = values["prior"]
            rows = check_ranges(values["rows"])
            check = int(values.get("check", 0))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(
                f"The lease of the outbox {row.channel!r} can't be read:"
                f" {row.data[:80]!r}. Update Flask-Push here."
            ) from error
        return cls(str(row.position), holder, batch, rows, prior, prior_batch, check)

    def to_json(self) -> str:
        values = {
            "holder": self.holder,
            "batch": self.batch,
            "rows": self.rows,
            "prior": [self.prior, self.prior_batch],
            "check": self.check,
        }
        return json.dumps(values, separators=(",", ":"))


_NONE = LeaseRecord()


class Lease:
    """The lease, as one process knows it.

    :param outbox: The outbox's name.
    :param name: The process's, which no other process has, nor had.
    """

    def __init__(self, outbox: str, name: str, lost_after: float) -> None:
        self.outbox, self.name = outbox, name
        #: ``None`` if it has to be read: it is not known what the store has.
        self.record: LeaseRecord | None = None
        #: When a write of it that was stored has begun.
        self.at = -math.inf
        #: Whether rows with the numbers that it names may be others: it was read in the
        #: store, or the table could not be used since this process published them.
        self.is_doubtful = False
        self._others = Holders(lost_after)
        self._lost_after = lost_after
        self._is_silent = False
        # What is written next.
        self._next = _NONE

    def __repr__(self) -> str:
        return f"<Lease {self.outbox!r} [{'held' if self.holds else 'not held'}]>"

    @property
    def holds(self) -> bool:
        """Whether this process held it when it was read or written last."""
        return self.record is not None and self.record.holder == self.name

    @property
    def pause(self) -> float:
        """Seconds between two beats, and between two looks at the lease of another."""
        return self._lost_after / LOOKS

    def read(self, rows: cabc.Sequence[ItemRow], now: float) -> LeaseRecord:
        """Take what the store has.

        :param rows: The row, if there is one.
        :param now: When it was read, or earlier.
        :raises ValueError: If it can't be read.
        """
        self._is_silent = bool(self._others.take(rows, now))
        self.record = LeaseRecord.read(rows[0]) if rows else _NONE
        self.is_doubtful = True
        return self.record

    def forget(self) -> None:
        """It is not known what the store has, because a write of it may be stored or not,
        or was refused."""
        self.record = None

    def count_again(self) -> None:
        """The store could not be reached, so others could not write the lease either."""
        self._others.count_again()

    def may_take(self) -> bool:
        """Whether it is free, or its holder seems to be dead."""
        record = self.record
        return record is not None and (not record.holder or self._is_silent)

    # What is written. Each expects the lease as it is known.

    def take(self) -> Change:
        """Hold the lease. What the last holder has published is kept in it."""
        known = self._known()
        if known.holder:
            known = known._replace(prior=known.holder, prior_batch=known.batch)
        return self._change(known._replace(holder=self.name))

    def beat(self) -> Change:
        """Say that this process lives."""
        return self._change(self._known())

    def batch(self, number: int, ids: cabc.Sequence[int], check: int) -> Change:
        """Say that these rows are published. It is stored with their events.

        :param number: The batch's, greater than that of the last one.
        :param check: :func:`.check_of` the rows.
        """
        known = self._known()
        rows = ranges_of([*ids_in(known.rows), *ids])
        check ^= known.check
        return self._change(known._replace(batch=number, rows=rows, check=check))

    def free(self) -> Change:
        """Give the lease back. Any process may take it."""
        known = self._known()
        free = known._replace(holder="", prior=self.name, prior_batch=known.batch)
        return self._change(free)

    def stored(self, id: str, at: float) -> LeaseRecord:
        """What was to be written last is stored.

        :param id: That of the row.
        :param at: When the call began.
        """
        self.record, self.at = self._next._replace(id=id), at
        return self.record

    def deleted(self) -> None:
        """The rows that it names are not in the table any more. The next write says so."""
        self.record = self._known()._replace(rows=(), check=0)
        self.is_doubtful = False

    def _known(self) -> LeaseRecord:
        assert self.record is not None
        return self.record

    def _change(self, record: LeaseRecord) -> Change:
        self._next = record
        return Change(
            *(OUTBOX, self.outbox, LEASE, record.to_json()), expect=self._known().id
        )
