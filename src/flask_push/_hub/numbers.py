"""A hub in numbers."""

from __future__ import annotations

import typing as t

from .._delivery.log import Log
from .._event import Position
from .disconnects import Disconnects
from .feeding import Feeding
from .streams import Streams


def numbers(
    log: Log, streams: Streams, disconnects: Disconnects, feed: Feeding
) -> dict[str, t.Any]:
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
        "store": feed.trouble or "ok",
    }
