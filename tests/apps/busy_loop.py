"""Greenlets publish with a deadline, and the loop is busy for longer than that."""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402
import sys  # noqa: E402
import typing as t  # noqa: E402

import gevent  # noqa: E402

from flask_push import Event  # noqa: E402
from flask_push import NotPublished  # noqa: E402
from flask_push._system import unpatched  # noqa: E402
from flask_push.brokers.redis import RedisBroker  # noqa: E402
from flask_push.brokers.redis.pool import MAX_CONNECTIONS  # noqa: E402

TIMEOUT = 0.5
block = unpatched.original("time", "sleep")
broker = RedisBroker(os.environ["REDIS"], timeout=TIMEOUT)


def publish() -> None:
    broker.publish([Event("a", "x")])


def answer() -> None:
    """Redis answers while the loop is busy."""
    publish()
    publishing = gevent.spawn(publish)
    # It has sent its command, and waits.
    gevent.sleep(0)
    block(2 * TIMEOUT)
    publishing.get()
    publish()


def connect() -> None:
    """The loop is busy after each step of connecting."""
    publishing = gevent.spawn(publish)
    for _ in range(2):
        gevent.sleep(0)
        block(1.2 * TIMEOUT)
    publishing.get()


def turn() -> None:
    """The loop is busy while many wait for their turn."""
    publish()
    publishing = [gevent.spawn(publish) for _ in range(4 * MAX_CONNECTIONS)]
    gevent.sleep(0)
    block(2 * TIMEOUT)
    gevent.joinall(publishing, raise_error=True)


def occupied() -> None:
    """All connections are used for long by other greenlets, whom Redis has answered."""
    publish()
    places = broker._pool.places
    taken: list[list[t.Any]] = [[] for _ in range(MAX_CONNECTIONS)]
    assert all(places.take(place, 0) for place in taken)
    publishing = gevent.spawn(publish)
    gevent.sleep(0)
    places.give_back(taken[0])
    publishing.get()
    assert places.take(taken[0], 0)
    publishing = gevent.spawn(publish)
    gevent.sleep(0)
    broker._asking._answered = float("inf")
    try:
        publishing.get()
    except NotPublished as error:
        assert "too much to do" in str(error), error
    else:
        raise AssertionError("there was no connection")
    broker._asking._answered = 0.0
    places.give_back(taken[0])
    # This said nothing about Redis.
    publish()


globals()[sys.argv[1]]()
broker.close()
