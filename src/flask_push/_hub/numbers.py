"""A hub in numbers."""

from __future__ import annotations

import typing as t

from .._delivery.log import Log
from .._event import Position
from .disconnects import Disconnects
from .streams import Streams


def gauges(log: Log, streams: Streams) -> dict[str, int]:
    """What a hub stores of what there is now, as :class:`.Figures`."""
    count, groups = len(streams.connections), [*log.groups.values(), *log.runs.groups()]
    return {
        "hubs": 1,
        "streams": count,
        "streams_behind": count - sum(group.up_to_date() for group in groups),
        "users": streams.limits.different_users,
        "channels": len(log.channels),
        "present": streams.presence.users,
        "log_bytes": log.budget.size + log.item_budget.size + log.passing.size,
    }


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
