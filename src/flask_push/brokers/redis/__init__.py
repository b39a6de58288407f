"""``redis:``, a Redis or Valkey that the hubs of many machines share.

Publishing is one script, which numbers, stores and publishes all events of a call in
one transaction. Each hub has one connection that subscribes, and another one on which it
reads history. ``scripts.py`` describes what is stored, and under which names.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
from pathlib import Path

from ..base import Retention
from ..bridging import Bridge

try:
    from .bridge import RedisBridge
    from .broker import AnyRedisBroker
except ImportError as error:
    # Or an older hiredis, which lacks a name.
    if (error.name or "").partition(".")[0] not in ("redis", "hiredis"):
        raise
    raise ValueError(
        "Redis needs redis-py 5.1 and hiredis 3.2, or newer: pip install -U"
        " 'Flask-Push[redis]'"
    ) from None


def from_url(
    url: str, directory: Path | None, retention: Retention | None, timeout: float
) -> AnyRedisBroker:
    kind = ClusterBroker if "+cluster:" in url else RedisBroker
    return kind(url, retention, timeout)


class RedisBroker(AnyRedisBroker):
    """The store in a Redis, alone or with replicas and Sentinels."""

    def bridge(
        self, bridge: Bridge, loop: asyncio.AbstractEventLoop, max_event: int
    ) -> cabc.Callable[[], None]:
        return RedisBridge(self._place, self._retention, bridge, loop, max_event).close


class ClusterBroker(AnyRedisBroker):
    """The store in a Redis Cluster. It bridges nothing: messages that other programs
    publish may get lost between the nodes, and no node would notice it."""
