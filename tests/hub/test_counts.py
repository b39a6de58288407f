"""What a hub counts: each stream and each event once, whatever becomes of it."""

from __future__ import annotations

import socket
import time
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.hubs import first as first
from support.hubs import HubScene
from support.hubs import run

from flask_push import Event
from flask_push._delivery import wire
from flask_push._delivery.figures import BY_NAME
from flask_push._delivery.figures import Figures
from flask_push._delivery.options import Options
from flask_push._delivery.presence_plan import HUBS
from flask_push._delivery.stream import Stream
from flask_push._event import Entry
from flask_push._event import OwnChannel
from flask_push._hub.counts import Counts
from flask_push._ipc.client import Client
from flask_push.brokers.base import Retention
from flask_push.testing._sink import until

FRAMES = st.lists(st.binary(max_size=5), min_size=1, max_size=6).map(
    lambda parts: [(number, part) for number, part in enumerate(parts, 1)]
)


def counted(scene: HubScene) -> Figures:
    return scene.hub.figures._measure()


def of(scene: HubScene, name: str) -> dict[str, int]:
    """By label, the values of a family."""
    found = counted(scene).items()
    return {key.partition(":")[2]: n for key, n in found if key.partition(":")[0] == name}


# Streams.


def test_streams_are_counted_by_how_they_begin() -> None:
    async def test(scene: HubScene) -> None:
        (id,) = scene.say("a", "x")
        await scene.open("a")
        await scene.open("a", position=id)
        ours, theirs = socket.socketpair()
        stream = Stream(("a",), "returned", position=id)
        scene.hub.adopt(stream, Client(theirs.detach()), kind="ticket")
        assert of(scene, "streams_opened") == {"new": 1, "resumed": 1, "ticket": 1}
        ours.close()

    run(test)


def test_streams_are_counted_by_why_they_end() -> None:
    async def test(scene: HubScene) -> None:
        await scene.open("a", user="ann")
        (await scene.open("a")).close()
        await scene.open("a", lifetime=0.01)
        await scene.adopt("a", poll=True).ends()
        await scene.open("b", seen=str(scene.hub.disconnects.position))
        await until(lambda: len(scene.connections) == 2)
        scene.broker.append("disconnect", b'{"user":"ann","reason":""}', 60)
        await until(lambda: len(scene.connections) == 1)
        assert of(scene, "streams_ended") == {
            **{"left": 1, "lifetime": 1, "finished": 1, "disconnected": 1},
        }
        scene.hub.options = Options(disconnect=False)
        scene.hub.options = Options()
        await until(lambda: not scene.connections)
        await scene.open("c")
        scene.hub.stop()
        ended = of(scene, "streams_ended")
        assert ended["sent_back"] == ended["shutdown"] == 1
        assert sum(ended.values()) == sum(of(scene, "streams_opened").values()) == 6

    run(test, heartbeat=0.1)


def test_streams_that_fail_are_counted() -> None:
    async def test(scene: HubScene) -> None:
        reader = await scene.open("a")
        await scene.open("a")
        streams = scene.hub._streams
        (one, _) = scene.connections
        streams.failstop.alone(one, lambda connection: [][0])
        assert of(scene, "streams_ended") == {"failed": 1}
        scene.hub._guard(lambda: [][0])
        assert of(scene, "streams_ended") == {"failed": 2}
        assert counted(scene)["hub_failures"] == 2
        await reader.ends()

    run(test)


def test_streams_that_are_refused_are_counted_by_the_limit() -> None:
    async def test(scene: HubScene) -> None:
        await scene.open("a", user="ann", address="::1")
        await scene.adopt("a", user="ann").ends()
        await scene.adopt("a", address="::1").ends()
        await scene.open("a")
        await scene.adopt("a").ends()
        assert of(scene, "streams_refused") == {"user": 1, "address": 1, "streams": 1}
        assert of(scene, "streams_opened") == {"new": 2}

    run(test, max_per_user=1, max_per_address=1, max_streams=2)


# Events.


def test_an_event_counts_once_for_each_reader_that_it_was_sent_to() -> None:
    async def test(scene: HubScene) -> None:
        readers = [await scene.open("a") for _ in range(3)]
        scene.say("a", "1", "2")
        scene.publish(Event("a", "3", exclude="reader 1"))
        scene.publish(Event("a", "4", store=False))
        await readers[1].receives("1", "2", "3", "4")
        await readers[0].receives("1", "2", "4")
        assert (counted(scene)["events"], counted(scene)["sends"]) == (4, 11)

    run(test, metrics=True)


def test_bytes_are_those_that_were_written() -> None:
    async def test(scene: HubScene) -> None:
        reader = await scene.open("a", gzip=False)
        before = len(reader.body), counted(scene).get("sent_bytes", 0)
        scene.say("a", "x" * 1000)
        await reader.receives_data()
        sent = counted(scene)["sent_bytes"] - before[1]
        assert sent == len(reader.body) - before[0]

    run(test, metrics=True)


def test_a_reader_that_is_slow_is_counted_only_what_it_gets() -> None:
    async def test(scene: HubScene) -> None:
        slow = await scene.open("a", gzip=False)
        slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        quick = await scene.open("a", gzip=False)
        count, data = 200, "x" * 10_000
        for _ in range(count):
            scene.say("a", data)
            await quick.until(lambda: True)
        await quick.until(lambda: len(quick.data) == count)
        assert count < counted(scene)["sends"] < 2 * count
        assert counted(scene)["streams_behind"] == 1
        await slow.until(lambda: len(slow.data) == count)
        await until(lambda: counted(scene)["sends"] == 2 * count)
        assert sum(of(scene, "replayed_events").values()) > 0

    run(test, metrics=True)


def test_what_is_replayed_is_counted_by_where_it_was() -> None:
    async def test(scene: HubScene) -> None:
        first, *_ = scene.say("a", "1", "2", "3")
        one = await scene.open("a", position=first)
        await one.receives("2", "3")
        assert of(scene, "replayed_events") == {"store": 2}
        scene.say("a", "4")
        await one.receives("2", "3", "4")
        assert of(scene, "replayed_events") == {"store": 2}
        assert counted(scene)["sends"] == 3

    run(test, metrics=True)


def test_gaps_are_counted_by_their_reason() -> None:
    async def test(scene: HubScene) -> None:
        (first, *_) = scene.say("a", *"123456789")
        for position in (first, "zzzzz-5", "nonsense"):
            reader = scene.adopt("a", position=position)
            await reader.receives_a_gap()
        assert of(scene, "gaps") == {"trimmed": 1, "restarted": 1, "unknown": 1}

    run(test, retention=Retention(count=3))


# The numbers themselves.


def entry(number: int, channel: str = "a") -> Entry:
    return Entry(number, 0, channel, "message", b"")


def test_the_age_of_the_oldest_event_of_a_turn_is_measured() -> None:
    counts, now = Counts(), time.time_ns() // 1000
    assert counts.receive([entry(now - 30_000), entry(now)]) == now - 30_000
    counts.write(now - 30_000)
    for name in "feed_lag_seconds", "publish_to_write_seconds":
        number, total = counts.figures().histogram(BY_NAME[name])
        assert number[-1] == 1
        assert total >= 0.03


def test_an_event_of_a_clock_that_is_ahead_has_no_age() -> None:
    counts = Counts()
    counts.receive([entry(time.time_ns() // 1000 + 10**9)])
    assert counts.figures().histogram(BY_NAME["feed_lag_seconds"]) == ([1] * 14, 0)


def test_rows_of_flask_pushs_own_are_no_events() -> None:
    counts = Counts()
    own = entry(5, OwnChannel(HUBS, HUBS))
    assert counts.receive([own]) == 0
    counts.write(0)
    assert counts.figures() == {}
    assert counts.receive([own, entry(6)]) == 6
    assert counts.figures()["events"] == 1


@given(FRAMES, st.integers(1, 9), st.data())
def test_what_readers_took_less_of_is_taken_off(
    frames: t.Any, readers: int, data: t.Any
) -> None:
    size = sum(len(frame) for _, frame in frames)
    counts = Counts()
    counts.send(readers, len(frames), size)
    written = data.draw(st.integers(-1, size - 1))
    counts.send_less(frames, frames, size, written)
    begun = 0
    for number in range(len(frames)):
        if sum(len(frame) for _, frame in frames[:number]) < written:
            begun = number + 1
    found = counts.figures()
    assert found.get("sends", 0) == (readers - 1) * len(frames) + begun
    assert found.get("sent_bytes", 0) == (readers - 1) * size + max(0, written)


def test_compressed_events_are_counted_one_by_one() -> None:
    counts = Counts()
    frames, packed = [(1, b"aa"), (2, b"bb"), (3, b"cc")], [(2, b"zz"), (3, b"y")]
    counts.send(1, 3, 3)
    counts.send_less(t.cast(t.Any, frames), t.cast(t.Any, packed), 3, 1)
    assert counts.figures()["sends"] == 2


def test_counts_say_what_they_are() -> None:
    assert repr(Counts()) == "<Counts off: 0 events sent>"


def test_each_reason_is_in_the_list() -> None:
    assert {"streams_ended", "streams_opened", "streams_refused", "gaps"} <= BY_NAME.keys()
    assert wire.RESERVED not in "".join(BY_NAME)


@pytest.mark.parametrize("why", BY_NAME["streams_ended"].values)
def test_a_reason_that_is_counted_is_shown(why: str) -> None:
    counts = Counts()
    counts.add(f"streams_ended:{why}", 3)
    assert counts.figures().value(BY_NAME["streams_ended"], why) == 3
