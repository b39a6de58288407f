"""Rows that a Redis forgets."""

from __future__ import annotations

import typing as t

import pytest
from support.redis_log import redis as redis
from support.redises import Redis

from flask_push import NotPublished
from flask_push.brokers import ItemChange
from flask_push.brokers.redis import RedisBroker
from flask_push.brokers.runs import RUN


def rows(*names: str, channel: str = "a", data: str = "x") -> list[ItemChange]:
    return [ItemChange(channel, name, data, kind=RUN, owner="me") for name in names]


def test_a_redis_that_is_full_forgets_rows(redis: Redis) -> None:
    broker = RedisBroker(redis.url)
    positions = broker.change(rows("i", "j", "k", data="x" * 10_000))
    redis.do("CONFIG", "SET", "maxmemory", "1mb")
    try:
        with pytest.raises(NotPublished):
            broker.change(rows("l"))
        assert broker.forget("a", positions[1].number, kind=RUN) is False
        page = broker.read_items(["a"], kind=RUN)
        assert [row.item for row in page.rows] == ["k"]
        assert page.horizons == {"a": positions[1].number}
        broker.forget("a", positions[2].number, kind=RUN)
        assert broker.read_items(["a"], kind=RUN).rows == []
    finally:
        redis.do("CONFIG", "SET", "maxmemory", "0")
    assert broker.owned("me", kind=RUN) == []
    (position,) = broker.change(rows("l"))
    assert position.epoch == positions[0].epoch
    broker.close()


def test_a_channel_without_rows_leaves_nothing(redis: Redis) -> None:
    broker = RedisBroker(redis.url)
    fields = []
    for channel in "abc":
        (last,) = broker.change(rows("i", channel=channel))
        broker.forget(channel, last.number, kind=RUN)
        keys = t.cast("list[bytes]", redis.do("KEYS", "*"))
        (key,) = [key for key in keys if key.endswith(b":items")]
        fields.append(redis.do("HKEYS", key))
    assert fields == [[b"run:"]] * 3
    # The horizon of all of them is that of the last.
    assert broker.read_items("abc", kind=RUN).horizons == dict.fromkeys("abc", last.number)
    assert broker.read_items("a").horizons["a"] < last.number
    broker.close()
