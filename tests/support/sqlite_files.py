"""A store in a file of its own, as fixtures."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import fcntl
import sqlite3
import typing as t
from pathlib import Path

import pytest

from flask_push import Event
from flask_push.brokers.sqlite import SqliteBroker
from flask_push.testing._sink import RecordingSink


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "push.db"


@pytest.fixture
def broker(path: Path) -> cabc.Iterator[SqliteBroker]:
    broker = SqliteBroker(path, timeout=0.1)
    yield broker
    broker.close()


def say(broker: SqliteBroker, data: str = "x") -> str:
    (position,) = broker.publish([Event("a", data)])
    return str(position)


def heard(broker: SqliteBroker) -> list[bytes]:
    return [entry.data for entry in broker.read(["a"], after=0).entries]


@contextlib.contextmanager
def locked(path: Path) -> cabc.Iterator[None]:
    with open(f"{path}.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def store(path: Path) -> cabc.Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def remove(path: Path) -> None:
    for file in path, Path(f"{path}-wal"), Path(f"{path}-shm"):
        file.unlink(missing_ok=True)


# The feed.


def run(broker: SqliteBroker, test: t.Callable[[RecordingSink], t.Awaitable[None]]) -> None:
    async def main() -> None:
        hub = RecordingSink(broker)
        try:
            await asyncio.wait_for(test(hub), 30)
        finally:
            hub.feed.close()

    asyncio.run(main())
