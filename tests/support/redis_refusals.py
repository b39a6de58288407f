"""A Redis that refuses commands, and connections that stay open nevertheless."""

from __future__ import annotations

import collections.abc as cabc
import contextlib

import pytest

from flask_push.brokers.redis import feed
from flask_push.brokers.redis import own
from flask_push.brokers.redis import page_reads
from flask_push.brokers.redis import RedisBroker
from support.redis_log import lines
from support.redis_log import redis as redis
from support.redises import Redis


@pytest.fixture
def broker(redis: Redis) -> cabc.Iterator[RedisBroker]:
    broker = RedisBroker(redis.url, timeout=10)
    yield broker
    broker.close()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have feeds retry soon."""
    for module in feed, own, page_reads:
        monkeypatch.setattr(module, "_REFUSED_RETRY_SECONDS", 0.1)
    monkeypatch.setattr(feed, "_TICK_SECONDS", 0.2)


@contextlib.contextmanager
def links_stay(redis: Redis, caplog: pytest.LogCaptureFixture) -> cabc.Iterator[None]:
    """Check that no connection of a hub is replaced, and none is logged as lost."""

    def ids() -> list[bytes]:
        clients: bytes = redis.do("CLIENT", "LIST", "TYPE", "pubsub")
        return [line.split()[0] for line in clients.splitlines()]

    before = ids()
    yield
    assert ids() == before
    assert not [line for line in lines(caplog) if "is lost" in line]


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line for line in lines(caplog) if line.startswith("Redis ")]
