"""The subscribed connection of a hub to a Redis: it breaks, and is replaced."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.redis_links import pair_of
from support.redis_log import broker as broker
from support.redis_log import lines
from support.redis_log import listen
from support.redis_log import proved
from support.redis_log import redis as redis
from support.redis_log import say
from support.redises import Redis
from support.servers import free_port
from support.servers import until

from flask_push._system import logs
from flask_push.brokers.redis import connection
from flask_push.brokers.redis import connection_pair
from flask_push.brokers.redis import RedisBroker
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until as until_on_loop


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(connection_pair, "SILENCE_SECONDS", 0.5)


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
            await until_on_loop(lambda: hub.received("a") == said)
            await proved(hub, say(broker, "x", channel="b"))
        assert hub.missing == 0

    listen(broker, test)
    first, second = lines(caplog)
    assert "Lost the connection to" in first and "Reconnected to" in second


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
        await until_on_loop(lambda: not pair_of(hub).ready)
        assert len(lines(caplog)) == 4
        monkeypatch.setattr(logs, "PAUSE", 0.0)
        await until_on_loop(lambda: len(lines(caplog)) == 5)
        monkeypatch.setattr(logs, "PAUSE", 60.0)
        redis.start("--user", "app", *rights)
        await until_on_loop(lambda: "Reconnected to" in lines(caplog)[-1])

    listen(broker, test)
    broker.close()
    words = [
        *(
            "has closed the connection",
            "Reconnected to",
            "does not accept the user",
            "Reconnected to",
        ),
        *("(left out ", "Reconnected to"),
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
        await until_on_loop(lambda: hub.received("a") == [b"then"])

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
        numbers = [int(data.partition(b":")[0]) for data in hub.received("a")]
        assert numbers == list(range(len(numbers)))
        assert hub.missing >= last.number
        say(broker, "then")
        await until_on_loop(lambda: hub.received("a")[-1] == b"then")

    listen(broker, test)
    assert len(lines(caplog)) == 2


def test_a_frozen_server_is_noticed_and_when_it_goes_on_nothing_was_missed(
    redis: Redis, broker: RedisBroker, caplog: pytest.LogCaptureFixture, impatient: None
) -> None:
    async def test(hub: RecordingSink) -> None:
        say(broker, "1")
        await until_on_loop(lambda: hub.received("a") == [b"1"])
        redis.stop()
        await until_on_loop(lambda: lines(caplog))
        redis.go_on()
        until(redis.answers)
        last = say(broker, "2")
        await until_on_loop(lambda: hub.end >= last.number)
        assert hub.received("a") == [b"1", b"2"] and hub.missing == 0

    listen(broker, test)
    assert "Lost the connection to" in lines(caplog)[0]
    assert lines(caplog)[1:] == [f"Reconnected to redis://127.0.0.1:{redis.port}/0 (push)."]


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
            await until_on_loop(lambda: hub.received("a") == [b"1"])
            hub.feed.close()
            broker.close()

    asyncio.run(main())
