"""A SQLite store in a file of its own: as fixtures, and what it holds."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import sqlite3
import typing as t
from pathlib import Path

import pytest

from flask_push import Event
from flask_push.brokers.sqlite import SqliteBroker


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "push.db"


@pytest.fixture
def broker(path: Path) -> cabc.Iterator[SqliteBroker]:
    broker = SqliteBroker(path, timeout=10)
    yield broker
    broker.close()


def say(broker: SqliteBroker, data: str = "x", **more: t.Any) -> str:
    (position,) = broker.publish([Event("a", data, **more)])
    return str(position)


def held(broker: SqliteBroker, channel: str = "a") -> list[str]:
    page = broker.read([channel], after=0, limit=2**30)
    return [entry.data.decode() for entry in page.entries]


def epoch_of(broker: SqliteBroker) -> str:
    return broker.read([], after=0).epoch


@contextlib.contextmanager
def store(path: Path) -> cabc.Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def ask(path: Path, question: str) -> t.Any:
    with store(path) as connection:
        (answer,) = connection.execute(question).fetchone()
    return answer
