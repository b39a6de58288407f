"""A hub in numbers."""

from __future__ import annotations

import collections.abc as cabc
import time
import typing as t

from .._delivery.figures import Figures
from .._delivery.figures import START
from .._delivery.log import Log
from .._event import Position
from .disconnects import Disconnects
from .streams import Streams


class Measure:
    """Measures a hub for metrics. It is made, and called, on the hub's thread.

    :param log: Returns the hub's log.
    """

    def __init__(self, streams: Streams, log: cabc.Callable[[], Log]) -> None:
        self._streams = streams
        self._log = log
        self._cpu, self._began = time.thread_time_ns(), time.time_ns()

    def __call__(self) -> Figures:
        """What there is now, and what the hub has counted since it began."""
        streams, log = self._streams, self._log()
        count, limits = len(streams.connections), streams.limits
        groups = *log.groups.values(), *log.runs.groups()
        refused = limits.refused.items()
        return streams.counts.figures() + Figures(
            {
                "hubs": 1,
                START.name: self._began // 1000,
                "streams": count,
                "streams_behind": count - sum(group.up_to_date() for group in groups),
                "users": limits.different_users,
                "channels": len(log.channels),
                "present": streams.presence.users,
                "log_bytes": log.budget.size + log.item_budget.size + log.passing.size,
                "hub_cpu_seconds": (time.thread_time_ns() - self._cpu) // 1000,
                "hub_failures": streams.failstop.failures,
                **{f"streams_refused:{limit}": number for limit, number in refused},
            }
        )


def numbers(log: Log, streams: Streams, disconnects: Disconnects) -> dict[str, t.Any]:
    """What ``flask push status`` shows of a hub."""
    count, limits = len(streams.connections), streams.limits
    groups = *log.groups.values(), *log.runs.groups()
    live = sum(group.up_to_date() for group in groups)
    return {
        "streams": count,
        "behind": count - live,
        "with_user": limits.users,
        "without_user": count - limits.users - limits.listeners,
        "disconnected": disconnects.disconnected,
        "sent_back": disconnects.sent_back,
        "present": streams.presence.users,
        "channels": len(log.channels),
        "watched": len(log.rosters.by_name),
        "followed": len(log.runs.by_name),
        "position": str(Position(log.epoch, log.end)),
        "failures": streams.failstop.failures,
    }
