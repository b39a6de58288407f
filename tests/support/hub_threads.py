"""A hub in a thread, and its store."""

from __future__ import annotations

import typing as t

import pytest

from flask_push._delivery.options import Options
from flask_push._hub.thread import ThreadDoor
from flask_push.brokers.memory import MemoryBroker


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
def hub(broker: MemoryBroker) -> t.Iterator[ThreadDoor]:
    hub = ThreadDoor(lambda: broker, Options())
    yield hub
    hub.stop()
