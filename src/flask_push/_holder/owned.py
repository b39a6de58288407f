"""Compare the runs that a process holds with those that it holds by the store's records.

If the record of a run has changed, another process has stopped or ended the run. If nothing
in the process holds the run of a record, the block of the run is never left: Python has
collected it, or the store did not say that it was entered, or that it has ended.
"""

from __future__ import annotations

import collections.abc as cabc

from .._delivery.run_record import Record
from .._delivery.run_rows import RUN
from .._ipc.lost_runs import end_run
from ..brokers import ItemRow
from .held import HeldRun
from .store import RunStore

# How many more records are read than the process holds runs.
_MORE = 100


def read_owned(
    store: RunStore, process: str, held: cabc.Sequence[HeldRun]
) -> list[ItemRow]:
    """The records of the process. Runs learn that they have another one.

    :param held: Those that the process has held before this was called.
    :raises NotRead: If the store can't be read now.
    """
    limit = len(held) + _MORE
    rows = store.broker.owned(process, kind=RUN, limit=limit)
    found = {row.channel: str(row.position) for row in rows}
    for each in held:
        holder = each.holder
        if holder.record.process != process or len(rows) == limit:
            continue
        is_other = found.get(holder.channel) != holder.record.id
        if is_other and each.lock.acquire(blocking=False):
            try:
                _learn(store, each)
            finally:
                each.lock.release()
    return rows


def end_unheld(
    store: RunStore, rows: cabc.Iterable[ItemRow], held: cabc.Iterable[HeldRun]
) -> None:
    """End the other runs of the process as lost.

    :param rows: The records of the process.
    :param held: What it holds.
    :raises NotPublished: If the store can't be changed now.
    :raises NotRead: If it can't be read.
    :raises PublishUncertain: If it may have been changed or not.
    """
    tags = {(each.holder.channel, each.holder.record.tag) for each in held}
    for row in rows:
        record = Record.read(row.data, row.version, row.position)
        if (row.channel, record.tag) not in tags:
            end_run(store.broker, row.channel, record, count=store.count)


def _learn(store: RunStore, held: HeldRun) -> None:
    if held.is_over:
        return
    record = store.record(held.holder.channel)
    if record is None or record.id != held.holder.record.id:
        held.see(record)
