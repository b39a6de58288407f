"""How a process asks a Redis until it answers, or the time is up."""

from __future__ import annotations

import threading
import time
import typing as t

import pytest
from support.proxies import Proxy
from support.redis_links import proxy as proxy
from support.redis_log import broker as broker
from support.redis_log import redis as redis
from support.redises import Redis
from support.servers import until

from flask_push import NotPublished
from flask_push import PublishUncertain
from flask_push.brokers import NotRead
from flask_push.brokers.redis import RedisBroker
from flask_push.brokers.redis import scripts
from flask_push.brokers.redis.pool import FAILED
from flask_push.brokers.redis.pool import MAX_CONNECTIONS
from flask_push.brokers.redis.pool import Refused
from flask_push.brokers.redis.pool import Silence


def test_after_one_call_has_waited_in_vain_no_other_waits_for_a_second(
    redis: Redis,
) -> None:
    broker = RedisBroker(redis.url, timeout=0.3)
    broker.read([], after=0)
    redis.stop()
    with pytest.raises(NotRead):
        broker.read([], after=0)
    asking = broker._asking
    with pytest.raises(Silence, match="within the last second"):
        asking.ask(scripts.READ, lambda: [], time.monotonic() + 60)
    redis.go_on()
    broker.close()


def test_one_connection_that_is_lost_without_a_word_does_not_make_redis_silent(
    redis: Redis, proxy: Proxy
) -> None:
    broker = RedisBroker(proxy.url, timeout=2)
    broker.read([], after=0)
    proxy.forget()
    failed: list[NotRead] = []

    def read() -> None:
        with pytest.raises(NotRead) as raised:
            broker.read([], after=0)
        failed.append(raised.value)

    waiting = threading.Thread(target=read)
    waiting.start()
    until(lambda: len(broker._pool.places.free) < MAX_CONNECTIONS)
    # By another connection.
    while waiting.is_alive():
        broker.read([], after=0)
    assert failed
    broker.read([], after=0)
    broker.close()


def test_a_call_that_could_not_be_asked_for_long_does_not_make_redis_silent(
    redis: Redis, broker: RedisBroker
) -> None:
    broker.read([], after=0)
    asking = broker._asking
    places = asking.pool.places
    taken: list[list[t.Any]] = [[] for _ in range(MAX_CONNECTIONS)]
    assert all(places.take(place, 0) for place in taken)

    def free() -> None:
        until(lambda: bool(places.turns))
        redis.stop()
        time.sleep(2.7)
        places.give_back(taken[0])

    freeing = threading.Thread(target=free)
    freeing.start()
    # It is asked shortly before its time is up.
    with pytest.raises(FAILED):
        asking.ask(scripts.READ, lambda: broker._store.join([]), time.monotonic() + 3)
    redis.go_on()
    freeing.join()
    broker.read([], after=0)
    for place in taken:
        places.give_back(place)


def test_a_question_whose_connection_is_lost_is_asked_again(
    redis: Redis, proxy: Proxy
) -> None:
    broker = RedisBroker(proxy.url, timeout=20)
    before = broker.read([], after=0)
    proxy.cuts = 1
    assert broker.read([], after=0) == before
    broker.close()


def test_a_script_that_may_have_stored_something_is_uncertain(broker: RedisBroker) -> None:
    texts = {
        "return {err = 'OOM It is full.'}": NotPublished,
        "return {err = 'HALF It was refused.'}": PublishUncertain,
        "redis.call('SET', KEYS[1], '1') return redis.call('LPUSH', KEYS[1], '1')": (
            NotPublished
        ),
    }
    for text, error in texts.items():
        with pytest.raises(error) as raised:
            broker._asking.write(
                scripts.Script.of(text), lambda _: [1, "x"], time.monotonic() + 20
            )
        assert isinstance(raised.value.__cause__, Refused)
