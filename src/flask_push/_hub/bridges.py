"""The bridges that a hub runs, beside its feed."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t

from .._delivery import wire
from .._event import escape
from ..brokers import Bridge
from ..brokers import Bridging
from ..brokers import Broker


class Bridges:
    def __init__(self, broker: Broker, loop: asyncio.AbstractEventLoop) -> None:
        self._broker = broker
        self._loop = loop
        self._running: dict[tuple[Bridge, int], cabc.Callable[[], None]] = {}

    def agree(self, bridges: cabc.Iterable[Bridge], max_event: int) -> None:
        """Run these and no others."""
        wanted = {(bridge, max_event) for bridge in bridges}
        for known in self._running.keys() - wanted:
            self._running.pop(known)()
        if isinstance(self._broker, Bridging):
            for new in sorted(wanted - self._running.keys()):
                self._running[new] = self._broker.bridge(new[0], self._loop, max_event)

    def close(self) -> None:
        while self._running:
            self._running.popitem()[1]()


def make_bridge(source: str, channel: str, type: str) -> Bridge:
    """
    :raises ValueError: If nothing can be brought from there to there.
    """
    kind, _, name = source.partition(":") if isinstance(source, str) else ("", "", "")
    if kind != "redis" or not name:
        raise ValueError(
            "A bridge is from what others publish in the Redis of PUSH_BROKER_URL, such as"
            f" 'redis:chat', and not from {source!r}."
        )
    escape(channel)
    wire.check_type(type)
    return Bridge(source, channel, type)


def to_json(bridges: cabc.Iterable[Bridge]) -> list[dict[str, str]]:
    return [bridge._asdict() for bridge in bridges]


def from_json(values: cabc.Iterable[dict[str, t.Any]]) -> list[Bridge]:
    """Fields that this version does not know are those of a newer one, and left out."""
    known = [{name: value[name] for name in Bridge._fields} for value in values]
    return [Bridge(**value) for value in known]
