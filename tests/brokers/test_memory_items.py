"""Items in memory: a state machine judges what any changes leave."""

from __future__ import annotations

import typing as t

import pytest
from support import item_machine

from flask_push.brokers import ItemChange
from flask_push.brokers import Retention
from flask_push.brokers.memory import MemoryBroker


def test_rows_that_are_superseded_take_no_memory() -> None:
    broker = MemoryBroker(Retention(age=1))
    for n in range(100):
        broker.change([ItemChange(name, "i", str(n), ttl=60) for name in "ab"])
    items = broker._items
    assert (len(items._log), len(items._timed), len(items._channels)) == (2, 2, 2)
    broker.change([ItemChange(name, "i", None) for name in "ab"])
    assert (len(items._log), len(items._timed), len(items._empty)) == (2, 0, 2)
    # A channel without items is forgotten after the retention's age.
    clock: t.Any = Later(2_000_000)
    broker._clock = clock
    broker.change([ItemChange("c", "i", "x")])
    assert (len(items._log), len(items._channels), len(items._empty)) == (1, 1, 0)


class Later:
    """A clock that is ahead."""

    def __init__(self, microseconds: int) -> None:
        self.microseconds = microseconds

    def now(self, last: int) -> int:
        return last + self.microseconds


def test_any_changes_leave_what_the_model_has(monkeypatch: pytest.MonkeyPatch) -> None:
    item_machine.run(MemoryBroker, 60, monkeypatch)
