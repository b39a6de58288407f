"""Programs that use one Redis: workers of Celery and RQ, and those that give them tasks."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import os
import subprocess
import sys
from pathlib import Path

from support.redises import Redis
from support.servers import TESTS


def environment(redis: Redis) -> dict[str, str]:
    return {**os.environ, "REDIS": redis.url, "PYTHONPATH": str(TESTS)}


def run(redis: Redis, *command: str) -> str:
    """Run Python to its end.

    :return: What it prints.
    """
    done = subprocess.run(
        [sys.executable, *command],
        cwd=TESTS,
        env=environment(redis),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextlib.contextmanager
def celery(redis: Redis, directory: Path, app: str) -> cabc.Iterator[Path]:
    """A worker of Celery with two processes, and its log."""
    more = ["--concurrency=2", "--pool=prefork", "--without-gossip", "--without-mingle"]
    command = ["-m", "celery", "-A", app, "worker", *more]
    with _worker(redis, directory / "celery.log", command) as log:
        yield log


@contextlib.contextmanager
def rq(redis: Redis, directory: Path) -> cabc.Iterator[Path]:
    """A worker of RQ, and its log. It forks a process for each task."""
    command = ["-m", "rq.cli", "worker", "--url", redis.url]
    with _worker(redis, directory / "rq.log", command) as log:
        yield log


@contextlib.contextmanager
def _worker(redis: Redis, path: Path, command: list[str]) -> cabc.Iterator[Path]:
    with path.open("w") as log:
        worker = subprocess.Popen(
            [sys.executable, *command],
            cwd=TESTS,
            env=environment(redis),
            stdout=log,
            stderr=log,
        )
        try:
            yield path
        finally:
            worker.terminate()
            worker.wait(30)
