"""Programs that use one Redis: workers of Celery, RQ and others, and those that
give them tasks."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flask_push import Publisher
from support.redises import Redis
from support.servers import TESTS


@pytest.fixture
def redis(tmp_path: Path) -> cabc.Iterator[Redis]:
    with Redis.started(tmp_path) as redis:
        yield redis


@pytest.fixture
def publisher(redis: Redis) -> cabc.Iterator[Publisher]:
    publisher = Publisher(redis.url, timeout=20)
    yield publisher
    publisher.close()


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
    more = [
        "--concurrency=2",
        "--pool=prefork",
        "-lINFO",
        "--without-gossip",
        "--without-mingle",
    ]
    command = ["-m", "celery", "-A", app, "worker", *more]
    with _worker(redis, directory / "celery.log", command) as log:
        yield log


@contextlib.contextmanager
def rq(redis: Redis, directory: Path, *more: str) -> cabc.Iterator[Path]:
    """A worker of RQ, and its log. It forks a process for each task."""
    command = ["-m", "rq.cli", "worker", "--url", redis.url, *more]
    with _worker(redis, directory / "rq.log", command) as log:
        yield log


@contextlib.contextmanager
def dramatiq(redis: Redis, directory: Path, module: str) -> cabc.Iterator[Path]:
    """A worker of Dramatiq with a process and two threads, and its log."""
    command = ["-m", "dramatiq", module, "--processes=1", "--threads=2"]
    with _worker(redis, directory / "dramatiq.log", command) as log:
        yield log


@contextlib.contextmanager
def huey(redis: Redis, directory: Path, instance: str) -> cabc.Iterator[Path]:
    """A worker of Huey with two threads, and its log."""
    command = ["-m", "huey.bin.huey_consumer", instance, "--workers=2"]
    with _worker(redis, directory / "huey.log", command) as log:
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
