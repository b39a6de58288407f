"""Connections that publish to a Redis: they close, hang and reconnect."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest
from redis.connection import Connection
from support.interrupts import interrupted
from support.redis_log import broker as broker
from support.redis_log import heard
from support.redis_log import lines
from support.redis_log import listen
from support.redis_log import proved
from support.redis_log import redis as redis
from support.redis_log import say
from support.redises import Redis
from support.redises import Sentinel
from support.servers import TESTS
from support.servers import until
from support.threads import together

from flask_push import Event
from flask_push import NotPublished
from flask_push import NotRead
from flask_push import Position
from flask_push import PublishUncertain
from flask_push.brokers import open_broker
from flask_push.brokers.redis import pool
from flask_push.brokers.redis import RedisBroker
from flask_push.brokers.redis.pool import Place
from flask_push.brokers.redis.pool import Pool
from flask_push.testing._sink import RecordingSink


def test_several_threads_may_close_the_idle_connections_at_once() -> None:
    idle = Pool(Place("redis://127.0.0.1:1"), lambda *_: None)
    connection: t.Any = Connection
    for _ in range(20):
        for _ in range(pool.MAX_CONNECTIONS):
            place: list[t.Any] = []
            assert idle.places.take_now(place)
            place[0] = connection()
            idle.places.give_back(place)
        together(4, idle.close)
        assert [*idle.places.free] == [None] * pool.MAX_CONNECTIONS


def test_a_name_that_nobody_knows_in_time_holds_up_nobody(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, real = threading.Event(), socket.getaddrinfo

    def search(*args: t.Any) -> t.Any:
        known.wait()
        return real(*args)

    broker = RedisBroker(f"redis://localhost:{redis.port}", timeout=0.2)
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", search)
        with pytest.raises(NotPublished):
            say(broker, "1")
        known.set()
    broker.close()


def test_calls_share_a_few_connections(redis: Redis, broker: RedisBroker) -> None:
    before = redis.info("stats", "total_connections_received")
    broker.timeout = 60
    together(3 * pool.MAX_CONNECTIONS, lambda: say(broker, "x"))
    assert len(broker._pool.places.free) == pool.MAX_CONNECTIONS
    opened = int(redis.info("stats", "total_connections_received")) - int(before)
    # The test has some of its own.
    assert 0 < opened <= pool.MAX_CONNECTIONS + 5
    assert len(heard(broker)) == 3 * pool.MAX_CONNECTIONS


def test_a_child_of_a_fork_has_connections_of_its_own(broker: RedisBroker) -> None:
    def ports() -> set[int]:
        say(broker, "x")
        idle = [one for one in broker._pool.places.free if one is not None]
        return {one._sock.getsockname()[1] for one in idle}

    of_parent = ports()
    child = os.fork()
    if not child:
        status = 1
        try:
            status = int(bool(ports() & of_parent))
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert ports() == of_parent


def test_an_exception_at_any_moment_of_a_call_leaves_its_place_free(
    broker: RedisBroker,
) -> None:
    """As that of a signal's handler, which Celery uses for a task that takes too long."""
    places = broker._pool.places
    for call in lambda: broker.read([]), lambda: say(broker, "x"):
        moments = 0
        while interrupted(call, moments + 1):
            moments += 1
            assert len(places.free) == pool.MAX_CONNECTIONS
            # Nothing reads the answer of the call that was interrupted.
            position = say(broker, str(moments))
            assert broker.read([]).end == position.number
        assert moments > 20, call


@pytest.mark.parametrize("what", ["answer", "connect", "turn", "occupied"])
def test_a_busy_process_does_not_take_redis_for_silent(redis: Redis, what: str) -> None:
    command = [sys.executable, "-m", "apps.busy_loop", what]
    env = {**os.environ, "REDIS": redis.url}
    done = subprocess.run(
        command, cwd=TESTS, env=env, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr


AT_EXIT = """
import atexit, threading
from flask import Flask
from flask_push import Push
app = Flask("bye")
app.config["PUSH_BROKER_URL"] = STORE
push = Push(app)
def refuse(*args, **options):
    raise RuntimeError("can't create new thread at interpreter shutdown")
def last_words():
    # As Python 3.12 does it, and newer ones.
    for name in "_start_new_thread", "_start_joinable_thread":
        if hasattr(threading, name):
            setattr(threading, name, refuse)
    print(push.publish("a", "goodbye"))
atexit.register(last_words)
"""


def test_a_process_that_ends_publishes_last_words(
    redis: Redis, broker: RedisBroker, tmp_path: Path
) -> None:
    code = AT_EXIT.replace("STORE", repr(redis.url))
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr == ""
    assert Position.parse(done.stdout).epoch
    assert heard(broker) == [b"goodbye"]


def test_a_paused_server_makes_publishing_uncertain_and_then_fail_fast(
    redis: Redis, broker: RedisBroker
) -> None:
    say(broker, "1")
    broker.timeout = 0.2
    redis.do("CLIENT", "PAUSE", 700, "WRITE")
    with pytest.raises(PublishUncertain):
        broker.publish([Event("a", "2", key="k")])
    broker.timeout = 1000
    with pytest.raises(NotPublished):
        say(broker, "no")
    with pytest.raises(NotRead):
        heard(broker)

    def again() -> bool:
        with contextlib.suppress(NotPublished):
            broker.publish([Event("a", "again", key="k")])
            return True
        return False

    until(again)
    # What was uncertain was done or not, but not twice.
    assert len(heard(broker)) == 2


def test_a_frozen_server_holds_no_view_up(redis: Redis, broker: RedisBroker) -> None:
    say(broker, "1")
    broker.timeout = 0.2
    redis.stop()
    with pytest.raises(PublishUncertain):
        say(broker, "2")
    broker.timeout = 1000
    start = time.monotonic()
    with pytest.raises(NotPublished):
        say(broker, "3")
    assert time.monotonic() - start < 100
    other = RedisBroker(redis.url, timeout=0.2)
    with pytest.raises(NotPublished):
        say(other, "a new connection is not answered either, and nothing was sent")
    redis.go_on()
    other.close()


def test_a_server_that_is_away_has_stored_nothing(
    redis: Redis, broker: RedisBroker
) -> None:
    redis.kill()
    with pytest.raises(NotPublished, match="refused"):
        say(broker, "1")
    with pytest.raises(NotRead, match="refused"):
        heard(broker)
    redis.start()
    say(broker, "2")
    assert heard(broker) == [b"2"]


def test_a_connection_that_was_closed_while_idle_harms_nobody(
    redis: Redis, broker: RedisBroker
) -> None:
    say(broker, "1")
    redis.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    say(broker, "2")
    assert heard(broker) == [b"1", b"2"]


def test_a_master_that_was_demoted_meanwhile_does_not_look_like_itself(
    redis: Redis, broker: RedisBroker, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    with Redis.started(tmp_path / "other") as other:
        other.do("REPLICAOF", "127.0.0.1", redis.port)
        until(lambda: other.info("replication", "master_link_status") == "up")
        before = say(broker, "both have it")
        until(lambda: other.do("EXISTS", "{push}:store"))
        other.do("REPLICAOF", "NO", "ONE")
        lost = say(broker, "only the first has it")
        redis.do("REPLICAOF", "127.0.0.1", other.port)
        until(lambda: redis.info("replication", "master_link_status") == "up")
        with pytest.raises(NotPublished, match="replica"):
            say(broker, "no")
        with pytest.raises(NotPublished, match="replica"):
            say(broker, "no, also by a new connection")
        redis.do("REPLICAOF", "NO", "ONE")
        assert redis.do("HGET", "{push}:store", "epoch").decode() == before.epoch
        after = say(broker, "again")
        assert lost.epoch == before.epoch != after.epoch
        assert heard(broker) == [b"both have it", b"again"]


def test_a_failover_of_sentinels_is_followed_and_told(
    redis: Redis, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "replica", "sentinel":
        (tmp_path / name).mkdir()

    master = f"127.0.0.1 {redis.port}"

    async def test(hub: RecordingSink) -> None:
        before = say(shop, "1")
        await proved(hub, before)
        # WAIT is for what its own connection has written.
        until(lambda: copy.has_all_of(redis))
        redis.kill()
        after: list[Position] = []

        def again() -> bool:
            with contextlib.suppress(NotPublished, PublishUncertain):
                after.append(say(shop, "2"))
            return bool(after)

        until(again)
        assert after[0].epoch != before.epoch
        await proved(hub, after[0])
        await proved(hub, say(shop, "3"))
        assert hub.received("a")[-1] == b"3" and heard(shop)[:1] == [b"1"]

    with (
        Redis.started(tmp_path / "replica", "--replicaof", master) as copy,
        Sentinel.started(tmp_path / "sentinel", redis.port) as sentinel,
    ):
        until(lambda: copy.info("replication", "master_link_status") == "up")
        until(lambda: sentinel.do("SENTINEL", "REPLICAS", "shop"))
        shop = RedisBroker(sentinel.url)
        listen(shop, test)
        shop.close()
    assert len(lines(caplog)) == 2


# URLs.


def test_sentinels_are_asked_for_a_service() -> None:
    with pytest.raises(ValueError, match="names no service"):
        open_broker("redis+sentinel://127.0.0.1:26379")


def test_a_url_without_redis_py_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in list(sys.modules):
        if name.startswith("flask_push.brokers.redis"):
            monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "redis"]:
        monkeypatch.delitem(sys.modules, name)
    # None of the installed ones is found.
    monkeypatch.setattr(sys, "path", [p for p in sys.path if "site-packages" not in p])
    with pytest.raises(ValueError, match=r"pip install -U 'Flask-Push\[redis\]'"):
        open_broker("redis://127.0.0.1")


def test_the_log_shows_no_password(redis: Redis) -> None:
    broker = RedisBroker("redis://app:s3cret@127.0.0.1:1/0", timeout=1)
    assert "s3cret" in broker.url, "the hub needs it"
    assert "s3cret" not in broker._place.name
    with pytest.raises(NotPublished) as raised:
        say(broker, "x")
    assert "s3cret" not in str(raised.value)
