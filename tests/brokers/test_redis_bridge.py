"""What other programs publish with a bare ``PUBLISH`` comes into a channel, once."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import os
import signal
import threading
import time
import typing as t
from functools import partial
from pathlib import Path

import pytest
from support.bridged_hubs import CHAT
from support.bridged_hubs import holder
from support.bridged_hubs import redis as redis
from support.bridged_hubs import run
from support.bridged_hubs import say
from support.bridged_hubs import taken
from support.bridged_hubs import words
from support.hub_processes import returned
from support.redises import Redis
from support.redises import Valkey
from support.servers import hubs
from support.servers import Server
from support.servers import until

from flask_push import Publisher
from flask_push.brokers import Bridge
from flask_push.brokers.redis import bridge as _redis_bridge
from flask_push.brokers.redis import RedisBroker
from flask_push.brokers.redis import waiting
from flask_push.brokers.redis.bridge import RedisBridge
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until as until_on_loop

NEWS = "{push}:bridge:b:4:said:news"


def has_changed(redis: Redis, before: bytes) -> bool:
    return taken(redis) not in (b"", before)


class Two(t.NamedTuple):
    """Servers with a hub each. The first one's has the lease."""

    one: Server
    two: Server
    paths: list[Path]

    @property
    def hub(self) -> int:
        (pid,) = hubs(self.paths[0])
        return pid


@pytest.fixture
def both(redis: Redis, tmp_path: Path) -> cabc.Iterator[Two]:
    paths = [tmp_path / "one", tmp_path / "two"]
    with run(redis, paths[0]) as one, run(redis, paths[1]) as two:
        one.stream("a").opened()
        until(lambda: holder(redis) and holder(redis, NEWS))
        two.stream("a").opened()
        yield Two(one, two, paths)


def test_each_word_comes_once_and_in_order_to_the_streams_of_all_hubs(
    redis: Redis, both: Two
) -> None:
    readers = [server.stream("chat").opened() for server in (both.one, both.two)]
    until(lambda: redis.do("PUBSUB", "NUMSUB", "chat")[1] == 2, what="both listen")
    until(lambda: holder(redis), what="one has the lease")
    for n, word in enumerate(words("hello", 300)):
        say(redis, word)
        if n % 100 == 0:
            both.two.publish("b", "ours")
    for reader in readers:
        reader.read_data(300)
    both.one.publish("chat", "ours, after it", type="said")
    for reader in readers:
        reader.read_until(lambda r: "ours, after it" in r.data)
        assert reader.data == [*words("hello", 300), "ours, after it"]
        assert not reader.gaps
    # And they are kept, as all events are.
    with both.two.stream("chat", last=4) as late:
        assert late.read_data(4) == [*words("hello", 300)[-3:], "ours, after it"]
    # A bridge of another channel, with another type.
    reader = both.two.stream("b").opened()
    say(redis, '{"text": "ü"}', on="news")
    (event,) = reader.read_until(lambda r: r.data).events[-1:]
    assert (event.type, event.data) == ("said", '{"text": "ü"}')


def test_the_other_hub_takes_over_when_the_one_is_killed(redis: Redis, both: Two) -> None:
    reader = both.two.stream("chat").opened()
    say(redis, *words("before"))
    assert reader.read_data(20) == words("before")
    first = holder(redis)
    hub = both.hub
    both.one.kill()
    os.kill(hub, signal.SIGKILL)
    # The lease runs out after three seconds.
    assert redis.do("PTTL", CHAT) in [-2, *range(3001)]
    say(redis, "nobody hears this")
    until(lambda: holder(redis) not in ("", first))
    reader.read_until(lambda r: r.gaps)
    assert reader.gaps[0]["channels"] == ["chat"]
    assert reader.gaps[0]["reason"] == "unknown"
    say(redis, *words("after"))
    assert reader.read_data(40) == words("before") + words("after")
    assert len(reader.gaps) == 1
    # Whoever comes back from before it is told, and who comes back from after it is not.
    at = {event.data: event.id for event in reader.events}
    with both.two.stream("chat", last_id=at["before 18"]) as late:
        assert late.read_data(21) == ["before 19", *words("after")]
        kinds = [event.type for event in late.events]
        assert kinds[:4] == ["push:open", "message", "push:gap", "message"]
    with both.two.stream("chat", last_id=at["after 3"]) as late:
        assert late.read_data(16) == words("after")[4:]
        assert not late.gaps
    publisher = Publisher(redis.url)
    history = publisher.history("chat", 100).events
    publisher.close()
    assert [event.data for event in history] == words("before") + words("after")


def test_a_link_that_is_cut_is_told_as_a_gap(redis: Redis, both: Two) -> None:
    readers = [server.stream("chat").opened() for server in (both.one, both.two)]
    for round in range(3):
        before = taken(redis)
        say(redis, *words(f"before {round}"))
        for reader in readers:
            reader.read_data(20 + 40 * round)
        redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        say(redis, "nobody hears this")
        until(partial(has_changed, redis, before))
        say(redis, *words(f"after {round}"))
        for reader in readers:
            reader.read_data(40 * (round + 1))
    for reader in readers:
        expected = [
            w for n in range(3) for k in ("before", "after") for w in words(f"{k} {n}")
        ]
        assert reader.data == expected
        assert len(reader.gaps) >= 3


def test_a_hub_that_was_frozen_for_longer_than_its_lease_publishes_nothing_more(
    redis: Redis, both: Two
) -> None:
    readers = [server.stream("chat").opened() for server in (both.one, both.two)]
    say(redis, *words("before"))
    for reader in readers:
        reader.read_data(20)
    first = holder(redis)
    os.kill(both.hub, signal.SIGSTOP)
    try:
        # It will read these when it goes on.
        say(redis, *words("meanwhile"))
        until(lambda: holder(redis) not in ("", first))
        say(redis, *words("taken over"))
        readers[1].read_data(40)
    finally:
        os.kill(both.hub, signal.SIGCONT)
    readers[0].read_data(40)
    for n in range(20):
        say(redis, f"after {n}")
        time.sleep(0.02)
    expected = words("before") + words("taken over") + words("after")
    for reader in readers:
        assert reader.read_data(60) == expected
        assert len(reader.gaps) == 1
    assert holder(redis) != first
    assert [e["data"] for e in history(both.two)] == expected


def history(server: Server) -> list[dict[str, str]]:
    import json

    found: list[dict[str, str]] = json.loads(server.get("/history?channel=chat"))["events"]
    return found


def test_a_hub_that_was_frozen_goes_on_without_a_gap_if_nobody_else_has_published(
    redis: Redis, tmp_path: Path
) -> None:
    with run(redis, tmp_path / "one") as server:
        reader = server.stream("chat").opened()
        until(lambda: holder(redis))
        (pid,) = hubs(tmp_path / "one")
        os.kill(pid, signal.SIGSTOP)
        say(redis, *words("meanwhile"))
        until(lambda: not holder(redis), what="the lease has run out")
        os.kill(pid, signal.SIGCONT)
        assert reader.read_data(20) == words("meanwhile")
        assert not reader.gaps


def test_a_bridge_that_never_ran_tells_no_gap_and_one_that_comes_back_does(
    redis: Redis, tmp_path: Path
) -> None:
    with run(redis, tmp_path / "one") as server:
        reader = server.stream("chat").opened()
        until(lambda: holder(redis))
        say(redis, "1")
        assert reader.read_data(1) == ["1"]
        assert not reader.gaps
        last_id = reader.last_id
    say(redis, "nobody hears this")
    with run(redis, tmp_path / "one") as server:
        reader = server.stream("chat", last_id=last_id)
        reader.read_until(lambda r: r.gaps)
        say(redis, "2")
        assert reader.read_data(1) == ["2"]


def test_a_restarted_redis_is_bridged_again(redis: Redis, tmp_path: Path) -> None:
    with run(redis, tmp_path / "one") as server:
        reader = server.stream("chat").opened()
        until(lambda: holder(redis))
        redis.kill()
        redis.start()
        # What comes before the hub knows of the other life is within its gap.
        reader = returned(server, reader, "chat").read_until(lambda r: r.gaps)
        until(lambda: holder(redis))
        say(redis, "1")
        assert reader.read_data(1) == ["1"]
        redis.do("FLUSHALL")
        reader = returned(server, reader, "chat").read_until(lambda r: r.gaps)
        until(lambda: holder(redis))
        say(redis, "2")
        assert reader.read_data(1) == ["2"]


def test_what_cant_be_an_event_is_told_as_a_gap_in_its_place(
    redis: Redis, tmp_path: Path
) -> None:
    with run(redis, tmp_path / "one", PUSH_MAX_EVENT_BYTES=100) as server:
        reader = server.stream("chat").opened()
        until(lambda: holder(redis))
        for n in range(3):
            say(redis, str(n))
            redis.do("PUBLISH", "chat", b"\xff not UTF-8")
            say(redis, "x" * 101)
        say(redis, "", "a\r\nb\x00", "x" * 100)
        reader.read_data(6)
        assert reader.data == ["0", "1", "2", "", "a\nb\x00", "x" * 100]
        kinds = [event.type for event in reader.events if event.type != "push:open"]
        assert kinds[:2] == ["message", "push:gap"]
        assert kinds.count("push:gap") >= 3
        log = (tmp_path / "one" / "push-basic" / "hub.log").read_text()
        assert log.count("Could not make an event of what was published on chat") == 1
        assert "invalid start byte" in log


# On a loop of ours.


def on_a_loop(
    redis: Redis,
    test: cabc.Callable[[RedisBroker, RecordingSink], cabc.Coroutine[t.Any, t.Any, None]],
) -> None:
    async def main() -> None:
        broker = RedisBroker(redis.url)
        hub = RecordingSink(broker)
        try:
            await hub.watch("chat")
            await asyncio.wait_for(test(broker, hub), 60)
        finally:
            hub.feed.close()
            broker.close()

    asyncio.run(main())


BRIDGE = Bridge("redis:chat", "chat")


def begin(broker: RedisBroker) -> RedisBridge:
    return RedisBridge(broker._place, None, BRIDGE, asyncio.get_running_loop(), 1000)


def heard(hub: RecordingSink) -> list[str]:
    return [data.decode() or "gap" for data in hub.received("chat")]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        pytest.param(Valkey, (), id="Valkey"),
        pytest.param(Redis, (), id="Redis"),
    ],
)
def test_every_kind_of_server_is_bridged(
    kind: type[Redis], options: tuple[str, ...], tmp_path: Path
) -> None:
    with kind.started(tmp_path, *options) as redis:

        async def test(broker: RedisBroker, hub: RecordingSink) -> None:
            bridge = begin(broker)
            await until_on_loop(lambda: bridge.has_lease)
            say(redis, *words("a"))
            await until_on_loop(lambda: heard(hub) == words("a"))
            redis.do("CLIENT", "KILL", "TYPE", "pubsub")
            await until_on_loop(lambda: not bridge.has_lease)
            await until_on_loop(lambda: bridge.has_lease)
            say(redis, *words("b"))
            await until_on_loop(lambda: heard(hub) == [*words("a"), "gap", *words("b")])
            bridge.close()

        on_a_loop(redis, test)


def test_a_hub_that_leaves_lets_the_next_take_the_lease_at_once(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_redis_bridge, "_LEASE_SECONDS", 1000.0)

    async def test(broker: RedisBroker, hub: RecordingSink) -> None:
        bridges = [begin(broker) for _ in range(4)]
        while bridges:
            await until_on_loop(lambda: [b for b in bridges if b.has_lease])
            await until_on_loop(lambda: all(b._ran for b in bridges))
            (has,) = [bridge for bridge in bridges if bridge.has_lease]
            has.close()
            bridges.remove(has)

    on_a_loop(redis, test)


def test_what_one_hub_has_published_the_next_one_does_not_publish_again(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_redis_bridge, "_TAKE_SECONDS", 1.0)

    async def test(broker: RedisBroker, hub: RecordingSink) -> None:
        bridges = [begin(broker) for _ in range(4)]
        expected: list[str] = []
        while bridges:
            await until_on_loop(lambda: any(b.has_lease for b in bridges))
            await until_on_loop(lambda: all(b._ran for b in bridges))
            (has,) = [bridge for bridge in bridges if bridge.has_lease]
            # All listen; one publishes.
            expected += words(f"of {len(bridges)}")
            say(redis, *words(f"of {len(bridges)}"))
            while len(heard(hub)) < len(expected):
                await asyncio.sleep(0.002)
            has.close()
            bridges.remove(has)
            expected += ["gap"] * bool(bridges)
        assert heard(hub) == expected

    on_a_loop(redis, test)


def test_more_than_can_be_stored_is_told_as_a_gap(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_MAX_WAITING", 5)
    monkeypatch.setattr(waiting, "_BATCH", 2)

    async def test(broker: RedisBroker, hub: RecordingSink) -> None:
        bridge = begin(broker)
        # Two links say so, in either order.
        await until_on_loop(lambda: bridge.has_lease and bridge.receives)
        bridge.pushed([(b"chat", b"%d" % n) for n in range(10)])
        await until_on_loop(lambda: heard(hub) == ["0", "1", "2", "3", "4", "gap"])
        bridge.close()

    on_a_loop(redis, test)


def test_events_never_cease_while_the_lease_changes_hands(redis: Redis) -> None:
    """Whatever is heard is in order, and where something is missing there is a gap."""
    stop = threading.Event()

    def publish() -> None:
        n = 0
        while not stop.is_set():
            say(redis, str(n))
            n += 1

    async def test(broker: RedisBroker, hub: RecordingSink) -> None:
        bridges = [begin(broker) for _ in range(3)]
        await until_on_loop(lambda: any(bridge.has_lease for bridge in bridges))
        thread = threading.Thread(target=publish)
        thread.start()
        try:
            for round in range(12):
                count = len(hub.received("chat"))
                while len(hub.received("chat")) < count + 20:
                    await asyncio.sleep(0.002)
                if round % 3:
                    redis.do("CLIENT", "KILL", "TYPE", "pubsub")
                else:
                    # As if it had been frozen for long.
                    redis.do("DEL", CHAT)
        finally:
            stop.set()
            await asyncio.to_thread(thread.join)
            for bridge in bridges:
                bridge.close()
        said = heard(hub)
        assert len(said) > 200
        expected = None
        for word in said:
            if word == "gap":
                expected = None
                continue
            assert expected is None or int(word) == expected, said
            expected = int(word) + 1
        numbers = [int(word) for word in said if word != "gap"]
        assert numbers == sorted(set(numbers))

    on_a_loop(redis, test)
