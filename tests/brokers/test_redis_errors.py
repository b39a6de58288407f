"""What a Redis refuses is told apart from a Redis that is lost.

A refused write leaves reading alive, a script that fails is a gap, and the trouble of one
channel is no other channel's (law 18).
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import threading
import typing as t
from pathlib import Path

import pytest
from redis.exceptions import AuthenticationError
from redis.exceptions import OutOfMemoryError
from redis.exceptions import ResponseError
from support.redis_log import heard
from support.redis_log import lines
from support.redis_log import listen
from support.redis_log import proved
from support.redis_log import say
from support.redis_refusals import broker as broker
from support.redis_refusals import links_stay
from support.redis_refusals import redis as redis
from support.redis_refusals import refusals
from support.redis_refusals import soon as soon
from support.redises import Redis
from support.servers import until

from flask_push import Event
from flask_push import NotPublished
from flask_push import NotRead
from flask_push import PublishUncertain
from flask_push.brokers.redis import connection_pair
from flask_push.brokers.redis import RedisBroker
from flask_push.brokers.redis import scripts
from flask_push.brokers.redis.connection import ReplyError
from flask_push.brokers.redis.errors import code_of
from flask_push.brokers.redis.errors import explain
from flask_push.brokers.redis.feed import RedisFeed
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until as until_on_loop

# What is refused for a while.


def refused_for_a_while(
    broker: RedisBroker,
    redis: Redis,
    words: str,
    refuse: cabc.Callable[[], None],
    allow: cabc.Callable[[], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Writes are refused. Reading goes on: live, and for those who join."""

    async def test(hub: RecordingSink) -> None:
        say(broker, "1")
        await until_on_loop(lambda: hub.received("a") == [b"1"])
        with links_stay(redis, caplog):
            refuse()
            for store in True, False:
                with pytest.raises(NotPublished, match=words):
                    broker.publish([Event("a", "no", store=store), Event("b", "no")])
            assert heard(broker) == [b"1"]
            await hub.watch("b")
            page = await hub.read("a", "b", after=0)
            assert [entry.data for entry in page.entries] == [b"1"]
        redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        await until_on_loop(lambda: any("Reconnected to" in line for line in lines(caplog)))
        await hub.watch("c")
        allow()
        await proved(hub, say(broker, "2"))
        assert hub.received("a") == [b"1", b"2"] and hub.missing == 0

    listen(broker, test)
    assert not refusals(caplog)


def test_a_redis_with_too_few_replicas_is_read_on(
    redis: Redis, broker: RedisBroker, caplog: pytest.LogCaptureFixture
) -> None:
    def replicas(count: int) -> None:
        redis.do("CONFIG", "SET", "min-replicas-to-write", count)

    words = "fewer replicas than min-replicas-to-write"
    refused_for_a_while(
        broker, redis, words, lambda: replicas(1), lambda: replicas(0), caplog
    )


def test_a_redis_that_can_not_save_is_read_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> None:
        # A directory can't be replaced by a file, whoever tries it.
        (tmp_path / "taken" / "by").mkdir(parents=True)
        server.do("CONFIG", "SET", "save", "900 1")
        server.do("BGSAVE")
        until(lambda: server.info("persistence", "rdb_last_bgsave_status") == "err")

    def allow() -> None:
        server.do("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")

    with Redis.started(tmp_path, "--dbfilename", "taken") as server:
        broker = RedisBroker(server.url, timeout=10)
        refused_for_a_while(broker, server, "can't save its data", refuse, allow, caplog)
        broker.close()


def test_a_full_redis_is_read_on(
    redis: Redis, broker: RedisBroker, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> None:
        redis.do("CONFIG", "SET", "maxmemory", "1mb")

    def allow() -> None:
        redis.do("CONFIG", "SET", "maxmemory", "0")

    words = "is full, and stores nothing more; raise maxmemory"
    refused_for_a_while(broker, redis, words, refuse, allow, caplog)


def test_a_full_redis_that_should_begin_an_epoch_is_asked_again(
    redis: Redis, broker: RedisBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(hub: RecordingSink) -> None:
        before = say(broker, "1")
        redis.do("CONFIG", "SET", "maxmemory", "1mb")
        redis.do("DEL", "{push}:store")
        await until_on_loop(lambda: refusals(caplog))
        with links_stay(redis, caplog):
            # Asked again, and again.
            count = redis.info("errorstats", "errorstat_OOM")["count"]
            await until_on_loop(
                lambda: redis.info("errorstats", "errorstat_OOM")["count"] > count + 2
            )
            with pytest.raises(NotRead, match="is full"):
                heard(broker)
            feed = t.cast(RedisFeed, hub.feed)
            assert "is full" in feed.trouble
            redis.do("CONFIG", "SET", "maxmemory", "0")
            await until_on_loop(lambda: hub.epoch != before.epoch)
            await proved(hub, say(broker, "2"))
            assert hub.received("a") == [b"1", b"2"]
            assert not feed.trouble

    listen(broker, test)
    (line,) = refusals(caplog)
    assert "will be asked again" in line and "is full" in line


def test_channels_are_unsubscribed_from_while_a_full_redis_is_asked_again(
    redis: Redis, broker: RedisBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(hub: RecordingSink) -> None:
        names = [f"left:{n}" for n in range(600)]
        await hub.watch(*names)
        # Joining again is refused, since it should begin an epoch.
        redis.do("CONFIG", "SET", "maxmemory", "1mb")
        redis.do("DEL", "{push}:store")
        redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        await until_on_loop(lambda: t.cast(RedisFeed, hub.feed)._refused)
        hub.feed.unwatch(names)
        await until_on_loop(lambda: redis.do("PUBSUB", "CHANNELS") == [b"{push}:0:a"])
        assert not t.cast(RedisFeed, hub.feed)._channels._unwanted
        redis.do("CONFIG", "SET", "maxmemory", "0")
        await proved(hub, say(broker, "1"))

    listen(broker, test)


def test_a_busy_redis_is_asked_again(
    redis: Redis, broker: RedisBroker, caplog: pytest.LogCaptureFixture
) -> None:
    def compute() -> None:
        with contextlib.suppress(Exception):
            redis.do("EVAL", "while true do end", 0)

    async def test(hub: RecordingSink) -> None:
        say(broker, "1")
        redis.do("CONFIG", "SET", "lua-time-limit", 20)
        with links_stay(redis, caplog):
            thread = threading.Thread(target=compute)
            thread.start()
            try:
                await until_on_loop(lambda: refusals(caplog))
                with pytest.raises(NotPublished, match="another program's script"):
                    say(broker, "no")
                with pytest.raises(NotRead, match="another program's script"):
                    heard(broker)
                page = asyncio.ensure_future(hub.read("a", after=0))
                await until_on_loop(lambda: t.cast(RedisFeed, hub.feed)._reads.retry)
            finally:
                redis.do("SCRIPT", "KILL")
                thread.join()
            await proved(hub, say(broker, "2"))
            assert hub.received("a") == [b"1", b"2"] and hub.missing == 0
            assert (await page).entries[0].data == b"1"

    listen(broker, test)
    assert "busy with another program's script" in refusals(caplog)[0]


def test_a_user_who_may_no_longer_ask_goes_on_when_it_may(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    def allow(*rights: str) -> None:
        redis.do("ACL", "SETUSER", "app", "on", ">x", "~*", "&*", "+@all", *rights)

    allow()
    broker = RedisBroker(redis.url.replace("://", "://app:x@"), timeout=10)

    async def test(hub: RecordingSink) -> None:
        say(broker, "1")
        with links_stay(redis, caplog):
            allow("-eval", "-evalsha")
            await until_on_loop(lambda: refusals(caplog))
            with pytest.raises(NotPublished, match="user may not do this"):
                say(broker, "no")
            pages = asyncio.ensure_future(hub.read("a", after=0))
            await asyncio.sleep(0)
            allow()
            await proved(hub, say(broker, "2"))
            assert [entry.data for entry in (await pages).entries] == [b"1", b"2"]
            assert hub.received("a") == [b"1", b"2"] and hub.missing == 0

    listen(broker, test)
    broker.close()
    assert "user may not do this" in refusals(caplog)[0]


def test_a_user_who_may_not_listen_is_named_and_goes_on_when_it_may(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    user = ("ACL", "SETUSER", "app", "on", ">x", "~*", "+@all")
    redis.do(*user, "resetchannels")
    broker = RedisBroker(redis.url.replace("://", "://app:x@"), timeout=10)

    async def main() -> None:
        hub = RecordingSink(broker)
        try:
            hub.feed.watch(["a"])
            await until_on_loop(lambda: lines(caplog))
            redis.do(*user, "&*")
            await until_on_loop(lambda: "a" in hub.watching)
            await proved(hub, say(broker, "1"))
            assert hub.received("a") == [b"1"]
        finally:
            hub.feed.close()

    asyncio.run(main())
    broker.close()
    assert "user may not do this" in lines(caplog)[0]


def test_a_redis_that_is_loading_is_named_and_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Redis.started(tmp_path) as redis:
        broker = RedisBroker(redis.url, timeout=1)
        for start in range(0, 2000, 500):
            broker.publish([Event(f"c{n}", "x") for n in range(start, start + 500)])
        say(broker, "1")
        redis.do("SAVE")
        redis.kill()
        slowly = (
            "--key-load-delay",
            "1000",
            "--loading-process-events-interval-bytes",
            "1024",
        )
        thread = threading.Thread(target=redis.start, args=slowly)
        thread.start()

        def is_loading() -> bool:
            try:
                return not heard(broker)
            except NotRead as error:
                return "still loading its data" in str(error)

        async def main() -> None:
            hub = RecordingSink(broker)
            hub.feed.watch(["a"])
            await until_on_loop(lambda: "a" in hub.watching)
            await proved(hub, say(broker, "2"))
            assert hub.received("a") == [b"2"]
            hub.feed.close()

        until(is_loading)
        with pytest.raises(NotPublished, match="still loading its data"):
            say(broker, "no")
        asyncio.run(main())
        thread.join()
        assert heard(broker) == [b"1", b"2"]
        broker.close()
    assert any("still loading its data" in line for line in lines(caplog))


def test_scripts_that_were_flushed_are_sent_again(
    redis: Redis, broker: RedisBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(hub: RecordingSink) -> None:
        for n in range(3):
            redis.do("SCRIPT", "FLUSH")
            say(broker, str(n))
            redis.do("SCRIPT", "FLUSH")
            assert len((await hub.read("a", after=0)).entries) == n + 1
        await until_on_loop(lambda: len(hub.entries) == 3)

    listen(broker, test)
    assert not lines(caplog)


# A script that fails, each time again.


def test_a_script_that_fails_is_a_gap_and_not_a_lost_link(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As where somebody has switched off a command that reading needs."""
    with Redis.started(tmp_path, "--rename-command", "LLEN", "") as redis:
        broker = RedisBroker(redis.url, timeout=10)

        async def test(hub: RecordingSink) -> None:
            await hub.watch("b")
            await proved(hub, say(broker, "1"))
            assert hub.received("a") == [b"1"]
            end = hub.end
            page = await hub.read("a", "b", after=0)
            assert not page.entries and page.reach == page.end >= end
            assert set(page.proofs.values()) == {(page.end, "unknown")}
            assert page.after == 0
            redis.do("CLIENT", "KILL", "TYPE", "pubsub")
            lost = say(broker, "2", channel="b")
            await until_on_loop(lambda: hub.missing >= lost.number)
            with links_stay_after(redis, caplog):
                await proved(hub, say(broker, "3"))
                assert hub.received("a") == [b"1", b"3"]

        listen(broker, test)
        broker.close()
    (line,) = refusals(caplog)
    assert "could not run a script, and readers get a gap" in line


@contextlib.contextmanager
def links_stay_after(redis: Redis, caplog: pytest.LogCaptureFixture) -> cabc.Iterator[None]:
    """As above, from here on."""
    count = len(lines(caplog))
    yield
    assert not [line for line in lines(caplog)[count:] if "is lost" in line]


def test_a_script_that_was_killed_has_stored_nothing(
    redis: Redis, broker: RedisBroker
) -> None:
    """Redis ends none that has written."""
    slow = scripts.PUBLISH.text.replace(
        "local at, first = 4, 4", "local at, first = 4, 4 while true do end", 1
    )
    said = say(broker, "1")
    assert slow != scripts.PUBLISH.text and said.number
    redis.do("CONFIG", "SET", "lua-time-limit", 20)
    broker._publish = scripts.Script.of(slow)

    def kill_when_it_runs() -> None:
        def killed() -> bool:
            with contextlib.suppress(Exception):
                return bool(redis.do("SCRIPT", "KILL"))
            return False

        until(killed)

    thread = threading.Thread(target=kill_when_it_runs)
    thread.start()
    with pytest.raises(NotPublished, match="SCRIPT KILL"):
        say(broker, "no")
    thread.join()
    assert heard(broker) == [b"1"]


def test_a_hub_whose_scripts_are_killed_asks_again(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    broker = RedisBroker(redis.url, timeout=30)
    names = [f"user{n}" for n in range(5_000)]
    stop, killed = threading.Event(), 0

    def kill() -> None:
        nonlocal killed
        while not stop.is_set():
            with contextlib.suppress(Exception):
                redis.do("SCRIPT", "KILL")
                killed += 1

    async def test(hub: RecordingSink) -> None:
        for start in range(0, len(names), 500):
            broker.publish([Event(name, "x") for name in names[start : start + 500]])
        await hub.watch(*names)
        redis.do("CONFIG", "SET", "lua-time-limit", 1)
        thread = threading.Thread(target=kill)
        thread.start()
        pages: list[asyncio.Future[t.Any]] = []
        try:
            while killed < 3:
                pages.append(asyncio.ensure_future(hub.read(*names, after=0)))
                await asyncio.sleep(0.05)
        finally:
            stop.set()
            thread.join()
        await asyncio.wait(pages)
        assert {len(page.result().entries) for page in pages} == {len(names)}
        await proved(hub, say(broker, "then", channel=names[7]))
        assert hub.received(names[7]) == [b"then"]

    with links_stay(redis, caplog):
        listen(broker, test)
    broker.close()
    assert "SCRIPT KILL" in refusals(caplog)[0]


# Connections that nobody uses.


def test_a_connection_that_nobody_uses_is_used_before_it_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection_pair, "_KEEPALIVE_SECONDS", 0.2)
    with Redis.started(tmp_path, "--timeout", "2") as redis:
        broker = RedisBroker(redis.url, timeout=10)

        async def test(hub: RecordingSink) -> None:
            start = redis.info("server", "uptime_in_seconds")
            with links_stay(redis, caplog):
                await until_on_loop(
                    lambda: redis.info("server", "uptime_in_seconds") > start + 4
                )

        listen(broker, test)
        broker.close()
    assert not lines(caplog)


# Publishing that may be done.


def test_a_script_that_fails_when_it_has_stored_something_is_uncertain(
    redis: Redis,
) -> None:
    redis.do("ACL", "SETUSER", "app", "on", ">x", "~*", "resetchannels", "&{push}:0:a")
    redis.do("ACL", "SETUSER", "app", "+@all")
    broker = RedisBroker(redis.url.replace("://", "://app:x@"), timeout=10)
    with pytest.raises(PublishUncertain, match="user may not do this"):
        broker.publish([Event("a", "1"), Event("b", "2")])
    broker.close()


# Words.


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ReplyError("OOM command not allowed when used memory > 'maxmemory'."), "OOM"),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "OOM"),
        # As Redis 6 says it from within a script.
        (
            ResponseError(
                "Error running script (call to f_9b): @user_script:9: @user_script: 9:"
                " -OOM command not allowed when used memory > 'maxmemory'."
            ),
            "OOM",
        ),
        (ResponseError("MISCONF Redis is configured to save RDB snapshots"), "MISCONF"),
        (ReplyError("NOAUTH HELLO must be called with the client"), "NOAUTH"),
        (ResponseError("Protocol error: unauthenticated multibulk length"), "NOAUTH"),
        (AuthenticationError("invalid password"), "WRONGPASS"),
        (AuthenticationError("Authentication required."), "NOAUTH"),
        (ReplyError("HALF NOPERM this user has no permissions"), "NOPERM"),
        (ReplyError("ERR Unknown thing"), "ERR"),
        (ReplyError("the server says something else"), "ERR"),
        (ConnectionError("Error 111 connecting to x:1. Connection refused."), "ERR"),
    ],
)
def test_what_a_server_says_is_known_however_it_says_it(
    error: Exception, code: str
) -> None:
    assert code_of(error) == code
    words = explain(error)
    assert str(error) in words
    assert (words != str(error)) == (code != "ERR")


def test_a_server_without_resp3_is_not_used_and_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Redis.started(tmp_path, "--rename-command", "HELLO", "") as redis:
        broker = RedisBroker(redis.url)

        async def test() -> None:
            hub = RecordingSink(broker)
            try:
                await until_on_loop(
                    lambda: any("a proxy without RESP3" in line for line in lines(caplog))
                )
            finally:
                hub.feed.close()

        asyncio.run(test())
        broker.close()
