"""Every broker keeps its contract there, too."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from flask_push.brokers import Broker
from flask_push.brokers import open_broker
from flask_push.brokers import Retention
from flask_push.testing import BrokerContract
from flask_push.testing import OwnLogContract


class TestMemory(OwnLogContract, BrokerContract):
    shared = False

    def open(self, retention: Retention | None = None) -> Broker:
        return open_broker("memory:", retention=retention)


class TestSqlite(OwnLogContract, BrokerContract):
    @pytest.fixture(autouse=True)
    def directory(self, tmp_path: Path) -> None:
        self.path = tmp_path

    def open(self, retention: Retention | None = None) -> Broker:
        return open_broker("sqlite:", self.path, retention=retention)


class TestRedis(OwnLogContract, BrokerContract):
    numbers = itertools.count()

    @pytest.fixture(autouse=True)
    def store(self) -> None:
        url = os.environ["REDIS_URL"]
        self.place = f"{url}?prefix=test-{next(self.numbers)}"

    def open(self, retention: Retention | None = None) -> Broker:
        return open_broker(self.place, retention=retention, timeout=20)
