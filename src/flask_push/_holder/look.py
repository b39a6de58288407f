"""Ends runs that no process holds any more, where there is no hub that does.

A process looks at a run when the app asks for it, and then only at this one. It ends the
run at once if the process that held it is marked as dead, or has no row; and otherwise if
it has seen the same row for ``lost_after`` seconds (laws R52 and R53).
"""

from __future__ import annotations

import contextlib
import time

from .._delivery.holders import Holder
from .._delivery.run_record import Record
from .._delivery.run_record import STOPPING_SECONDS
from .._delivery.run_rows import HOLDERS
from .._delivery.run_rows import RUN
from .._delivery.run_rows import WAITS
from .._ipc.ended_runs import forget_ended
from .._ipc.lost_runs import Count
from .._ipc.lost_runs import count_none
from .._ipc.lost_runs import end_run
from .._ipc.lost_runs import end_waiting
from .._ipc.lost_runs import mark_dead
from ..brokers import ItemsPage
from ..brokers import KeepsRuns
from ..brokers import NotPublished
from ..brokers import PublishUncertain
from ..brokers.base import TROUBLE
from .store import RunStore

#: Keys are not forgotten then. Hubs know for how long the store keeps events.
UNKNOWN_RETENTION = 100 * 366 * 86400.0

# How many processes are known, whose rows may not change.
_MAX_SEEN = 1000
# Seconds between two calls that forget runs which ended long ago, and how many these are.
_TIDY_SECONDS, _TIDY_RUNS = 60.0, 4


class RunLook:
    """Any thread.

    :param lost_after: Seconds without a sign of life after which a process is dead.
    :param retention: Seconds for which the store keeps events.
    """

    def __init__(self, lost_after: float, retention: float = UNKNOWN_RETENTION) -> None:
        self._lost_after, self._retention = lost_after, round(retention * 1e6)
        # As they were seen first.
        self._seen: dict[str, Holder] = {}
        self._tidied = time.monotonic()

    def __repr__(self) -> str:
        return f"<RunLook [{len(self._seen)} processes]>"

    def record(self, store: RunStore, channel: str) -> Record | None:
        """The record of a channel's runs, after its run was ended if no process holds it.

        :raises NotRead: If the store can't be read now.
        """
        record = store.record(channel)
        if record is not None and record.is_active:
            if self.look(store.broker, channel, record, store.count):
                return store.record(channel)
        return record

    def look(
        self,
        broker: KeepsRuns,
        channel: str,
        record: Record,
        count: Count = count_none,
    ) -> bool:
        """End the run of a record, if no process holds it, and nothing else ends it.

        :return: Whether the record has changed.
        :raises NotRead: If the store can't be read now.
        """
        try:
            if record.status in ("queued", "stopping"):
                if self._has_waited(broker, channel, record):
                    return end_waiting(broker, channel, count)
            if record.process and self._is_dead(broker, record.process):
                return end_run(broker, channel, record, count=count)
        except (NotPublished, PublishUncertain):
            # The next look tries again.
            pass
        return False

    def _has_waited(self, broker: KeepsRuns, channel: str, record: Record) -> bool:
        """Whether a run may have waited for too long. The store decides whether it has."""
        page = broker.find(WAITS, [channel], kind=WAITS)
        if not page.rows:
            return True
        seconds = STOPPING_SECONDS if record.status == "stopping" else record.wait
        # The number of a row is when it was stored. If the store's clock or this one is
        # wrong, the store refuses the end.
        return page.rows[0].number + seconds * 1e6 <= time_of(page)

    def _is_dead(self, broker: KeepsRuns, process: str) -> bool:
        rows = broker.find(HOLDERS, [process], kind=HOLDERS).rows
        if not rows:
            # The store has lost it. A process enters no run without a row.
            return True
        now = time.monotonic()
        holder = Holder.read(rows[0], now)
        if holder.dead:
            return True
        seen = self._seen.get(process)
        if seen is None or seen.id != holder.id:
            self._note(holder)
            return False
        return now - seen.since >= self._lost_after and bool(mark_dead(broker, holder))

    def _note(self, holder: Holder) -> None:
        seen = self._seen
        if len(seen) >= _MAX_SEEN:
            # Those that were seen last. The others are seen again as if for the first time.
            self._seen = seen = dict([*seen.items()][-_MAX_SEEN // 2 :])
        seen.pop(holder.process, None)
        seen[holder.process] = holder

    def tidy(self, broker: KeepsRuns) -> None:
        """Forget some runs that ended long ago, once a minute. If this fails, it does no
        harm."""
        now = time.monotonic()
        if now < self._tidied + _TIDY_SECONDS:
            return
        self._tidied = now
        with contextlib.suppress(*TROUBLE):
            end = broker.find(HOLDERS, [], kind=RUN).end
            forget_ended(broker, end, self._retention, _TIDY_RUNS)


def time_of(page: ItemsPage) -> int:
    """When a page was read, by the store's clock or this one: microseconds since 1970."""
    return max(page.end, time.time_ns() // 1000)
