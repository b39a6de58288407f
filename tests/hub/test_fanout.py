"""One event to many readers: in order, encoded once for all that are alike."""

from __future__ import annotations

import json
import tracemalloc

from support.hubs import first as first
from support.hubs import HubScene
from support.hubs import run
from support.sockets import noise

from flask_push import Event
from flask_push import Position
from flask_push._hub import connection as _connection
from flask_push.testing._sink import until


def test_readers_of_several_channels_get_them_in_one_order() -> None:
    async def test(scene: HubScene) -> None:
        readers = [await scene.open(*names) for names in ("a", "ab", "abc", "cb")]
        for n in range(60):
            scene.say("abc"[n % 3], str(n))
        for reader, names in zip(readers, ("a", "ab", "abc", "cb"), strict=True):
            expected = [str(n) for n in range(60) if "abc"[n % 3] in names]
            await reader.receives(*expected)
            numbers = [Position.parse(event.id).number for event in reader.events]
            assert numbers == sorted(numbers)

    run(test)


def test_a_turn_reaches_all_groups_however_many_there_are() -> None:
    async def test(scene: HubScene) -> None:
        readers = [await scene.open("all", f"own-{n}") for n in range(150)]
        own = [Event(f"own-{n}", str(n)) for n in range(150)]
        scene.publish(Event("all", "to all"), *own)
        for n, reader in enumerate(readers):
            expected = ["to all", str(n)]
            await reader.receives(*expected)

    run(test)


def test_the_frames_of_many_groups_are_not_all_in_memory_at_once() -> None:
    async def test(scene: HubScene) -> None:
        for n in range(60):
            await scene.open("all", f"own-{n}", gzip=False)
        events = [
            Event("all", noise(500_000)),
            *(Event(f"own-{n}", "x") for n in range(60)),
        ]
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        scene.publish(*events)
        await until(lambda: "60 behind" in repr(scene.hub))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # For each of them the bytes of both events are joined.
        assert most - before < 10_000_000
        for n, browser in enumerate(scene.readers):
            await browser.until(lambda b=browser: len(b.data) == 2)  # type: ignore[misc]
            assert browser.events[-1].channel == f"own-{n}"

    run(test)


def test_a_stream_gets_all_events_that_are_there_at_once() -> None:
    async def test(scene: HubScene) -> None:
        await scene.open("a")
        browser = scene.adopt("a", head=b"HTTP/1.1 200 OK\r\n\r\n", gzip=False)
        first = browser.sock.recv(65536)
        assert first.startswith(b"HTTP/1.1 200 OK\r\n\r\n:\nretry: ")
        assert b"event: push:open\n" in first and first.endswith(b"\n\n")

    run(test)


def test_streams_that_are_alike_share_one_object() -> None:
    async def test(scene: HubScene) -> None:
        for n in range(10):
            scene.adopt("a", "b", user="ann", head=b"%d" % n, lifetime=10 * n)
        await until(lambda: "10 connections, 0 behind" in repr(scene.hub))
        streams = [connection.stream for connection in scene.connections]
        assert len(set(map(id, streams))) == len(set(streams)) == 2, "one of them is gzip"
        assert len({connection.connection_id for connection in scene.connections}) == 10

    run(test)


def test_long_streams_are_not_cached_after_they_end() -> None:
    async def test(scene: HubScene) -> None:
        kept = _connection._shared_rest_of.cache_info().currsize
        names = [f"{n}-{'c' * 50}" for n in range(20)]
        many, long = await scene.open(*names), await scene.open("a", user="u" * 300)
        streams = [connection.stream for connection in scene.connections]
        assert [len(stream.channels) for stream in streams] == [20, 1]
        for connection in scene.connections:
            assert connection.stream.channels is connection.group.names
        assert _connection._shared_rest_of.cache_info().currsize == kept
        for browser, name in (many, names[7]), (long, "a"):
            scene.say(name, "x")
            await browser.receives("x")

    run(test)


def test_a_slow_reader_of_gzip_keeps_only_the_rest_of_a_block() -> None:
    async def test(scene: HubScene) -> None:
        slow, fast = [await scene.open("a", gzip=True) for _ in range(2)]
        texts = [f"{n} {noise(3000)}" for n in range(600)]
        scene.say("a", *texts)
        await fast.until(lambda: len(fast.data) == 600)
        (connection,) = (c for c in scene.connections if c.blocked)
        assert 0 < len(connection.rest) < 80_000
        await slow.until(lambda: len(slow.data) == 600)
        assert slow.data == fast.data == texts
        assert slow.gaps == fast.gaps == []

    run(test)


def test_an_event_that_excludes_one_reader_of_gzip_reaches_the_others() -> None:
    async def test(scene: HubScene) -> None:
        ann, ben = [await scene.open("a", gzip=True) for _ in range(2)]
        (name,) = {json.loads(e.data)["connection"] for e in ann.events}
        scene.say("a", "1", exclude=name)
        scene.say("a", "2")
        await ann.receives("2")
        await ben.receives("1", "2")

    run(test)
