"""Two hubs that bridge one channel of a Redis."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import typing as t
from pathlib import Path

import pytest

from support.redises import Redis
from support.servers import gunicorn
from support.servers import serve
from support.servers import Server

CHAT = "{push}:bridge:chat:7:message:chat"


@pytest.fixture
def redis(tmp_path: Path) -> cabc.Iterator[Redis]:
    (directory := tmp_path / "redis").mkdir()
    with Redis.started(directory) as redis:
        yield redis


def holder(redis: Redis, lease: str = CHAT) -> str:
    """The holder of the lease, without the number of times that it was taken."""
    found = redis.do("GET", lease)
    return found.decode().partition(".")[0] if found else ""


def taken(redis: Redis, lease: str = CHAT) -> bytes:
    found: bytes = redis.do("GET", lease) or b""
    return found


def run(
    redis: Redis, directory: Path, **config: t.Any
) -> contextlib.AbstractContextManager[Server]:
    directory.mkdir(exist_ok=True)
    config.setdefault("PUSH_BROKER_URL", redis.url)
    return serve(gunicorn, directory, "-w", "2", app="apps.bridged", **config)


def say(redis: Redis, *data: str, on: str = "chat") -> None:
    for text in data:
        redis.do("PUBLISH", on, text)


def words(name: str, count: int = 20) -> list[str]:
    return [f"{name} {n}" for n in range(count)]
