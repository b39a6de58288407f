"""A broker without items: it has all methods of the protocol and no more."""

from __future__ import annotations

from flask_push.brokers.memory import MemoryBroker


class Plain:
    url = "plain:"

    def __init__(self) -> None:
        broker = MemoryBroker()
        self.publish, self.read = broker.publish, broker.read
        self.feed, self.close = broker.feed, broker.close
