"""What a store in a Redis holds, and what its feed delivers."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t
from pathlib import Path

import pytest

from flask_push import Event
from flask_push import Position
from flask_push.brokers.redis import RedisBroker
from flask_push.brokers.redis.broker import AnyRedisBroker
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until as until_on_loop
from support.redises import Redis


@pytest.fixture
def redis(tmp_path: Path) -> cabc.Iterator[Redis]:
    with Redis.started(tmp_path, "--appendonly", "no") as redis:
        yield redis


@pytest.fixture
def broker(redis: Redis) -> cabc.Iterator[RedisBroker]:
    # These tests must not fail because the machine is busy.
    broker = RedisBroker(redis.url, timeout=20)
    yield broker
    broker.close()


def say(broker: AnyRedisBroker, *data: str, channel: str = "a") -> Position:
    return broker.publish([Event(channel, text) for text in data])[-1]


def heard(broker: AnyRedisBroker) -> list[bytes]:
    return [entry.data for entry in broker.read(["a"], after=0, limit=2**30).entries]


def listen(
    broker: AnyRedisBroker,
    test: cabc.Callable[[RecordingSink], cabc.Coroutine[t.Any, t.Any, None]],
) -> None:
    async def main() -> None:
        hub = RecordingSink(broker)
        try:
            await hub.watch("a")
            await asyncio.wait_for(test(hub), 60)
        finally:
            hub.feed.close()

    asyncio.run(main())


async def proved(hub: RecordingSink, position: Position) -> None:
    await until_on_loop(lambda: hub.epoch == position.epoch)
    await until_on_loop(lambda: hub.end >= position.number)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "flask_push"]
