"""What can befall a Redis, and the way to it."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest
from support.proxies import Proxy
from support.redis_log import broker as broker
from support.redis_log import heard
from support.redis_log import lines
from support.redis_log import listen
from support.redis_log import proved
from support.redis_log import redis as redis
from support.redis_log import say
from support.redises import Redis
from support.redises import Sentinel
from support.servers import free_port
from support.servers import gunicorn
from support.servers import hubs
from support.servers import serve
from support.servers import until

from flask_push import Event
from flask_push import NotPublished
from flask_push import NotRead
from flask_push import Position
from flask_push import Publisher
from flask_push import PublishUncertain
from flask_push._handoff.spawn import start_process
from flask_push._ipc.files import HubFiles
from flask_push._system import logs
from flask_push.brokers import open_broker
from flask_push.brokers import Retention
from flask_push.brokers.base import Bridge
from flask_push.brokers.redis import calls
from flask_push.brokers.redis import feed as _redis_feed
from flask_push.brokers.redis import line as _redis_line
from flask_push.brokers.redis import link
from flask_push.brokers.redis import RedisBroker
from flask_push.brokers.redis import scripts
from flask_push.brokers.redis.bridge import RedisBridge
from flask_push.brokers.redis.feed import RedisFeed
from flask_push.brokers.redis.pool import Place
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until as until_on_loop


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(_redis_line, "SILENCE_SECONDS", 0.5)


def line_of(hub: RecordingSink) -> _redis_line.Line:
    return t.cast(RedisFeed, hub.feed)._line


# The way to it.


def test_a_link_that_is_cut_is_replaced_and_nothing_is_missed(
    redis: Redis, broker: RedisBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(hub: RecordingSink) -> None:
        said = []
        for round in range(4):
            for n in range(50):
                said.append(f"{round} {n}".encode())
                say(broker, said[-1].decode())
                if n == 20:
                    redis.do("CLIENT", "KILL", "TYPE", "pubsub")
            await until_on_loop(lambda: hub.heard("a") == said)
            await proved(hub, say(broker, "x", channel="b"))
        assert hub.missing == 0

    listen(broker, test)
    first, second = lines(caplog)
    assert "is lost, and streams wait" in first and "is back" in second


def test_a_link_that_is_cut_over_and_over_is_logged_once_a_minute_for_each_reason(
    redis: Redis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rights = "on", ">x", "~*", "&*", "+@all"
    redis.do("ACL", "SETUSER", "app", *rights)
    broker = RedisBroker(redis.url.replace("://", "://app:x@"), timeout=5)

    async def cut(hub: RecordingSink) -> None:
        redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        await proved(hub, say(broker, "x"))

    async def test(hub: RecordingSink) -> None:
        for _ in range(4):
            await cut(hub)
        assert len(lines(caplog)) == 2
        redis.do("ACL", "SETUSER", "app", "off")
        redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        await until_on_loop(lambda: len(lines(caplog)) == 3)
        redis.do("ACL", "SETUSER", "app", "on")
        await until_on_loop(lambda: len(lines(caplog)) == 4)
        for _ in range(4):
            await cut(hub)
        # No line says that it is lost, and then it is for long.
        redis.kill()
        await until_on_loop(lambda: not line_of(hub).ready)
        assert len(lines(caplog)) == 4
        monkeypatch.setattr(logs, "PAUSE", 0.0)
        await until_on_loop(lambda: len(lines(caplog)) == 5)
        monkeypatch.setattr(logs, "PAUSE", 60.0)
        redis.start("--user", "app", *rights)
        await until_on_loop(lambda: "is back" in lines(caplog)[-1])

    listen(broker, test)
    broker.close()
    words = [
        *("has closed the connection", "is back", "does not accept the user", "is back"),
        *("(left out ", "is back"),
    ]
    assert all(map(str.__contains__, lines(caplog), words)), lines(caplog)
    assert len(lines(caplog)) == len(words)


def test_more_than_a_link_bears_is_said_to_be_missed_and_read_in_pages(
    redis: Redis, broker: RedisBroker
) -> None:
    redis.do("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 0 0")

    async def test(hub: RecordingSink) -> None:
        start = hub.end
        redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        last = say(broker, *[str(n) * 100_000 for n in range(9)] * 3)
        await until_on_loop(lambda: hub.missing >= last.number)
        found: list[bytes] = []
        while start < last.number:
            page = await hub.read("a", after=start)
            found += [entry.data[:1] for entry in page.entries]
            start = page.reach
        assert found == [b"%d" % n for n in range(9)] * 3
        say(broker, "then")
        await until_on_loop(lambda: hub.heard("a") == [b"then"])

    listen(broker, test)


def test_a_hub_that_does_not_read_is_cut_off_and_goes_on(
    redis: Redis, broker: RedisBroker, caplog: pytest.LogCaptureFixture
) -> None:
    redis.do("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 0 0")

    async def test(hub: RecordingSink) -> None:
        # Publishing blocks the loop, and so the hub, until far more is on its way than
        # sockets hold.
        for n in range(40):
            last = say(broker, f"{n}:" + "x" * 500_000)
        await until_on_loop(lambda: hub.end >= last.number)
        numbers = [int(data.partition(b":")[0]) for data in hub.heard("a")]
        assert numbers == list(range(len(numbers)))
        assert hub.missing >= last.number
        say(broker, "then")
        await until_on_loop(lambda: hub.heard("a")[-1] == b"then")

    listen(broker, test)
    assert len(lines(caplog)) == 2


def test_a_frozen_server_is_noticed_and_when_it_goes_on_nothing_was_missed(
    redis: Redis, broker: RedisBroker, caplog: pytest.LogCaptureFixture, impatient: None
) -> None:
    async def test(hub: RecordingSink) -> None:
        say(broker, "1")
        await until_on_loop(lambda: hub.heard("a") == [b"1"])
        redis.stop()
        await until_on_loop(lambda: lines(caplog))
        redis.go_on()
        until(redis.answers)
        last = say(broker, "2")
        await until_on_loop(lambda: hub.end >= last.number)
        assert hub.heard("a") == [b"1", b"2"] and hub.missing == 0

    listen(broker, test)
    assert "is lost, and streams wait" in lines(caplog)[0]
    assert lines(caplog)[1:] == [f"redis://127.0.0.1:{redis.port}/0 (push) is back."]


def test_a_line_that_is_never_there_says_so_once_and_can_be_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        broker = RedisBroker(f"redis://127.0.0.1:{free_port()}", timeout=0.2)
        hub = RecordingSink(broker)
        hub.feed.watch(["a"])
        await until_on_loop(lambda: lines(caplog))
        await asyncio.sleep(0.5)
        hub.feed.close()
        broker.close()

    asyncio.run(main())
    (line,) = lines(caplog)
    assert "Connection refused" in line


def test_a_hub_that_comes_before_its_server_begins_with_it(tmp_path: Path) -> None:
    port = free_port()

    async def main() -> None:
        broker = RedisBroker(f"redis://127.0.0.1:{port}")
        hub = RecordingSink(broker)
        hub.feed.watch(["a"])
        await asyncio.sleep(0.1)
        with Redis.started(tmp_path, "--port", str(port)):
            await until_on_loop(lambda: "a" in hub.watching)
            say(broker, "1")
            await until_on_loop(lambda: hub.heard("a") == [b"1"])
            hub.feed.close()
            broker.close()

    asyncio.run(main())


def test_a_channel_asked_for_just_before_a_tick_is_heard(broker: RedisBroker) -> None:
    async def test(hub: RecordingSink) -> None:
        hub.feed.watch(["b"])
        t.cast(RedisFeed, hub.feed)._tick()
        await hub.watch("b")
        say(broker, "1", channel="b")
        await until_on_loop(lambda: hub.heard("b") == [b"1"])

    listen(broker, test)


def test_a_channel_that_is_wanted_again_is_not_unsubscribed(broker: RedisBroker) -> None:
    async def test(hub: RecordingSink) -> None:
        hub.feed.unwatch(["a"])
        hub.watching.clear()
        hub.feed.watch(["a"])
        # It is subscribed to before what was not wanted is unsubscribed.
        t.cast(RedisFeed, hub.feed)._tick()
        await until_on_loop(lambda: "a" in hub.watching)
        await hub.watch("b")
        say(broker, "1")
        await until_on_loop(lambda: hub.heard("a") == [b"1"])

    listen(broker, test)


def test_channels_that_are_left_while_the_server_is_away_are_forgotten(
    redis: Redis, broker: RedisBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(hub: RecordingSink) -> None:
        feed = t.cast(RedisFeed, hub.feed)
        names = [f"left:{n}" for n in range(1000)]
        await hub.watch(*names)
        redis.kill()
        await until_on_loop(lambda: not line_of(hub).ready)
        for n in range(0, 1000, 100):
            hub.feed.unwatch(names[n : 100 + n])
            hub.feed.watch([f"short:{n}"])
            hub.feed.unwatch([f"short:{n}"])
            await until_on_loop(lambda: not feed._due)
            assert not feed._unwanted
        assert not feed._wanted and feed._channels == {"a"}
        redis.start()
        await proved(hub, say(broker, "1"))
        assert redis.do("PUBSUB", "CHANNELS") == [b"{push}:0:a"]

    listen(broker, test)
    # No step of the hub has failed.
    assert not [record for record in caplog.records if record.name == "asyncio"]


def test_a_page_that_has_seen_further_hurries_the_tick(
    broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that has its page waits until the hub is as far."""

    async def test(hub: RecordingSink) -> None:
        await proved(hub, Position(hub.epoch, hub.end))
        last = say(broker, "not watched", channel="b")
        assert (await hub.read("b", after=0)).end >= last.number
        await proved(hub, last)

    monkeypatch.setattr(_redis_feed, "_TICK_SECONDS", 1000)
    monkeypatch.setattr(_redis_feed, "_UNPROVED_TICK_SECONDS", 1000)
    listen(broker, test)


def test_what_others_publish_on_its_channels_is_not_heard(
    redis: Redis, broker: RedisBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(hub: RecordingSink) -> None:
        epoch = hub.epoch.encode()
        redis.do("PUBLISH", "{push}:0:a", epoch + b":1:2:")
        for junk in b"", b"junk", b"a:b:c:d:e", b"\xff:1:2:3:4", b"epoch:::9:x", b"a:1:2:":
            redis.do("PUBLISH", "{push}:0:a", junk)
        other = RedisBroker(f"{redis.url}?prefix=other")
        say(other, "other prefix")
        other.close()
        other = RedisBroker(f"redis://127.0.0.1:{redis.port}/1")
        say(other, "other database")
        other.close()
        say(broker, "ours")
        await until_on_loop(lambda: hub.heard("a"))
        assert hub.heard("a") == [b"ours"]

    listen(broker, test)
    assert not lines(caplog)


# Publishing within limits.


def user(redis: Redis, *rights: str) -> RedisBroker:
    """What one may do who has these rights."""
    redis.do("ACL", "SETUSER", "other", "reset", "on", ">x", "~*", "&*", "+@all", *rights)
    return RedisBroker(redis.url.replace("://", "://other:x@"), timeout=5)


@pytest.mark.parametrize("right", ["resetchannels", "-rpush", "-ltrim", "-zadd", "-set"])
def test_a_user_who_may_not_publish_stores_nothing(
    redis: Redis, broker: RedisBroker, right: str
) -> None:
    first = say(broker, "1")
    other = user(redis, right)
    with pytest.raises(NotPublished, match="user may not do this"):
        say(other, "2")
    with pytest.raises(NotPublished, match="user may not do this"):
        other.publish([Event("b", "3"), Event("a", "4", key="k"), Event("c", "5")])
    other.close()
    page = broker.read("abc", after=0)
    assert [entry.data for entry in page.entries] == [b"1"] and page.epoch == first.epoch
    assert say(broker, "6").epoch == first.epoch


def test_a_user_who_may_not_publish_all_of_a_call_is_not_told_that_nothing_is_stored(
    redis: Redis, broker: RedisBroker
) -> None:
    other = user(redis, "resetchannels", "&{push}:0:a")
    with pytest.raises(PublishUncertain, match="channel"):
        other.publish([Event("a", "1"), Event("a", "2"), Event("b", "3"), Event("a", "4")])
    other.close()
    say(broker, "5")
    numbers = [entry.number for entry in broker.read("ab", after=0).entries]
    assert heard(broker) == [b"1", b"2", b"5"]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("count", [8_001, 50_000])
@pytest.mark.parametrize("names", ["a", "ab"])
def test_very_many_events_are_published_in_one_call(
    redis: Redis, count: int, names: str
) -> None:
    broker = RedisBroker(redis.url, Retention(count=100_000), timeout=60)
    events = [Event("first", "x")]
    events += [Event(names[n % len(names)], str(n), "t") for n in range(count)]
    positions = broker.publish(events)
    numbers = [position.number for position in positions]
    assert numbers == list(range(numbers[0], numbers[0] + count + 1))
    page = broker.read(["first", *names], after=0, limit=2**30)
    assert [entry.number for entry in page.entries] == numbers
    assert [entry.data for entry in page.entries[1:]] == [b"%d" % n for n in range(count)]
    assert page.end == numbers[-1]
    for before, entry in zip(
        page.entries[1:], page.entries[1 + len(names) :], strict=False
    ):
        assert entry.prev == before.number
    broker.close()


def test_a_hub_hears_very_many_events_of_one_call(broker: RedisBroker) -> None:
    async def test(hub: RecordingSink) -> None:
        broker.publish([Event("a", str(n % 10), "t") for n in range(9_000)])
        await until_on_loop(lambda: len(hub.entries) == 9_000)
        assert hub.heard("a") == [b"%d" % (n % 10) for n in range(9_000)]
        assert hub.missing == 0

    listen(broker, test)


def test_more_than_one_call_can_publish_is_refused(broker: RedisBroker) -> None:
    with pytest.raises(ValueError, match="100,000 events"):
        broker.publish([Event("a", "x")] * 100_001)
    with pytest.raises(ValueError, match="in several calls"):
        broker.publish([Event("a", "x" * 33 * 2**20)] * 2)
    assert not heard(broker)
    # A single one is what PUSH_MAX_EVENT_BYTES allows.
    say(broker, "x" * 65 * 2**20)
    assert len(heard(broker)) == 1


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


@pytest.fixture
def proxy(redis: Redis) -> cabc.Iterator[Proxy]:
    with Proxy.started(redis.port) as proxy:
        yield proxy


def test_an_event_whose_reply_is_lost_is_stored_once(redis: Redis, proxy: Proxy) -> None:
    broker = RedisBroker(proxy.url)
    say(broker, "1")
    proxy.cuts = 1
    position = say(broker, "2", "3")
    assert heard(broker) == [b"1", b"2", b"3"]
    assert broker.read(["a"], after=0).end == position.number
    broker.close()


def test_a_call_that_comes_twice_or_late_is_done_once(
    redis: Redis, broker: RedisBroker
) -> None:
    """As where a server that was frozen finds both attempts, the second one first."""
    say(broker, "1")
    caller, runs = broker._callers.take(), calls.Runs([Event("a", "2"), Event("a", "3")])
    attempt = scripts.PUBLISH.by_text(broker._store.publish(runs, caller))
    reply = redis.do(*attempt)
    assert redis.do(*attempt) == reply
    broker._callers.give_back(caller)
    say(broker, "4")
    redis.do(*attempt)
    assert heard(broker) == [b"1", b"2", b"3", b"4"]


def test_a_name_that_the_store_would_soon_forget_is_given_up(
    redis: Redis, broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def callers() -> int:
        return len(redis.do("KEYS", "*:call:*"))

    say(broker, "1")
    say(broker, "2")
    assert callers() == 1
    monkeypatch.setattr(calls, "CALLER_SECONDS", -1)
    broker._callers.take()
    say(broker, "3")
    say(broker, "4")
    assert callers() == 3
    (*_, ttl) = sorted(redis.do("PTTL", key) for key in redis.do("KEYS", "*:call:*"))
    assert 0 < ttl <= 60_000


def test_where_every_reply_is_lost_the_key_makes_it_once(
    redis: Redis, proxy: Proxy
) -> None:
    broker = RedisBroker(proxy.url)
    say(broker, "1")
    proxy.cuts = 2
    with pytest.raises(PublishUncertain):
        broker.publish([Event("a", "2", key="k")])
    assert heard(broker) == [b"1", b"2"]
    broker.publish([Event("a", "2", key="k")])
    assert heard(broker) == [b"1", b"2"]
    broker.close()


def test_a_page_begins_at_any_place(broker: RedisBroker) -> None:
    for count in range(1, 20):
        name = f"c{count}"
        events = [Event(name, "x") for _ in range(count)]
        numbers = [position.number for position in broker.publish(events)]
        for after in [0, numbers[0] - 1, *numbers, numbers[-1] + 1]:
            page = broker.read([name], after=after)
            found = [entry.number for entry in page.entries]
            assert found == [number for number in numbers if number > after]
        for last in range(count + 2):
            page = broker.read([name], last=last)
            found = [entry.number for entry in page.entries]
            assert found == numbers[len(numbers) - last :] or last > count == len(found)


# Lives of the store.


def test_a_restart_is_another_epoch_and_a_feed_says_so(
    redis: Redis, broker: RedisBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(hub: RecordingSink) -> None:
        say(broker, "1")
        await until_on_loop(lambda: hub.heard("a"))
        before = hub.epoch
        redis.kill()
        redis.start()
        last = say(broker, "2")
        await until_on_loop(lambda: hub.epoch != before)
        assert hub.epoch == last.epoch and hub.end >= last.number
        say(broker, "3")
        await until_on_loop(lambda: hub.heard("a") == [b"1", b"3"])

    listen(broker, test)
    assert len(lines(caplog)) == 2


def test_a_restart_that_lost_nothing_is_another_epoch_too_but_keeps_history(
    tmp_path: Path,
) -> None:
    options = "--appendonly", "yes", "--appendfsync", "always"
    with Redis.started(tmp_path, *options) as redis:
        broker = RedisBroker(redis.url, Retention(count=7))
        before = say(broker, "1")
        redis.kill()
        redis.start()
        other = RedisBroker(redis.url)
        after = say(other, *"23456789")
        assert after.epoch != before.epoch and after.number > before.number
        assert heard(broker) == heard(other) == [b"%d" % n for n in range(3, 10)]
        other.close()
        broker.close()


def test_a_flushed_store_is_another_epoch(redis: Redis, broker: RedisBroker) -> None:
    async def test(hub: RecordingSink) -> None:
        for _ in range(3):
            before = say(broker, "1")
            await until_on_loop(lambda: hub.heard("a"))
            assert hub.epoch == before.epoch
            redis.do("FLUSHALL")
            after = say(broker, "2")
            assert after.epoch != before.epoch
            await proved(hub, after)
            hub.entries.clear()
            await proved(hub, say(broker, "3"))
            assert hub.heard("a") == [b"3"]
            hub.entries.clear()
        redis.do("FLUSHALL")
        # Also where nobody publishes.
        await until_on_loop(lambda: hub.epoch != after.epoch)

    listen(broker, test)


def test_flushed_scripts_are_told_again(redis: Redis, broker: RedisBroker) -> None:
    async def test(hub: RecordingSink) -> None:
        for n in range(3):
            redis.do("SCRIPT", "FLUSH")
            say(broker, str(n))
            redis.do("SCRIPT", "FLUSH")
            assert len((await hub.read("a", after=0)).entries) == n + 1
            redis.do("SCRIPT", "FLUSH")
            assert len(heard(broker)) == n + 1
        await until_on_loop(lambda: len(hub.entries) == 3)

    listen(broker, test)


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
        assert hub.heard("a")[-1] == b"3" and heard(shop)[:1] == [b"1"]

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


def test_a_demoted_server_is_noticed_where_nobody_publishes(
    redis: Redis, broker: RedisBroker, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()

    async def test(hub: RecordingSink) -> None:
        before = hub.epoch
        redis.do("REPLICAOF", "127.0.0.1", other.port)
        await until_on_loop(lambda: lines(caplog))
        assert "READONLY" in lines(caplog)[0]
        redis.do("REPLICAOF", "NO", "ONE")
        await until_on_loop(lambda: hub.epoch != before)

    with Redis.started(tmp_path / "other") as other:
        listen(broker, test)


def test_a_store_that_is_flushed_is_noticed_where_nobody_publishes(
    redis: Redis, broker: RedisBroker
) -> None:
    async def test(hub: RecordingSink) -> None:
        before = say(broker, "1")
        await proved(hub, before)
        redis.do("FLUSHALL")
        await until_on_loop(lambda: hub.epoch != before.epoch)

    listen(broker, test)


def test_a_store_that_went_back_in_time_unseen_is_another_epoch(
    redis: Redis, broker: RedisBroker
) -> None:
    """As behind a proxy, whose servers all look the same."""

    async def test(hub: RecordingSink) -> None:
        say(broker, "1")
        held = {key: redis.do("DUMP", key) for key in redis.do("KEYS", "*")}
        last = say(broker, "2")
        await until_on_loop(lambda: hub.end >= last.number)
        redis.do("FLUSHALL")
        for key, value in held.items():
            redis.do("RESTORE", key, 0, value)
        await until_on_loop(lambda: hub.epoch != last.epoch)

    listen(broker, test)


def test_what_is_kept_is_the_stores_own(redis: Redis, broker: RedisBroker) -> None:
    say(broker, *"12345")
    other = RedisBroker(redis.url, Retention(count=3))
    other.read([], after=0)
    say(broker, "6")
    assert heard(broker) == [b"4", b"5", b"6"]
    other.close()


# Memory.


def test_a_full_store_takes_nothing_and_is_read_on(
    redis: Redis, broker: RedisBroker
) -> None:
    async def test(hub: RecordingSink) -> None:
        say(broker, "1")
        redis.do("SET", "junk", "x" * 100_000)
        redis.do("CONFIG", "SET", "maxmemory", "1mb")
        end = redis.do("HGET", "{push}:store", "last")
        for store in True, False:
            with pytest.raises(NotPublished, match="maxmemory"):
                broker.publish([Event("a", "no", store=store), Event("a", "no")])
        assert redis.do("HGET", "{push}:store", "last") == end
        assert heard(broker) == [b"1"]
        await hub.watch("b")
        redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        await hub.watch("c")
        assert len((await hub.read("a", after=0)).entries) == 1
        redis.do("CONFIG", "SET", "maxmemory", "0")
        say(broker, "2")
        await until_on_loop(lambda: hub.heard("a") == [b"1", b"2"])

    listen(broker, test)


def test_an_evicted_log_can_tell_that_it_is_gone(redis: Redis, broker: RedisBroker) -> None:
    kept = say(broker, "kept", channel="b")
    lost = say(broker, "lost", "lost")
    (key,) = redis.do("KEYS", "*:log:a")
    redis.do("DEL", key)
    page = broker.read("abc", after=0)
    assert page.proofs["a"].reason == "unknown"
    assert lost.number < page.proofs["a"].since <= page.end
    assert page.proofs["b"].since < kept.number
    # By publishing, too.
    then = say(broker, "then")
    assert then.epoch == lost.epoch
    (key,) = redis.do("KEYS", "*:log:a")
    redis.do("DEL", key)
    say(broker, "again")
    (entry,) = broker.read("a", after=0).entries
    assert entry.prev is not None and then.number < entry.prev < entry.number


@pytest.mark.parametrize("name", ["store", "heads"])
def test_without_its_book_a_store_is_another_one(
    redis: Redis, broker: RedisBroker, name: str
) -> None:
    before = say(broker, "1")
    (key,) = redis.do("KEYS", f"*:{name}")
    redis.do("DEL", key)
    after = say(broker, "2")
    assert before.epoch != after.epoch
    assert heard(broker) == [b"2"]
    assert broker.read(["a"], after=0).proofs["a"].since > before.number


def test_whatever_is_evicted_nothing_that_is_gone_is_said_to_be_there(
    redis: Redis, broker: RedisBroker
) -> None:
    used = redis.info("memory", "used_memory")
    redis.do(
        "CONFIG", "SET", "maxmemory", used + 1_000_000, "maxmemory-policy", "allkeys-lru"
    )
    rng = random.Random(7)
    said: dict[str, list[Position]] = {}

    def held() -> int:
        """How much is there still, after some more was said."""
        for _ in range(1000):
            name = f"c{rng.randrange(50)}"
            with contextlib.suppress(NotPublished):
                said.setdefault(name, []).append(say(broker, "x" * 1000, channel=name))
        count = 0
        for name, positions in said.items():
            page = broker.read([name], after=0, limit=2**30)
            since = page.proofs[name].since
            expected = [
                p.number for p in positions if p.epoch == page.epoch and p.number > since
            ]
            assert [e.number for e in page.entries if e.number > since] == expected
            count += len(expected)
        return count

    # Where what holds all of it was evicted just now, it is none.
    found = [held() for _ in range(4)]
    assert redis.info("stats", "evicted_keys") > 10
    while not any(found):
        found.append(held())


def test_a_hub_goes_on_when_thousands_of_logs_are_evicted(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"user{n}" for n in range(2_500)]
    broker = RedisBroker(redis.url, timeout=30)

    async def test(hub: RecordingSink) -> None:
        for start in range(0, len(names), 500):
            broker.publish([Event(n, "x" * 100) for n in names[start : start + 500]])
        await hub.watch(*names)
        await proved(hub, say(broker, "known"))
        evict(redis, 2_000)
        # Whatever is said next on one that has lost its log, all are asked for.
        before = hub.epoch
        for n, name in enumerate(names):
            say(broker, "then", channel=name)
            if n % 100 == 0:
                await asyncio.sleep(0)
        last = say(broker, "last", channel=names[7])
        await until_on_loop(lambda: b"last" in hub.heard(names[7]) or hub.missing, 60)
        await proved(hub, last)
        assert hub.missing or hub.epoch != before
        page = await hub.read(*names, after=last.number - 1)
        assert len(page.entries) == 1
        say(broker, "live", channel=names[8])
        await until_on_loop(lambda: b"live" in hub.heard(names[8]))

    def evict(redis: Redis, count: int) -> None:
        """By the server's own choice, when it is full."""
        redis.do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        before = redis.info("stats", "evicted_keys")
        junk = 0
        while redis.info("stats", "evicted_keys") - before < count:
            used = redis.info("memory", "used_memory")
            redis.do("CONFIG", "SET", "maxmemory", used - 100_000)
            junk += 1
            redis.do("SET", "junk", "x" * 100)
        redis.do("CONFIG", "SET", "maxmemory", 0)

    listen(broker, test)
    broker.close()
    assert not [line for line in lines(caplog) if "ERR" in line]


def test_a_page_of_thousands_of_evicted_logs_says_that_they_are_gone(
    redis: Redis, broker: RedisBroker
) -> None:
    # More than a script can pass to a function at once.
    names = [f"user{n}" for n in range(9_000)]
    for start in range(0, len(names), 500):
        broker.publish([Event(name, "x") for name in names[start : start + 500]])
    kept = say(broker, "kept")
    redis.do("DEL", *redis.do("KEYS", "*:log:user*"))
    page = broker.read([*names, "a"], after=0)
    assert [entry.data for entry in page.entries] == [b"kept"]
    assert page.epoch == kept.epoch
    assert {page.proofs[name].reason for name in names} == {"unknown"}
    assert all(kept.number < page.proofs[name].since <= page.end for name in names)
    assert page.proofs["a"].since < kept.number


def test_a_key_counts_for_what_is_kept_and_the_oldest_goes(redis: Redis) -> None:
    """With events that are kept, and with those that are not."""
    for store in True, False:
        redis.do("FLUSHALL")
        broker = RedisBroker(redis.url, Retention(bytes=100_000, count=10**6))
        for start in range(0, 3_000, 100):
            events = [
                Event("a", "x", key=str(n), store=store) for n in range(start, start + 100)
            ]
            last = broker.publish(events)
        counted, keys = redis.do("HMGET", "{push}:store", "bytes", "keys")
        assert 0 < int(keys) <= int(counted) <= 100_000
        (name,) = redis.do("KEYS", "*:keys")
        assert redis.do("MEMORY", "USAGE", name, "SAMPLES", 0) <= 100_000
        assert redis.do("ZCARD", name) > 200
        assert broker.publish(events) == last, "the newest are known"
        assert redis.do("ZSCORE", name, "1:a0") is None
        broker.close()


def test_evicted_keys_are_forgotten_with_what_they_counted(
    redis: Redis, broker: RedisBroker
) -> None:
    for n in range(10):
        broker.publish([Event("a", "x", key=str(n))])
    (name,) = redis.do("KEYS", "*:keys")
    redis.do("DEL", name)
    broker.publish([Event("a", "x", key="new"), Event("a", "x", key="new")])
    assert redis.do("HGET", "{push}:store", "keys") == b"126"
    assert len(heard(broker)) == 11


def test_what_is_not_stored_leaves_nothing_behind(
    redis: Redis, broker: RedisBroker
) -> None:
    say(broker, "1")
    before = sorted(redis.do("KEYS", "*")), redis.do("HGET", "{push}:store", "bytes")
    for n in range(20):
        events = [Event(f"c{m}", str(n), f"t{m}", store=False) for m in range(100)]
        broker.publish(events)
    after = sorted(redis.do("KEYS", "*")), redis.do("HGET", "{push}:store", "bytes")
    assert after == before


def test_channels_count_for_what_is_kept(redis: Redis) -> None:
    broker = RedisBroker(redis.url, Retention(bytes=2**20), timeout=30)
    before = redis.info("memory", "used_memory")
    for start in range(0, 20_000, 500):
        broker.publish([Event(f"user{n}", "x") for n in range(start, start + 500)])
    assert redis.info("memory", "used_memory") - before < 1.5 * 2**20
    assert int(redis.do("HGET", "{push}:store", "channels")) > 1000
    broker.close()


# Keys.


@contextlib.contextmanager
def monitor(redis: Redis) -> cabc.Iterator[list[tuple[bool, list[str]]]]:
    """In the end, all that was done meanwhile, and whether a script did it."""
    done: list[tuple[bool, list[str]]] = []
    with socket.socket(socket.AF_UNIX) as sock, sock.makefile("rb") as file:
        sock.connect(str(redis.socket))
        sock.sendall(b"MONITOR\r\n")
        file.readline()
        yield done
        redis.do("ECHO", "all")
        while not done or done[-1][1] != ["ECHO", "all"]:
            line = file.readline().decode()
            words = re.findall(r'"((?:[^"\\]|\\.)*)"', line)
            done.append(("lua]" in line.partition('"')[0], words))


def test_scripts_touch_no_key_that_was_not_named(redis: Redis, broker: RedisBroker) -> None:
    """Or a service or a proxy that looks where to send them would refuse them."""

    async def test(hub: RecordingSink) -> None:
        for n in range(4):
            say(broker, *"123", channel="trimmed")
            broker.publish([Event(f"b{n}", "1"), Event("a", "2", key="k")])
            broker.publish([Event("a", "3", store=False), Event("a", "4", store=False)])
        last = say(broker, "x" * 1900, "all else is too much", channel="c")
        await until_on_loop(lambda: hub.end >= last.number)
        await hub.read("a", "b1", after=0)
        broker.read(["a", "b0"], last=3)
        redis.do("DEL", "{push}:store")
        say(broker, "another life")
        await until_on_loop(lambda: hub.epoch != last.epoch)
        redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        await proved(hub, say(broker, "a link is cut"))
        loop = asyncio.get_running_loop()
        bridge = RedisBridge(Place(redis.url), None, Bridge("redis:x", "a"), loop, 10)
        await until_on_loop(lambda: bridge._has)
        redis.do("PUBLISH", "x", "bridged")
        await until_on_loop(lambda: b"bridged" in hub.heard("a"))
        bridge.close()

    other = RedisBroker(redis.url, Retention(count=4, bytes=2000), timeout=5)
    with monitor(redis) as done:
        other.read([], after=0)
        listen(other, test)
    other.close()
    named: set[str] = set()
    touched = set()
    for by_script, words in done:
        if words[0].startswith("EVAL"):
            named = set(words[3 : 3 + int(words[2])])
        elif by_script and words[0] not in ("TIME", "INFO"):
            assert words[1] in named, words
            touched.add(words[0])
    assert {"LTRIM", "ZREM", "SET", "PUBLISH", "RPUSH"} <= touched


# URLs.


def test_sentinels_are_asked_for_a_service() -> None:
    with pytest.raises(ValueError, match="names no service"):
        open_broker("redis+sentinel://127.0.0.1:26379")


@pytest.mark.parametrize("prefix", ["", "a*", "a{b"])
def test_a_prefix_names_keys(prefix: str) -> None:
    with pytest.raises(ValueError, match="can't be a prefix"):
        open_broker(f"redis://127.0.0.1/0?prefix={prefix}")


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


# What Redis says.


@pytest.mark.parametrize("missing", ["redis", "hiredis", "hiredis.PushNotification"])
def test_without_what_redis_needs_the_error_says_how_to_install_it(missing: str) -> None:
    module, _, name = missing.partition(".")
    code = f"""
import sys
if {name!r}:
    import {module}
    del {module}.{name or "x"}
else:
    sys.modules[{module!r}] = None
from flask_push.brokers import open_broker
open_broker("redis://127.0.0.1:6379/0")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    words = "ValueError: Redis needs redis-py and hiredis 3.2 or newer: pip install -U"
    assert words in done.stderr


# Over HTTP.


def test_two_servers_with_a_hub_each_share_a_channel(redis: Redis, tmp_path: Path) -> None:
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        path.mkdir()
    with (
        serve(gunicorn, paths[0], "-w", "2", PUSH_BROKER_URL=redis.url) as one,
        serve(gunicorn, paths[1], "-w", "2", PUSH_BROKER_URL=redis.url) as two,
    ):
        readers = [server.stream("a", "b") for server in (one, two)]
        for reader in readers:
            reader.read_until(lambda r: r.last_id)
        said = []
        for n in range(30):
            (one, two)[n % 2].publish("ab"[n % 3 % 2], str(n))
            said.append(str(n))
        publisher = Publisher(redis.url)
        publisher.publish("a", "from elsewhere")
        publisher.close()
        said.append("from elsewhere")
        for reader in readers:
            reader.read_until(lambda r: len(r.data) >= len(said))
            assert reader.data == said and not reader.gaps
        # A reader of one goes on at the other.
        first = readers[0].last_id
        two.publish("a", "later")
        with two.stream("a", "b", last_id=first) as again:
            again.read_until(lambda r: r.data)
            assert again.data == ["later"] and not again.gaps
        # The server is cut off and comes back: streams stay open, and go on.
        redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        redis.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        one.publish("b", "after the cut")
        for reader in readers:
            reader.read_until(lambda r: r.data[-1] == "after the cut")
            assert reader.data == [*said, "later", "after the cut"] and not reader.gaps
        redis.kill(signal.SIGKILL)
        redis.start()
        two.publish("a", "another life")
        for reader in readers:
            reader.read_until(lambda r: r.gaps)
            assert reader.gaps[0]["reason"] == "restarted"


def test_a_hub_is_replaced_while_events_never_cease(redis: Redis, tmp_path: Path) -> None:
    stop = threading.Event()
    said: list[str] = []

    def publish() -> None:
        publisher = Publisher(redis.url)
        while not stop.is_set():
            publisher.publish("a", str(len(said)))
            said.append(str(len(said)))
            time.sleep(0.001)
        publisher.close()

    with serve(gunicorn, tmp_path, PUSH_BROKER_URL=redis.url) as server:
        reader = server.stream("a")
        reader.read_until(lambda r: r.last_id)
        thread = threading.Thread(target=publish)
        thread.start()
        try:
            reader.read_until(lambda r: len(r.data) > 100)
            before = hubs(tmp_path)
            start_process(HubFiles.of(tmp_path / "push-basic"), "--replace", "--force")
            reader.read_until(lambda r: hubs(tmp_path) not in ([], before))
        finally:
            stop.set()
            thread.join()
        reader.read_until(lambda r: len(r.data) >= len(said))
        assert reader.data == said and not reader.gaps
