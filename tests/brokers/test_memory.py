"""Events in lists of one process."""

from __future__ import annotations

from flask_push.brokers import Broker
from flask_push.brokers import open_broker
from flask_push.brokers import Retention
from flask_push.testing import BrokerContract


class TestMemory(BrokerContract):
    shared = False

    def open(self, retention: Retention | None = None) -> Broker:
        return open_broker("memory:", retention=retention)
