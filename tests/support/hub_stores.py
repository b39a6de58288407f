"""Stores that keep everything, however long a test takes."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def many(request: pytest.FixtureRequest) -> int:
    return 2000 if request.config.getoption("--soak") else 200


def store(directory: Path) -> str:
    return f"sqlite://{directory}/push-basic/push.db"
