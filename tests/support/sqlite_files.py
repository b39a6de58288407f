"""A store in a file of its own, as fixtures."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import fcntl
import os
import sys
import typing as t
from pathlib import Path

import pytest

from flask_push.brokers.sqlite import SqliteBroker
from flask_push.brokers.sqlite.database import Database
from flask_push.testing._sink import RecordingSink
from support.sinks import run_with
from support.sqlite_stores import path as path
from support.sqlite_stores import say as say
from support.sqlite_stores import store as store


@pytest.fixture
def broker(path: Path) -> cabc.Iterator[SqliteBroker]:
    broker = SqliteBroker(path, timeout=0.1)
    yield broker
    broker.close()


def heard(broker: SqliteBroker) -> list[bytes]:
    return [entry.data for entry in broker.read(["a"], after=0).entries]


@contextlib.contextmanager
def locked(path: Path) -> cabc.Iterator[None]:
    with open(f"{path}.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove(path: Path) -> None:
    for file in path, Path(f"{path}-wal"), Path(f"{path}-shm"):
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def traced(database: Database) -> cabc.Iterator[list[str]]:
    """The statements that a connection runs, without their values."""
    found: list[str] = []
    assert database._access.opened is not None
    connection = database._access.opened.connection
    connection.set_trace_callback(lambda text: found.append(" ".join(text.split()[:3])))
    yield found
    connection.set_trace_callback(None)


# The feed.


def run(broker: SqliteBroker, test: t.Callable[[RecordingSink], t.Awaitable[None]]) -> None:
    run_with(RecordingSink, broker, test)


def in_child(act: cabc.Callable[[], t.Any]) -> int:
    """Run a function in a fork of this process, and return the exit status."""
    child = os.fork()
    if child == 0:
        try:
            act()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return os.waitpid(child, 0)[1]
