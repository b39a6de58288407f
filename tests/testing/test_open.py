"""A contract opens the broker with a sink, and sets the wall clock."""

from __future__ import annotations

import contextlib
import time

import pytest
from support.broken_brokers import OpenMemory

from flask_push.brokers import Broker
from flask_push.testing._open import Contract
from flask_push.testing._own_sink import OwnRecordingSink
from flask_push.testing._sink import RecordingSink


class OnMemory(OpenMemory, Contract): ...


@pytest.mark.parametrize("kind", [RecordingSink, OwnRecordingSink])
def test_a_test_gets_a_broker_and_a_sink_whose_feed_is_closed_in_the_end(
    kind: type[RecordingSink],
) -> None:
    contract = OnMemory()

    async def test(broker: Broker, hub: RecordingSink) -> str:
        assert type(hub) is kind
        await hub.watch("a")
        assert contract._opened is broker and contract._opened._feeds == [hub.feed]
        return hub.epoch

    epoch = contract.run(test, sink=kind)
    assert contract._opened is not None and contract._opened._feeds == []
    assert epoch == contract._opened.read([]).epoch


def test_an_author_has_to_say_how_to_open_the_broker() -> None:
    with pytest.raises(NotImplementedError):
        Contract().open()


def test_the_wall_clock_is_wrong_for_a_while() -> None:
    before = time.time()
    with Contract().clock_wrong_by(1000):
        assert time.time() > before + 999
        assert time.time_ns() > (before + 999) * 1e9
    assert time.time() < before + 999


def test_a_failure_counts_that_a_feed_keeps_to_itself() -> None:
    async def test(broker: Broker, hub: RecordingSink) -> None:
        # As a feed does that takes it for a lost connection, and connects again.
        with contextlib.suppress(AssertionError):
            hub.deliver("another", [], None)

    with pytest.raises(AssertionError, match="begins with a position"):
        OnMemory().run(test)
    assert OnMemory().run(nothing) is None


async def nothing(broker: Broker, hub: RecordingSink) -> None:
    pass
