"""The bridges that a hub runs beside its feed."""

from __future__ import annotations

import asyncio
import collections.abc as cabc

from ..brokers import Bridge
from ..brokers import Bridging
from ..brokers import Broker


class Bridges:
    def __init__(self, broker: Broker, loop: asyncio.AbstractEventLoop) -> None:
        self._broker = broker
        self._loop = loop
        self._running: dict[tuple[Bridge, int], cabc.Callable[[], None]] = {}

    def run(self, bridges: cabc.Iterable[Bridge], max_event: int) -> None:
        """Run these bridges, and end all others."""
        wanted = {(bridge, max_event) for bridge in bridges}
        for known in self._running.keys() - wanted:
            self._running.pop(known)()
        if isinstance(self._broker, Bridging):
            for new in sorted(wanted - self._running.keys()):
                self._running[new] = self._broker.bridge(new[0], self._loop, max_event)

    def close(self) -> None:
        while self._running:
            self._running.popitem()[1]()
