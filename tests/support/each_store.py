"""A store of each kind: tests that use the fixture run once with each."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
from pathlib import Path

import pytest

from support.redises import Redis

STORES = ["memory", "sqlite", "redis"]


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> cabc.Iterator[str]:
    """The address of an empty store."""
    with _started(request.param, tmp_path) as url:
        yield url


@pytest.fixture(name="url", params=["sqlite", "redis"])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> cabc.Iterator[str]:
    """The address of an empty store that processes share."""
    with _started(request.param, tmp_path) as url:
        yield url


@contextlib.contextmanager
def _started(store: str, directory: Path) -> cabc.Iterator[str]:
    if store == "redis":
        with Redis.started(directory) as redis:
            yield redis.url
    else:
        yield "memory:" if store == "memory" else f"sqlite://{directory}/push.db"
