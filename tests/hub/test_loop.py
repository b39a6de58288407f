"""A hub and its bridges on one loop: starting them may fail."""

from __future__ import annotations

import typing as t

import pytest
from support.hub_threads import broker as broker
from support.hub_threads import hub as hub
from support.without_linux.real import descriptor_numbers

from flask_push._delivery.options import Options
from flask_push._delivery.stream import Stream
from flask_push._hub.thread import ThreadDoor
from flask_push._ipc.client import Client
from flask_push.brokers import Bridge
from flask_push.brokers.memory import MemoryBroker


def test_a_hub_that_cannot_start_says_so() -> None:
    def broken() -> MemoryBroker:
        raise OSError("the disk is on fire")

    hub = ThreadDoor(broken, Options())
    for _ in range(2):
        with pytest.raises(RuntimeError, match="can't start: .*on fire") as raised:
            hub.adopt(Stream(("a",), "x"), Client(99))
        assert "on fire" in str(raised.value.__cause__)
    hub.stop()


class WithoutBridges(MemoryBroker):
    """Its bridges fail when the hub has begun."""

    def bridge(self, *_: t.Any) -> t.NoReturn:
        raise OSError("the bridge is down")


def test_a_hub_whose_bridge_fails_at_its_start_is_stopped() -> None:
    before = descriptor_numbers()
    broker = WithoutBridges()
    bridges = [Bridge("redis:chat", "a", "message")]
    hub = ThreadDoor(lambda: broker, Options(), None, bridges)
    with pytest.raises(RuntimeError, match="can't start: the bridge is down"):
        hub.adopt(Stream(("a",), "x"), Client(99))
    assert not broker._feeds, "the hub does not read the store any more"
    assert descriptor_numbers() == before
    hub.stop()
