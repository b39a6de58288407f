"""Items in memory: a state machine judges what any changes leave."""

from __future__ import annotations

import pytest
from support import item_machine

from flask_push.brokers.memory import MemoryBroker


def test_any_changes_leave_what_the_model_has(monkeypatch: pytest.MonkeyPatch) -> None:
    item_machine.run(MemoryBroker, 60, monkeypatch)
