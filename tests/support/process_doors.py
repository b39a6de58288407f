"""A worker and its door to a hub process."""

from __future__ import annotations

import collections.abc as cabc
from pathlib import Path

import pytest

from flask_push._handoff.process_door import ProcessDoor
from support.servers import end_hubs
from support.workers import make


@pytest.fixture
def worker(tmp_path: Path) -> cabc.Iterator[ProcessDoor]:
    worker = make(tmp_path)
    yield worker
    worker.stop()
    end_hubs(tmp_path)
