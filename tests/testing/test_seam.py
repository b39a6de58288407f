"""What stands between a publisher and its broker during a test."""

from __future__ import annotations

import collections.abc as cabc

import pytest
from support.plain_broker import Plain

from flask_push import Event
from flask_push import Position
from flask_push import Publisher
from flask_push.brokers import Broker
from flask_push.brokers import KeepsItems
from flask_push.brokers import KeepsOwnLogs
from flask_push.brokers import KeepsRuns
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing import captured
from flask_push.testing import failing
from flask_push.testing._seam import Seam
from flask_push.testing._seam import seam_of


def test_a_seam_can_do_what_its_broker_can() -> None:
    for broker in MemoryBroker(), Plain():
        seam: object = Seam(broker)
        assert isinstance(seam, Broker)
        for power in KeepsItems, KeepsOwnLogs, KeepsRuns:
            assert isinstance(seam, power) == isinstance(broker, power)


def test_a_broker_without_items_is_captured_too() -> None:
    publisher = Publisher(Plain())
    with captured(publisher) as events, pytest.raises(RuntimeError, match="keeps no items"):
        publisher.publish("a", "1")
        publisher.set("a", "x", 1)
    assert [e.data for e in events] == ["1"]
    with pytest.raises(RuntimeError, match="Plain keeps no items"):
        publisher.set("a", "x", 1)


def test_events_that_a_broker_does_not_store_need_no_number() -> None:
    class Numberless(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.publish = self._publish

        def _publish(self, events: cabc.Sequence[Event]) -> list[Position]:
            page = self.read([], after=0)
            return [Position(page.epoch, page.end) for _ in events]

    publisher = Publisher(Numberless())
    with captured(publisher) as events:
        publisher.publish("a", "1", store=False)
        publisher.publish("a", "2", store=False)
    assert [e.data for e in events] == ["1", "2"]


def test_blocks_share_the_seam_and_the_last_removes_it() -> None:
    publisher = Publisher("memory:")
    first, second = seam_of(publisher), seam_of(publisher)
    assert first.__enter__() is second.__enter__()
    first.__exit__(None, None, None)
    assert isinstance(publisher._broker, Seam)
    second.__exit__(None, None, None)
    assert isinstance(publisher._broker, MemoryBroker)


def test_a_publisher_that_makes_its_first_run_in_a_block_writes_it() -> None:
    publisher = Publisher("memory:")
    with captured(publisher) as events, failing(publisher):
        with publisher.run("a", listed="runs") as run:
            run.write("Hello")
            run.progress(1, 2)
    assert run.status == "done" and not events
