"""Forgets runs that ended long ago. Hubs do it, and processes of the app where there is no
hub. Any thread.

All of it raises the exceptions of :class:`.KeepsRuns`, and may be repeated after each.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from .._delivery.run_record import remember
from .._delivery.run_rows import ENDED
from .._delivery.run_rows import expects
from .._delivery.run_rows import KEYS
from .._delivery.run_rows import NOW
from .._delivery.run_rows import RUN
from .._event import ItemRow
from ..brokers import Conflict
from ..brokers import KeepsRuns
from .lost_runs import find_record
from .lost_runs import item_changes
from .lost_runs import MAX_RUNS

#: Seconds for which a run is kept that has ended, unless the store keeps events for less.
KEEP_ENDED = 3600.0

# How many thousands of rows are forgotten before others have their turn.
_MAX_CALLS = 50
# How many runs that have ended are looked at when the store is full. Of some, only the
# record is left.
_MAX_ENDED = 1000


class Left(t.NamedTuple):
    """What :func:`forget_ended` has left."""

    #: Whether there may be more runs, or keys, that are old enough.
    old: bool
    #: Whether there are any runs that have ended, or keys of such runs.
    some: bool = True


def forget_ended(
    broker: KeepsRuns, end: int, retention: int, limit: int = MAX_RUNS
) -> Left:
    """Forget runs that ended long ago, the oldest first, and then their keys.

    :param end: The position of the store, which says how old they are. A store that does
        not change need not become smaller.
    :param retention: For how many microseconds the store keeps events.
    """
    rows = broker.owned(ENDED, kind=RUN, limit=limit)
    before = end - min(retention, int(KEEP_ENDED * 1e6))
    old = [row for row in rows if row.number < before]
    if not forget_runs(broker, old):
        return Left(old=True)
    keys = broker.owned(ENDED, kind=KEYS, limit=limit)
    old_keys = [row for row in keys if row.number < end - retention]
    for row in old_keys:
        broker.forget(row.channel, row.number, kind=KEYS)
    return Left(limit in (len(old), len(old_keys)), bool(rows or keys))


def free_space(broker: KeepsRuns, limit: int = 10) -> None:
    """Forget the events of runs that have ended, the oldest first, because the store is
    full. So it stores nothing, and the record of a channel stays, which has the keys."""
    for row in broker.owned(ENDED, kind=RUN, limit=_MAX_ENDED):
        record, upto = find_record(broker, row.channel), row.number
        if record is not None and record.position.number <= upto:
            upto = record.position.number - 1
        if broker.read_items([row.channel], upto=upto, limit=1, kind=RUN).rows:
            while broker.forget(row.channel, upto, kind=RUN):
                pass
            limit -= 1
        if not limit:
            return


def forget_runs(broker: KeepsRuns, ends: cabc.Iterable[ItemRow]) -> bool:
    """
    :param ends: The last row of each.
    :return: Whether all were forgotten. There may have been too many rows.
    """
    calls = 0
    for row in ends:
        _remember_keys(broker, row)
        while broker.forget(row.channel, row.number, kind=RUN):
            calls += 1
            if calls == _MAX_CALLS:
                return False
    return True


def _remember_keys(broker: KeepsRuns, last: ItemRow) -> None:
    """Store the keys of the channel's runs, if its record is forgotten with this row. A key
    names one run for longer."""
    record = find_record(broker, last.channel)
    if record is None or record.position.number > last.number:
        return
    keys = remember(last.channel, record)
    fence = expects(last.channel, NOW, record.id)
    try:
        if keys:
            broker.change(item_changes([fence, *keys]))
    except Conflict:
        # A newer run has begun, whose record has the keys.
        pass
