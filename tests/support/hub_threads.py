"""A hub in a thread, its store, and a stream of it."""

from __future__ import annotations

import socket
import typing as t

import pytest

from flask_push._delivery.options import Options
from flask_push._delivery.stream import Stream
from flask_push._hub.thread import ThreadDoor
from flask_push._ipc.client import Client
from flask_push.brokers.memory import MemoryBroker
from support.sockets import read_until


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
def hub(broker: MemoryBroker) -> t.Iterator[ThreadDoor]:
    hub = ThreadDoor(lambda: broker, Options())
    yield hub
    hub.stop()


def connect(hub: ThreadDoor) -> socket.socket:
    """The browser's end of a stream that is open."""
    browser, theirs = socket.socketpair()
    browser.settimeout(20)
    hub.adopt(Stream(("a",), "x"), Client(theirs.detach()))
    read_until(browser, b"push:open")
    return browser
