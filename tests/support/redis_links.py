"""Connections and users of a Redis, for its tests."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

import pytest

from flask_push.brokers.redis import connection_pair
from flask_push.brokers.redis import RedisBroker
from flask_push.brokers.redis.feed import RedisFeed
from flask_push.testing._sink import RecordingSink
from support.proxies import Proxy
from support.redis_log import redis as redis
from support.redises import Redis


def pair_of(hub: RecordingSink) -> connection_pair.ConnectionPair:
    return t.cast(RedisFeed, hub.feed)._redis


# Publishing within limits.


def user(redis: Redis, *rights: str) -> RedisBroker:
    """A broker that connects as a user with these rights."""
    redis.do("ACL", "SETUSER", "other", "reset", "on", ">x", "~*", "&*", "+@all", *rights)
    return RedisBroker(redis.url.replace("://", "://other:x@"), timeout=5)


@pytest.fixture
def proxy(redis: Redis) -> cabc.Iterator[Proxy]:
    with Proxy.started(redis.port) as proxy:
        yield proxy
