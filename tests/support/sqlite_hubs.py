"""Hubs and files of one store, replaced while it is in use."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import itertools
import json
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from flask_push.brokers.sqlite import SqliteBroker
from flask_push.testing._sink import RecordingSink
from support import coroutines
from support.servers import TESTS
from support.sqlite_stores import epoch_of as epoch_of
from support.sqlite_stores import held as held
from support.sqlite_stores import path as path
from support.sqlite_stores import say as say

SUFFIXES = ["", "-wal", "-shm", ".lock"]


SOME = [some for n in range(1, 5) for some in itertools.combinations(SUFFIXES, n)]


@pytest.fixture
def broker(path: Path) -> cabc.Iterator[SqliteBroker]:
    broker = SqliteBroker(path)
    yield broker
    broker.close()


class Other:
    """Another process that has the store open. It is killed at the end of the test."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "apps.other", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=TESTS,
        )

    def __call__(self, *what: str) -> t.Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(what), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def other(path: Path) -> cabc.Iterator[Other]:
    other = Other(path)
    yield other
    other.kill()


def files(path: Path, some: cabc.Iterable[str]) -> list[Path]:
    return [Path(f"{path}{suffix}") for suffix in some]


def listen(
    broker: SqliteBroker, test: t.Callable[[RecordingSink], t.Awaitable[None]]
) -> None:
    async def main() -> None:
        hub = RecordingSink(broker)
        try:
            await hub.watch("a")
            await asyncio.wait_for(test(hub), 30)
        finally:
            hub.feed.close()

    coroutines.run(main())
