"""One browser of a hub: full sockets, heartbeats, and browsers that leave."""

from __future__ import annotations

import asyncio
import math
import os
import re
import socket
import tracemalloc
import typing as t
from pathlib import Path

import pytest
from support import coroutines
from support.failing import Store
from support.hubs import first as first
from support.hubs import HubScene
from support.hubs import run
from support.reader import SocketReader
from support.sockets import can_read
from support.sockets import is_open
from support.sockets import noise

from flask_push._delivery.channel import Channel
from flask_push._delivery.follow import Follow
from flask_push._delivery.options import Options
from flask_push._delivery.stream import Stream
from flask_push._delivery.subscription import ReaderGroup
from flask_push._hub.connection import Connection
from flask_push._ipc.client import Client
from flask_push._system.polling import WRITABLE
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._sink import until


def test_events_that_wait_together_are_sent_together() -> None:
    async def test(scene: HubScene) -> None:
        browser = await scene.open("a")
        scene.say("a", *map(str, range(100)))
        await until(lambda: can_read(browser.sock))
        browser.read()
        assert len(browser.data) == 100

    run(test)


def test_a_reader_whose_socket_was_full_continues_at_its_cursor() -> None:
    async def test(scene: HubScene) -> None:
        slow, fast = await scene.open("a"), await scene.open("a")
        for n in range(40):
            scene.say("a", f"{n} {noise(50_000)}")
            await fast.until(lambda n=n: len(fast.data) == n + 1)  # type: ignore[misc]
        assert "1 behind" in repr(scene.hub)
        (connection,) = (c for c in scene.connections if c.blocked)
        assert len(connection.rest) < 60_000, "of one frame, at most"
        await slow.until(lambda: len(slow.data) == 40)
        assert slow.data == fast.data
        await until(lambda: "0 behind" in repr(scene.hub))

    run(test)


def test_readers_that_are_in_one_frame_share_it() -> None:
    async def test(scene: HubScene) -> None:
        slow = [await scene.open("a") for _ in range(100)]
        for gzip in False, True:
            await scene.open("a", gzip=gzip)
        text = noise(1_000_000)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        scene.say("a", text)
        await until(lambda: "102 behind" in repr(scene.hub))
        after, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # Plain, and compressed.
        assert after - before < 4_000_000 and most - before < 8_000_000
        rests = [connection.rest for connection in scene.connections]
        assert len({id(t.cast(memoryview, rest).obj) for rest in rests}) == 2
        for browser in slow:
            await browser.receives_data()
            assert browser.data == [text]

    run(test)


def test_slow_readers_get_a_new_epoch_without_a_copy_of_their_frame() -> None:
    broker = Store()

    async def test(scene: HubScene) -> None:
        slow = [await scene.open("a", gzip=False) for _ in range(40)]
        text = noise(1_000_000)
        scene.say("a", text)
        await until(lambda: "40 behind" in repr(scene.hub))
        broker.begin_again()
        epoch = broker.read([]).epoch
        await until(lambda: scene.hub.status()["position"].startswith(epoch))
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for connection in scene.connections:
            scene.hub._streams.pump(connection)
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert after - before < 1_000_000
        for browser in slow:
            await browser.receives_a_gap()
            assert [event.data for event in browser.events[1:-1]] == [text]
            assert browser.gaps[0]["reason"] == "restarted"

    run(test, broker=broker, disconnect=False)


def test_readers_that_are_stuck_in_frames_of_their_own_are_ended_and_resume(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_push._hub.streams._MAX_PARTIAL_BYTES", 1_200_000)

    async def test(scene: HubScene) -> None:
        names = [f"c{n}" for n in range(6)]
        slow = [await scene.open(name) for name in names]
        texts = [noise(500_000) for _ in names]
        for name, text in zip(names, texts, strict=True):
            scene.say(name, text)
            await until(lambda n=name: "0 behind" not in repr(scene.hub))  # type: ignore[misc]
        await until(lambda: "2 connections" in repr(scene.hub))
        assert scene.hub._streams._partial_frames.size <= 1_200_000
        for browser, name, text in zip(slow, names, texts, strict=True):
            await browser.until(lambda b=browser: b.ended or b.data)  # type: ignore[misc]
            if browser.ended:
                assert browser.data == [] and b"retry" not in browser.body[-100:]
                browser = scene.adopt(name, position=browser.last_id)
                await browser.receives_data()
            assert browser.data == [text] and browser.gaps == []
        assert caplog.text.count("PUSH_LOG_BYTES") == 1

    run(test, log_bytes=0)


def test_a_heartbeat_is_sent_some_seconds_after_the_last_byte() -> None:
    async def test(scene: HubScene) -> None:
        busy, idle = await scene.open("a"), await scene.open("b")
        loop = asyncio.get_running_loop()
        end = loop.time() + 2.5
        while loop.time() < end:
            scene.say("a", "x")
            await asyncio.sleep(0.02)
        busy.read()
        idle.read()
        assert busy.body.count(b"\n:\n") == 0
        assert 1 <= idle.body.count(b"\n:\n") + idle.body.count(b":\n:\n") <= 6
        assert len(idle.events) == 1

    run(test, heartbeat=1)


@pytest.mark.parametrize("size", [10, 400_000])
def test_a_poll_is_answered_though_its_client_sends_nothing_more(size: int) -> None:
    async def test(scene: HubScene) -> None:
        (start,) = scene.say("a", "before")
        text = noise(size)
        scene.say("a", text, "last")
        browser = SocketReader()
        scene.readers.append(browser)
        browser.sock.send(b"the rest of a request")
        browser.sock.shutdown(socket.SHUT_WR)
        stream = Stream(("a",), "x", position=start, poll=True)
        scene.hub.adopt(stream, Client(browser.theirs.detach()))
        if size > 10:
            await until(lambda: "1 behind" in repr(scene.hub))
            (connection,) = scene.connections
            await until(lambda: connection.mask == WRITABLE)
            assert not scene.hub._streams.poller._epoll.poll(0), (
                "its end is found again and again"
            )
        await browser.until(lambda: browser.ended)
        assert browser.data == [text, "last"]
        await until(lambda: "0 connections" in repr(scene.hub))

    run(test)


def test_a_poll_whose_client_has_left_ends() -> None:
    async def test(scene: HubScene) -> None:
        (start,) = scene.say("a", "before")
        scene.say("a", noise(400_000))
        for how in "close", "send":
            browser = scene.adopt("a", position=start, poll=True)
            await until(lambda: "1 behind" in repr(scene.hub))
            if how == "close":
                browser.sock.close()
            else:
                await until(lambda b=browser: send_without_end(b.sock))  # type: ignore[misc]
            await until(lambda: "0 connections" in repr(scene.hub))
        assert scene.hub.failures == 0

    run(test)


def send_without_end(sock: socket.socket) -> bool:
    """Whether the other end has had enough."""
    try:
        sock.send(b"x" * 65536)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return False


def test_a_browser_that_sends_without_end_is_ended() -> None:
    async def test(scene: HubScene) -> None:
        good, bad = await scene.open("a"), await scene.open("a")
        # Less is the rest of a request.
        await until(lambda: "0 behind" in repr(scene.hub))
        sent = good.sock.send(b"x" * 50_000)
        await until(lambda: any(c.received == sent for c in scene.connections))
        await until(lambda: send_without_end(bad.sock))
        await until(lambda: "1 connections" in repr(scene.hub))
        scene.say("a", "1")
        await good.receives("1")

    run(test)


def test_a_browser_that_left_before_it_was_adopted_affects_no_other() -> None:
    async def test(scene: HubScene) -> None:
        for _ in range(5):
            scene.adopt("a").sock.close()
        good = await scene.open("a")
        scene.say("a", "x")
        await good.receives("x")
        await until(lambda: "1 connections" in repr(scene.hub))

    run(test)


def test_a_descriptor_that_is_not_a_socket_is_closed() -> None:
    async def test(scene: HubScene) -> None:
        reading, writing = os.pipe()
        scene.hub.adopt(Stream(("a",), "x"), Client(writing))
        with pytest.raises(OSError):
            os.fstat(writing)
        os.close(reading)
        assert "0 connections" in repr(scene.hub)

    run(test)


def test_a_descriptor_that_cannot_be_polled_is_closed(tmp_path: Path) -> None:
    async def test(scene: HubScene) -> None:
        file = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
        first, second = SocketReader(), SocketReader()
        scene.readers += first, second
        scene.hub.adopt(Stream(("a",), "x"), Client(first.theirs.detach(), file))
        await until(lambda: not is_open(file))
        first.sock.close()
        await until(lambda: "0 connections" in repr(scene.hub))
        number = second.theirs.detach()
        scene.hub._streams.poller.add(number)
        scene.hub.adopt(Stream(("a",), "x"), Client(number))
        await second.until(lambda: second.ended)
        with pytest.raises(OSError):
            os.fstat(number)
        assert repr(scene.hub).startswith("<Hub [0 channels, 0 connections")

    run(test)


def test_an_idle_stream_takes_half_a_kilobyte() -> None:
    async def test(scene: HubScene) -> None:
        pairs = [socket.socketpair() for _ in range(200)]
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for n, (_, theirs) in enumerate(pairs):
            head = b"Set-Cookie: session=%0300d\r\n\r\n" % n
            name, gzip = f"connection {n:5}", scene.gzip
            stream = Stream(("a",), name, head, lifetime=3600, gzip=gzip)
            scene.hub.adopt(stream, Client(theirs.detach()))
            del stream
        await until(
            lambda: repr(scene.hub) == "<Hub [1 channels, 200 connections, 0 behind]>"
        )
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (after - before) / 200 <= 448
        for browser, _ in pairs:
            browser.close()

    run(test)


def test_a_stream_ends_though_another_process_has_a_copy_of_its_socket() -> None:
    async def test(scene: HubScene) -> None:
        copies = []
        for how in {"lifetime": 0.05}, {"poll": True}, {}:
            browser = SocketReader()
            scene.readers.append(browser)
            # A child that was forked meanwhile has it for as long as it lives.
            copies.append(os.dup(browser.theirs.fileno()))
            scene.hub.adopt(Stream(("a",), "x", **how), Client(browser.theirs.detach()))
        *two, last = scene.readers
        for browser in two:
            await browser.ends()
        scene.hub.stop()
        await last.until(lambda: last.ended)
        for copy in copies:
            os.close(copy)

    run(test, heartbeat=0.2)


def test_a_connection_that_fails_ends_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def test(scene: HubScene) -> None:
        bad, good = await scene.open("a"), await scene.open("a")
        connection = min(scene.connections, key=lambda c: c.fd)
        connection.group.live.pop(connection.fd)
        connection.cursor = t.cast(int, "nonsense")
        scene.hub._streams.pump(connection)
        scene.say("a", "x")
        await good.receives("x")
        await bad.until(lambda: bad.ended)
        assert "its browser resumes" in caplog.text

    run(test)


def test_no_retry_is_written_into_half_a_frame() -> None:
    async def test(scene: HubScene) -> None:
        idle, full = await scene.open("a"), await scene.open("b")
        scene.say("b", *(noise(100_000) for _ in range(20)))
        await until(lambda: "1 behind" in repr(scene.hub))
        scene.hub.stop()
        await idle.until(lambda: idle.ended)
        assert re.search(rb"\n\nretry: \d+\n\Z", idle.body)
        await full.until(lambda: full.ended)
        assert not re.search(rb"retry: \d+\n\Z", full.body)
        assert not any("retry" in data for data in full.data)

    async def main() -> None:
        scene = HubScene(MemoryBroker(), Options())
        try:
            await test(scene)
        finally:
            for browser in scene.readers:
                browser.close()

    coroutines.run(main())


def test_a_stream_says_whether_its_page_asks_for_items_as_long_as_it_lasts() -> None:
    for items in True, False:
        stream = Stream(("a",), "c", position="e-1", items=items, holds="5f0a")
        reader = SocketReader(gzip=False)
        connection = Connection(reader.theirs.detach(), stream, 0, math.inf)
        connection.enter(ReaderGroup((Channel("a"),)))
        before = connection.freeze(0, 1).stream
        connection.begin()
        after = connection.freeze(0, 1).stream
        connection.close()
        reader.close()
        assert (before.items, before.holds) == (items, "5f0a")
        assert (after.items, after.holds) == (items, ""), "its place says what it has"


def test_a_stream_says_which_run_it_follows_as_long_as_it_lasts() -> None:
    follow = Follow("a", "1.1", "ai-sdk", "e", 7, 2, "chunked")
    reader = SocketReader(gzip=False)
    stream = Stream(("a",), "c", follow=follow)
    connection = Connection(reader.theirs.detach(), stream, 0, math.inf)
    connection.enter(ReaderGroup((Channel("a"),)))
    assert connection.follow == connection.freeze(0, 1).stream.follow == follow
    connection.begin()
    assert connection.follow == connection.freeze(0, 1).stream.follow == follow
    connection.close()
    reader.close()
