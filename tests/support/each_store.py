"""A store of each kind: tests that use the fixture run once with each."""

from __future__ import annotations

import collections.abc as cabc
from pathlib import Path

import pytest

from support.redises import Redis

STORES = ["memory", "sqlite", "redis"]


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> cabc.Iterator[str]:
    """The address of an empty store."""
    if request.param == "redis":
        with Redis.started(tmp_path) as redis:
            yield redis.url
    else:
        yield "memory:" if request.param == "memory" else f"sqlite://{tmp_path}/push.db"
