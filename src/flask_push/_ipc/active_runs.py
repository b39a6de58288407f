"""Lists the runs of a store that are active."""

from __future__ import annotations

import typing as t

from .._delivery.run_record import Record
from .._delivery.run_rows import NOW
from .._delivery.run_rows import QUEUED
from .._delivery.run_rows import RUN
from ..brokers import KeepsRuns
from .lost_runs import read_holders


def active_runs(broker: KeepsRuns, most: int) -> list[tuple[str, Record]]:
    """Runs that are written or queued, each with its channel. Any thread.

    :param most: Runs of each process, and of those that are queued.
    :raises NotRead: If the store can't be read now.
    """
    owners = [row.item for row in read_holders(broker).rows]
    found = dict[str, Record]()
    for owner in (*owners[:most], QUEUED):
        if len(found) >= most:
            break
        for row in broker.owned(owner, kind=RUN, limit=most):
            record = _read(row) if row.item == NOW else None
            if record is not None and record.is_active:
                found[row.channel] = record
    return list(found.items())[:most]


def _read(row: t.Any) -> Record | None:
    try:
        return Record.read(row.data, row.version, row.position)
    except ValueError:
        # A hub logs it, which can't end this run either.
        return None
