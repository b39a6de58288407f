"""A broker in memory changes items in one transaction."""

from __future__ import annotations

import pytest

from flask_push import Event
from flask_push.brokers import Conflict
from flask_push.brokers import ItemChange
from flask_push.brokers import ItemsFull
from flask_push.brokers import Retention
from flask_push.brokers.memory import MemoryBroker


def test_a_refused_call_gives_no_number_and_wakes_no_feed() -> None:
    broker = MemoryBroker(Retention(items=1))
    rung: list[object] = []
    broker._ring = lambda: rung.append(1)  # type: ignore[method-assign]
    end = broker.read([]).end
    with pytest.raises(ItemsFull):
        broker.change([Event("a", "x"), *(ItemChange("a", item, "x") for item in "ij")])
    with pytest.raises(Conflict):
        broker.change([ItemChange("a", "i", "x"), ItemChange("a", "j", None, expect="x")])
    with pytest.raises(ValueError):
        broker.change([ItemChange("a", "i", "x"), ItemChange("a", "", "x")])
    assert broker.read([]).end == end and not rung
    broker.change([ItemChange("a", "i", "x")])
    assert broker.read([]).end > end and rung


def test_events_of_a_call_are_published_as_others_are() -> None:
    broker = MemoryBroker(Retention(count=2))
    positions = broker.change([Event("a", "1", key="k"), Event("a", "2", key="k")])
    assert positions[0] == positions[1]
    assert broker.publish([Event("a", "3", key="k")]) == positions[:1]
    broker.change([Event("a", str(n), exclude="me") for n in range(5)])
    found = broker.read(["a"], after=0).entries
    assert [(entry.data, entry.exclude) for entry in found] == [(b"3", "me"), (b"4", "me")]


def test_a_kind_is_checked_when_it_is_read() -> None:
    with pytest.raises(ValueError, match="letters a to z"):
        MemoryBroker().read_items(["a"], kind="A")
    with pytest.raises(ValueError, match="letters a to z"):
        MemoryBroker().owned("me", kind="A")
