"""What a hub reads and stores for presence."""

from __future__ import annotations

import pytest

from flask_push import Position
from flask_push._delivery.presence_plan import Change
from flask_push._delivery.presence_plan import fence
from flask_push._delivery.presence_plan import HUBS
from flask_push._delivery.presence_plan import Plan
from flask_push._delivery.presence_plan import Step
from flask_push._delivery.roster import PRESENT
from flask_push._hub.presence_store import changes
from flask_push.brokers import Conflict
from flask_push.brokers.memory import MemoryBroker


def store(broker: MemoryBroker, *some: Change) -> list[Position]:
    return broker.change(changes(Plan(Step.USERS, 0, some)))


def test_a_fence_stores_nothing_unless_the_record_has_changed() -> None:
    broker = MemoryBroker()
    record = Change(HUBS, HUBS, "h", "1", version=1, expect="")
    (before,) = store(broker, record)
    user = Change(PRESENT, "a", "h.ann", "1", owner="h")
    assert store(broker, fence("h", str(before)), user)[0] == before
    store(broker, record._replace(data="2", version=2, expect=str(before)))
    with pytest.raises(Conflict):
        store(broker, fence("h", str(before)), user._replace(data="2"))
    (row,) = broker.read_items(["a"], kind=PRESENT).rows
    assert row.data == b"1" and row.owner == "h"
