"""Ends runs that no process holds any more, in the store. Hubs do it, and processes of the
app where there is no hub. Any thread.

Each run is ended in a transaction of its own, which expects the record as it was read. So
several processes may do the same at once, and one of them ends the run. If a process is
killed in the middle, any other goes on: the row of the dead process, or the row of the run
that waits, stays until the run has ended.
"""

from __future__ import annotations

import collections.abc as cabc
import json
import typing as t

from .._delivery.holders import Holder
from .._delivery.run_record import end
from .._delivery.run_record import Record
from .._delivery.run_record import Status
from .._delivery.run_rows import Change
from .._delivery.run_rows import HOLDERS
from .._delivery.run_rows import NOW
from .._delivery.run_rows import progress
from .._delivery.run_rows import QUEUED
from .._delivery.run_rows import RUN
from .._delivery.run_rows import WAITS
from .._event import ItemRow
from .._event import ItemsPage
from .._system.logs import QuietLogger
from ..brokers import Conflict
from ..brokers import ItemChange
from ..brokers import ItemsFull
from ..brokers import KeepsItems
from ..brokers import KeepsRuns

#: How many runs are ended, or forgotten, before others have their turn.
MAX_RUNS = 100

# More queued runs than this are not looked through at once, and how many are read at once.
_MAX_QUEUED, _AT_ONCE = 10_000, 100

#: Is called with the status of each end, after it is stored. If the store does not say
#: whether it has an end, that one is not counted.
Count = cabc.Callable[[Status], object]

_quiet = QuietLogger()


def count_none(status: Status) -> None:
    """Count no ends, because nobody wants metrics."""


def item_changes(changes: cabc.Iterable[Change]) -> list[ItemChange]:
    """The same for a broker."""
    return [_item_change(*change) for change in changes]


def _item_change(
    kind: str,
    channel: str,
    item: str,
    data: str | None,
    type: str,
    owner: str,
    version: int | None,
    ttl: float | None,
    expect: str | None,
    due: bool,
) -> ItemChange:
    return ItemChange(channel, item, data, type, ttl, version, kind, owner, expect, due)


# A process.


def read_holders(broker: KeepsRuns) -> ItemsPage:
    """The rows of all processes that hold runs.

    :raises NotRead: If the store can't be read now.
    """
    return broker.read_items([HOLDERS], kind=HOLDERS, limit=2**40)


def mark_dead(broker: KeepsRuns, holder: Holder) -> Holder | None:
    """From then on, the process enters no run. ``None`` if its row has changed.

    :raises NotPublished: If the store can't be changed now.
    :raises PublishUncertain: If it is not certain that it was.
    """
    try:
        (position,) = broker.change(item_changes([holder.mark_dead()]))
    except Conflict:
        return None
    return holder.marked(str(position))


def end_runs_of(
    broker: KeepsRuns, dead: Holder, limit: int = MAX_RUNS, count: Count = count_none
) -> tuple[int, bool]:
    """End the runs of a process that was marked as dead, and at last forget the process.

    :return: How many were ended, and whether the process was forgotten. If not, call this
        again.
    :raises NotPublished: As for all that follow, if the store can't be changed now.
    :raises NotRead: If it can't be read.
    :raises PublishUncertain: If it is not certain that it was changed.
    """
    rows = broker.owned(dead.process, kind=RUN, limit=limit)
    ended = sum(_end_row(broker, row, count) for row in rows)
    if rows:
        return ended, False
    try:
        broker.change(item_changes([dead.forget()]))
    except Conflict:
        # Another process has done it.
        pass
    return 0, True


def _end_row(broker: KeepsRuns, row: ItemRow, count: Count) -> bool:
    record = _read(row)
    try:
        return record is not None and end_run(broker, row.channel, record, count=count)
    except ItemsFull as full:
        _log_full(row.channel, full)
        return False


# A run.


def find_record(broker: KeepsRuns, channel: str) -> Record | None:
    """The record of a channel. ``None`` if there is none that can be read."""
    rows = broker.find(channel, [NOW], kind=RUN).rows
    return _read(rows[0]) if rows else None


def _read(row: ItemRow) -> Record | None:
    try:
        return Record.read(row.data, row.version, row.position)
    except ValueError as error:
        _quiet.error(
            "Could not end the run on %r, because its record can't be read: %s",
            *(row.channel, error),
        )
        return None


def end_run(
    broker: KeepsRuns,
    channel: str,
    record: Record,
    more: cabc.Sequence[Change] = (),
    count: Count = count_none,
) -> bool:
    """End a run as lost, or as stopped if it was stopped.

    :param record: As it was read.
    :param more: What is stored with it.
    :return: Whether this has ended it. If not, another process has changed the record, or
        an expectation of `more` was not met.
    :raises ItemsFull: If the run is too large to get an end.
    """
    said = last_progress(broker, channel, record) if record.listed else None
    ending = end(channel, record, "lost", progress=said)
    if ending is None:
        return False
    changes = [*ending.changes, *more]
    try:
        try:
            broker.change(item_changes(changes))
        except ItemsFull as full:
            _end_in_a_full_store(broker, channel, record, changes, full)
    except Conflict:
        return False
    count(ending.record.status)
    return True


def _end_in_a_full_store(
    broker: KeepsRuns, channel: str, record: Record, changes: list[Change], full: ItemsFull
) -> None:
    """The run's list has too many items; or its channel has too many rows, of which those
    of older runs can be forgotten."""
    if record.listed:
        _quiet.warning(
            "Could not show the end of the run on %r on its list %r; the run has ended."
            " Unset items of the list: %s",
            *(channel, record.listed, full),
        )
    without = item_changes(each for each in changes if each.kind)
    try:
        broker.change(without)
    except ItemsFull:
        while broker.forget(channel, record.position.number - 1, kind=RUN):
            pass
        broker.change(without)


def _log_full(channel: str, full: ItemsFull) -> None:
    _quiet.error(
        "Could not end the run on %r, because its channel is full. Lower"
        " PUSH_MAX_RUN_BYTES: %s",
        *(channel, full),
    )


def last_progress(
    broker: KeepsRuns, channel: str, record: Record
) -> t.Mapping[str, t.Any] | None:
    """The last one that the run has stored.

    :raises NotRead: If the store can't be read now.
    """
    rows = broker.find(channel, [progress(record.tag)], kind=RUN).rows
    try:
        values = json.loads(rows[0].data) if rows else None
    except ValueError:
        return None
    return values if isinstance(values, dict) else None


# A run that waits.


def end_waiting(broker: KeepsRuns, channel: str, count: Count = count_none) -> bool:
    """End the run on a channel that has waited for too long: for a process that enters it,
    or for its holder to end it. This does nothing if its time is not over.

    :return: Whether this has ended one.
    """
    # A row that is due counts as none. So this is refused if a newer run waits.
    over = Change(WAITS, WAITS, channel, None, expect="", due=True)
    record = find_record(broker, channel)
    if record is not None and record.status in ("queued", "stopping"):
        try:
            return end_run(broker, channel, record, [over], count)
        except ItemsFull as full:
            _log_full(channel, full)
    broker.change(item_changes([over._replace(expect=None)]))
    return False


def end_due(
    broker: KeepsItems, due: list[ItemChange], count: Count = count_none
) -> list[ItemChange]:
    """End the runs among rows that are due.

    :return: The other rows, which are only unset.
    """
    if not isinstance(broker, KeepsRuns):
        return due
    others = []
    for change in due:
        if change.kind == WAITS:
            end_waiting(broker, change.item, count)
        else:
            others.append(change)
    return others


def end_forgotten(broker: KeepsRuns, count: Count = count_none) -> int:
    """End queued runs that nothing would end, because no row says until when they wait. A
    hub of an older version has unset it, or the store has lost it.

    :return: How many were ended.
    """
    rows = broker.owned(QUEUED, kind=RUN, limit=_MAX_QUEUED)
    ended = 0
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        channels = [row.channel for row in some]
        waiting = {row.item for row in broker.find(WAITS, channels, kind=WAITS).rows}
        for row in some:
            if row.channel not in waiting:
                ended += end_waiting(broker, row.channel, count)
    return ended
