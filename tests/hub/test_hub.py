"""The hub, with socket pairs for browsers and a store in memory."""

from __future__ import annotations

import asyncio
import base64
import collections.abc as cabc
import json
import os
import re
import select
import socket
import tracemalloc
import typing as t
import zlib
from pathlib import Path

import pytest
from support.failing import Forgetful
from support.failing import Store
from support.hubs import Browser
from support.hubs import first as first
from support.hubs import House
from support.hubs import run

from flask_push import Event
from flask_push import Position
from flask_push._config import Config
from flask_push._delivery.options import Options
from flask_push._delivery.stream import Stream
from flask_push._event import Page
from flask_push._hub import connection as _connection
from flask_push._hub.hub import Hub
from flask_push._ipc.client import Client
from flask_push.brokers.base import Retention
from flask_push.brokers.base import Sink
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.memory import MemoryFeed
from flask_push.testing._contract import until


class Patient(MemoryBroker):
    """Its feed answers when it is told to, and loses what is called lost."""

    #: Whether it reads when it is told to, too, and not as soon as it is asked.
    reads_late = True
    holds = False

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[cabc.Callable[[], None]] = []

    def feed(self, sink: Sink, *args: t.Any, **more: t.Any) -> MemoryFeed:
        feed = super().feed(t.cast(Sink, Forgetful(sink)), *args, **more)
        read = feed.read

        def later(names: t.Any, callback: t.Any, **more: t.Any) -> None:
            def hold(page: Page) -> None:
                self.answers.append(lambda: callback(page))

            if not self.holds:
                read(names, callback, **more)
            elif self.reads_late:
                self.answers.append(lambda: read(names, callback, **more))
            else:
                read(names, hold, **more)

        feed.read = later  # type: ignore[method-assign, assignment]
        return feed

    def answer(self) -> None:
        answers, self.answers = self.answers, []
        for answer in answers:
            answer()


def test_the_head_and_the_first_bytes_are_written_at_once() -> None:
    async def test(house: House) -> None:
        browser = house.adopt("a", head=b"HEAD\r\n\r\n", gzip=False)
        browser.read()
        assert re.fullmatch(rb"HEAD\r\n\r\n:\nretry: \d+\n", browser.body)
        assert repr(house.hub) == "<Hub [1 channels, 1 connections, 1 behind]>"
        await browser.until(lambda: browser.events)
        assert repr(house.hub) == "<Hub [1 channels, 1 connections, 0 behind]>"

    run(test)


def test_a_head_is_not_compressed_and_what_follows_is() -> None:
    async def test(house: House) -> None:
        browser = house.adopt("a", head=b"HEAD\r\n\r\n", gzip=True)
        browser.gzip = False
        browser.read()
        head, _, body = browser.body.partition(b"\r\n\r\n")
        assert head == b"HEAD"
        first = zlib.decompressobj(wbits=31).decompress(body)
        assert re.match(rb":\nretry: \d+\n", first)

    run(test)


def noise(size: int) -> str:
    """Text that compression makes little of."""
    return base64.b64encode(os.urandom(size * 3 // 4)).decode()


def test_readers_of_several_channels_get_them_in_one_order() -> None:
    async def test(house: House) -> None:
        readers = [await house.open(*names) for names in ("a", "ab", "abc", "cb")]
        for n in range(60):
            house.say("abc"[n % 3], str(n))
        for reader, names in zip(readers, ("a", "ab", "abc", "cb"), strict=True):
            expected = [str(n) for n in range(60) if "abc"[n % 3] in names]
            await reader.until(lambda r=reader, e=expected: r.data == e)  # type: ignore[misc]
            numbers = [Position.parse(event.id).number for event in reader.events]
            assert numbers == sorted(numbers)

    run(test)


def test_a_turn_reaches_all_however_many_sets_there_are() -> None:
    async def test(house: House) -> None:
        readers = [await house.open("all", f"own-{n}") for n in range(150)]
        own = [Event(f"own-{n}", str(n)) for n in range(150)]
        house.broker.publish([Event("all", "to all"), *own])
        for n, reader in enumerate(readers):
            expected = ["to all", str(n)]
            await reader.until(lambda r=reader, e=expected: r.data == e)  # type: ignore[misc]

    run(test)


def test_what_a_turn_brings_many_sets_is_not_all_held_at_once() -> None:
    async def test(house: House) -> None:
        for n in range(60):
            await house.open("all", f"own-{n}", gzip=False)
        events = [
            Event("all", noise(500_000)),
            *(Event(f"own-{n}", "x") for n in range(60)),
        ]
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        house.broker.publish(events)
        await until(lambda: "60 behind" in repr(house.hub))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # For each of them the bytes of both events are joined.
        assert most - before < 10_000_000
        for n, browser in enumerate(house.browsers):
            await browser.until(lambda b=browser: len(b.data) == 2)  # type: ignore[misc]
            assert browser.events[-1].channel == f"own-{n}"

    run(test)


def test_what_is_not_stored_may_be_the_first_that_a_reader_gets() -> None:
    async def test(house: House) -> None:
        browser = await house.open("a")
        house.say("a", "typing", store=False)
        await browser.until(lambda: browser.data == ["typing"])

    run(test)


def test_a_user_has_so_many_streams_and_another_as_many(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test(house: House) -> None:
        ann = [await house.open("a", user="ann") for _ in range(2)]
        ben = [await house.open("a", user="ben") for _ in range(2)]
        nobody = [await house.open("a") for _ in range(3)]
        for _ in range(3):
            refused = house.adopt("a", user="ann")
            await refused.until(lambda r=refused: r.ended)  # type: ignore[misc]
            assert re.fullmatch(rb":\nretry: \d+\n", refused.body)
        assert caplog.text.count("PUSH_MAX_STREAMS_PER_USER") == 1
        ann[0].sock.close()
        await until(lambda: "6 connections" in repr(house.hub))
        again = await house.open("a", user="ann")
        house.say("a", "x")
        for browser in [ann[1], again, *ben, *nobody]:
            await browser.until(lambda b=browser: b.data == ["x"])  # type: ignore[misc]

    run(test, max_per_user=2)


def test_an_address_has_so_many_streams_if_that_is_wanted() -> None:
    async def test(house: House) -> None:
        await house.open("a", address="::1")
        refused = house.adopt("a", address="::1", user="ann")
        await refused.until(lambda: refused.ended)
        await house.open("a", address="::2", user="ann")

    run(test, max_per_address=1)


def test_what_waits_together_is_sent_together() -> None:
    async def test(house: House) -> None:
        browser = await house.open("a")
        house.say("a", *map(str, range(100)))
        await until(lambda: can_read(browser.sock))
        browser.read()
        assert len(browser.data) == 100

    run(test)


def can_read(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


def test_a_socket_that_is_full_has_a_cursor_and_reads_on() -> None:
    async def test(house: House) -> None:
        slow, fast = await house.open("a"), await house.open("a")
        for n in range(40):
            house.say("a", f"{n} {noise(50_000)}")
            await fast.until(lambda n=n: len(fast.data) == n + 1)  # type: ignore[misc]
        assert "1 behind" in repr(house.hub)
        (connection,) = (c for c in house.connections if c.blocked)
        assert len(connection.rest) < 60_000, "of one frame, at most"
        await slow.until(lambda: len(slow.data) == 40)
        assert slow.data == fast.data
        await until(lambda: "0 behind" in repr(house.hub))

    run(test)


def test_all_who_are_behind_one_frame_keep_it_together() -> None:
    async def test(house: House) -> None:
        slow = [await house.open("a") for _ in range(100)]
        for gzip in False, True:
            await house.open("a", gzip=gzip)
        text = noise(1_000_000)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        house.say("a", text)
        await until(lambda: "102 behind" in repr(house.hub))
        after, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # Plain, and compressed.
        assert after - before < 4_000_000 and most - before < 8_000_000
        rests = [connection.rest for connection in house.connections]
        assert len({id(t.cast(memoryview, rest).obj) for rest in rests}) == 2
        for browser in slow:
            await browser.until(lambda b=browser: b.data)  # type: ignore[misc]
            assert browser.data == [text]

    run(test)


def test_a_new_epoch_is_told_to_slow_readers_without_a_copy_of_what_they_are_in() -> None:
    broker = Store()

    async def test(house: House) -> None:
        slow = [await house.open("a", gzip=False) for _ in range(40)]
        text = noise(1_000_000)
        house.say("a", text)
        await until(lambda: "40 behind" in repr(house.hub))
        broker.begin_again()
        epoch = broker.read([]).epoch
        await until(lambda: house.hub.status()["position"].startswith(epoch))
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for connection in house.connections:
            house.hub._streams.pump(connection)
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert after - before < 1_000_000
        for browser in slow:
            await browser.until(lambda b=browser: b.gaps)  # type: ignore[misc]
            assert [event.data for event in browser.events[1:-1]] == [text]
            assert browser.gaps[0]["reason"] == "restarted"

    run(test, broker=broker)


def test_readers_that_are_stuck_in_frames_of_their_own_are_ended_and_resume(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_push._hub.streams._MAX_PARTIAL_BYTES", 1_200_000)

    async def test(house: House) -> None:
        names = [f"c{n}" for n in range(6)]
        slow = [await house.open(name) for name in names]
        texts = [noise(500_000) for _ in names]
        for name, text in zip(names, texts, strict=True):
            house.say(name, text)
            await until(lambda n=name: "0 behind" not in repr(house.hub))  # type: ignore[misc]
        await until(lambda: "2 connections" in repr(house.hub))
        assert house.hub._streams._partial_frames.size <= 1_200_000
        for browser, name, text in zip(slow, names, texts, strict=True):
            await browser.until(lambda b=browser: b.ended or b.data)  # type: ignore[misc]
            if browser.ended:
                assert browser.data == [] and b"retry" not in browser.body[-100:]
                browser = house.adopt(name, position=browser.parser.last_event_id)
                await browser.until(lambda b=browser: b.data)  # type: ignore[misc]
            assert browser.data == [text] and browser.gaps == []
        assert caplog.text.count("PUSH_LOG_BYTES") == 1

    run(test, log_bytes=0)


def test_what_browsers_keep_to_themselves_is_shown_to_who_asks() -> None:
    async def test(house: House) -> None:
        first = await house.open("a", visible=True, lifetime=1.5)
        await first.until(lambda: len(first.events) >= 4)
        said = [event.type for event in first.events[:4]]
        assert said == ["push:retry", "push:open", "push:heartbeat", "push:heartbeat"]
        # And the position stays where it is.
        assert [event.id != "" for event in first.events[:2]] == [False, True]
        assert first.body.count(b"\nid: ") == 1
        assert first.events[2].data == '{"seconds":0.2}'
        (retry,) = re.findall(rb"\nretry: (\d+)\n", first.body)
        assert json.loads(first.events[0].data) == {"milliseconds": int(retry)}
        await first.until(lambda: first.events[-1].type == "push:retry")
        assert first.body.endswith(b"}\n\n")

    run(test, heartbeat=0.2)


def test_a_heartbeat_comes_so_long_after_the_last_byte() -> None:
    async def test(house: House) -> None:
        busy, idle = await house.open("a"), await house.open("b")
        loop = asyncio.get_running_loop()
        end = loop.time() + 2.5
        while loop.time() < end:
            house.say("a", "x")
            await asyncio.sleep(0.02)
        busy.read()
        idle.read()
        assert busy.body.count(b"\n:\n") == 0
        assert 1 <= idle.body.count(b"\n:\n") + idle.body.count(b":\n:\n") <= 6
        assert len(idle.events) == 1

    run(test, heartbeat=1)


def test_a_browser_that_leaves_is_noticed_without_a_word() -> None:
    async def test(house: House) -> None:
        one, two = await house.open("a"), await house.open("a", "b")
        one.sock.close()
        await until(lambda: "1 connections" in repr(house.hub))
        two.sock.shutdown(socket.SHUT_WR)
        await until(lambda: repr(house.hub).startswith("<Hub [0 channels, 0"))

    run(test)


def test_nothing_is_left_of_a_browser_that_leaves_before_its_page_is_there() -> None:
    broker = Patient()

    async def test(house: House) -> None:
        start = house.say("a", "1")
        await house.open("a", gzip=False)
        broker.holds = True
        # The second waits for the next page, with those that come after it.
        for how in {"position": start}, {"position": start}, {"last": 1}:
            browser = house.adopt("a", gzip=False, **how)
            await until(lambda: "2 connections" in repr(house.hub))
            browser.sock.close()
            await until(lambda: "1 connections" in repr(house.hub))
        assert [len(late) for late in house.hub._streams.starts._late.values()] == [0]
        broker.holds = False
        broker.answer()
        house.say("a", "2")
        browser = await house.open("a", gzip=False, position=start)
        await browser.until(lambda: browser.data == ["2"])
        await house.browsers[0].until(lambda: house.browsers[0].data == ["2"])
        assert repr(house.hub) == "<Hub [1 channels, 2 connections, 0 behind]>"
        assert not house.hub._streams.starts._late

    run(test, broker=broker)


def test_nothing_is_left_of_a_browser_that_leaves_before_its_next_page_is_there() -> None:
    broker = Patient()
    broker.reads_late = False

    async def test(house: House) -> None:
        start = house.say("a", "1")
        # What the hub holds begins later.
        house.say("b", "1")
        await house.open("a", gzip=False)
        await house.open("b", gzip=False)
        broker.holds = True
        leaver = house.adopt("a", gzip=False, position=start)
        await until(lambda: broker.answers)
        # Meanwhile the hub goes on, and the page does not reach so far.
        house.say("b", "2")
        await house.browsers[1].until(lambda: house.browsers[1].data)
        broker.answer()
        await until(lambda: broker.answers)
        assert "3 connections, 1 behind" in repr(house.hub)
        leaver.sock.close()
        await until(lambda: "2 connections" in repr(house.hub))
        broker.answer()
        assert repr(house.hub) == "<Hub [2 channels, 2 connections, 0 behind]>"

    run(test, broker=broker)


def test_those_that_left_count_as_streams_until_the_store_has_answered_for_them() -> None:
    broker = Patient()

    async def test(house: House) -> None:
        start = house.say("a", "1")
        broker.holds = True
        for n in range(30):
            # Each is the only one of its channels.
            browser = house.adopt("a", f"b{n}", position=start)
            await until(lambda b=browser: can_read(b.sock))  # type: ignore[misc]
            browser.read()
            browser.sock.close()
            await until(lambda: "0 connections" in repr(house.hub))
        assert len(broker.answers) == 20
        broker.holds = False
        broker.answer()
        await until(lambda: house.hub._feed.asked == 0)
        await house.open("a", position=start)

    run(test, broker=broker, max_streams=20)


def test_nothing_is_left_of_a_browser_that_leaves_while_the_hub_is_behind_it() -> None:
    broker = Patient()

    async def test(house: House) -> None:
        keeps = await house.open("a")
        broker.holds = True
        # The hub has to ask for it, and may not go on meanwhile.
        house.say("a", "lost", "2")
        await until(lambda: house.hub._log.hole)
        ahead = house.say("a", "3")
        for _ in range(3):
            browser = house.adopt("a", position=ahead)
            fill, *asks = broker.answers
            broker.answers = asks
            broker.answer()
            broker.answers = [fill]
            await until(lambda: house.hub._streams._waiting)
            browser.sock.close()
            await until(lambda: "1 connections" in repr(house.hub))
            assert not house.hub._streams._waiting
        broker.holds = False
        broker.answer()
        await keeps.until(lambda: keeps.data == ["lost", "2", "3"])

    run(test, broker=broker)


def test_a_browser_that_is_ahead_goes_on_as_soon_as_the_hub_is_there() -> None:
    broker = Patient()

    async def test(house: House) -> None:
        await house.open("a")
        broker.holds = True
        house.say("a", "lost", "2")
        await until(lambda: house.hub._log.hole)
        ahead = house.say("a", "3")
        browser = house.adopt("a", position=ahead)
        fill, *asks = broker.answers
        broker.answers = asks
        broker.answer()
        await until(lambda: house.hub._streams._waiting)
        # From here on, nothing more is published.
        await until(lambda: house.hub._feed.asked == 1)
        broker.holds = False
        fill()
        await until(lambda: "2 connections, 0 behind" in repr(house.hub))
        await browser.until(lambda: browser.events)
        assert browser.data == [] and browser.gaps == []

    run(test, broker=broker)


@pytest.mark.parametrize("size", [10, 400_000])
def test_a_poll_is_answered_though_its_client_sends_nothing_more(size: int) -> None:
    async def test(house: House) -> None:
        start = house.say("a", "before")
        text = noise(size)
        house.say("a", text, "last")
        browser = Browser()
        house.browsers.append(browser)
        browser.sock.send(b"the rest of a request")
        browser.sock.shutdown(socket.SHUT_WR)
        stream = Stream(("a",), "x", position=start, poll=True)
        house.hub.adopt(stream, Client(browser.theirs.detach()))
        if size > 10:
            await until(lambda: "1 behind" in repr(house.hub))
            (connection,) = house.connections
            await until(lambda: connection.mask == select.EPOLLOUT)
            assert not house.hub._streams.poller._epoll.poll(0), (
                "its end is found again and again"
            )
        await browser.until(lambda: browser.ended)
        assert browser.data == [text, "last"]
        await until(lambda: "0 connections" in repr(house.hub))

    run(test)


def test_a_poll_whose_client_is_gone_ends() -> None:
    async def test(house: House) -> None:
        start = house.say("a", "before")
        house.say("a", noise(400_000))
        for how in "close", "send":
            browser = house.adopt("a", position=start, poll=True)
            await until(lambda: "1 behind" in repr(house.hub))
            if how == "close":
                browser.sock.close()
            else:
                await until(lambda b=browser: send_without_end(b.sock))  # type: ignore[misc]
            await until(lambda: "0 connections" in repr(house.hub))
        assert house.hub.failures == 0

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
    async def test(house: House) -> None:
        good, bad = await house.open("a"), await house.open("a")
        # Less is the rest of a request.
        await until(lambda: "0 behind" in repr(house.hub))
        sent = good.sock.send(b"x" * 50_000)
        await until(lambda: any(c.received == sent for c in house.connections))
        await until(lambda: send_without_end(bad.sock))
        await until(lambda: "1 connections" in repr(house.hub))
        house.say("a", "1")
        await good.until(lambda: good.data == ["1"])

    run(test)


def test_a_browser_that_left_before_it_was_adopted_harms_nobody() -> None:
    async def test(house: House) -> None:
        for _ in range(5):
            house.adopt("a").sock.close()
        good = await house.open("a")
        house.say("a", "x")
        await good.until(lambda: good.data == ["x"])
        await until(lambda: "1 connections" in repr(house.hub))

    run(test)


def test_what_is_no_socket_is_closed_and_no_more() -> None:
    async def test(house: House) -> None:
        reading, writing = os.pipe()
        house.hub.adopt(Stream(("a",), "x"), Client(writing))
        with pytest.raises(OSError):
            os.fstat(writing)
        os.close(reading)
        assert "0 connections" in repr(house.hub)

    run(test)


def test_what_cannot_be_polled_is_closed_and_no_more(tmp_path: Path) -> None:
    async def test(house: House) -> None:
        file = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
        first, second = Browser(), Browser()
        house.browsers += first, second
        house.hub.adopt(Stream(("a",), "x"), Client(first.theirs.detach(), file))
        await until(lambda: not is_open(file))
        first.sock.close()
        await until(lambda: "0 connections" in repr(house.hub))
        number = second.theirs.detach()
        house.hub._streams.poller.add(number)
        house.hub.adopt(Stream(("a",), "x"), Client(number))
        await second.until(lambda: second.ended)
        with pytest.raises(OSError):
            os.fstat(number)
        assert repr(house.hub).startswith("<Hub [0 channels, 0 connections")

    run(test)


def test_nothing_is_left_of_browsers_that_leave_before_their_channels_are_held() -> None:
    async def test(house: House) -> None:
        for n in range(3):
            house.adopt("a", f"b{n}").sock.close()
            house.adopt("a", f"b{n}").sock.close()
        house.hub._streams._ready()
        assert repr(house.hub).startswith("<Hub [0 channels, 0 connections")
        assert not house.hub._streams.starts._joining

    run(test)


def test_an_idle_stream_takes_half_a_kilobyte() -> None:
    async def test(house: House) -> None:
        pairs = [socket.socketpair() for _ in range(200)]
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for n, (_, theirs) in enumerate(pairs):
            head = b"Set-Cookie: session=%0300d\r\n\r\n" % n
            name, gzip = f"connection {n:5}", house.gzip
            stream = Stream(("a",), name, head, lifetime=3600, gzip=gzip)
            house.hub.adopt(stream, Client(theirs.detach()))
            del stream
        await until(
            lambda: repr(house.hub) == "<Hub [1 channels, 200 connections, 0 behind]>"
        )
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (after - before) / 200 <= 448
        for browser, _ in pairs:
            browser.close()

    run(test)


def test_a_stream_ends_though_another_process_has_a_copy_of_its_socket() -> None:
    async def test(house: House) -> None:
        copies = []
        for how in {"lifetime": 0.05}, {"poll": True}, {}:
            browser = Browser()
            house.browsers.append(browser)
            # A child that was forked meanwhile has it for as long as it lives.
            copies.append(os.dup(browser.theirs.fileno()))
            house.hub.adopt(Stream(("a",), "x", **how), Client(browser.theirs.detach()))
        *two, last = house.browsers
        for browser in two:
            await browser.until(lambda b=browser: b.ended)  # type: ignore[misc]
        house.hub.stop()
        await last.until(lambda: last.ended)
        for copy in copies:
            os.close(copy)

    run(test, heartbeat=0.2)


def test_a_drain_is_emptied_until_its_server_closes_it() -> None:
    async def test(house: House) -> None:
        server, drain = socket.socketpair()
        browser = Browser()
        house.browsers.append(browser)
        number = drain.detach()
        house.hub.adopt(Stream(("a",), "x"), Client(browser.theirs.detach(), number))
        server.setblocking(False)
        sent = 0

        def send() -> bool:
            nonlocal sent
            try:
                sent += server.send(b"x" * 65536)
            except BlockingIOError:
                pass
            return sent > 2**21

        await until(send)
        server.close()
        await until(lambda: not is_open(number))

    run(test)


def test_drains_of_servers_that_are_done_are_closed_together() -> None:
    async def test(house: House) -> None:
        browsers = [Browser() for _ in range(70)]
        house.browsers += browsers
        pairs = [socket.socketpair() for _ in browsers]
        numbers = [drain.detach() for _, drain in pairs]
        for browser, (server, _), number in zip(browsers, pairs, numbers, strict=True):
            server.send(b"HTTP/1.1 200 OK\r\n\r\n" * 2000)
            server.close()
            house.hub.adopt(Stream(("a",), "x"), Client(browser.theirs.detach(), number))
        # Of so many, some did not wait for the others.
        assert 0 < sum(map(is_open, numbers)) < 10
        await until(lambda: not any(map(is_open, numbers)))

    run(test)


def is_open(fd: int) -> bool:
    return os.path.exists(f"/proc/self/fd/{fd}")


def test_all_that_can_be_had_at_once_comes_at_once() -> None:
    async def test(house: House) -> None:
        await house.open("a")
        browser = house.adopt("a", head=b"HTTP/1.1 200 OK\r\n\r\n", gzip=False)
        first = browser.sock.recv(65536)
        assert first.startswith(b"HTTP/1.1 200 OK\r\n\r\n:\nretry: ")
        assert b"event: push:open\n" in first and first.endswith(b"\n\n")

    run(test)


def test_streams_that_are_alike_are_kept_once() -> None:
    async def test(house: House) -> None:
        for n in range(10):
            house.adopt("a", "b", user="ann", head=b"%d" % n, lifetime=10 * n)
        await until(lambda: "10 connections, 0 behind" in repr(house.hub))
        streams = [connection.stream for connection in house.connections]
        assert len(set(map(id, streams))) == len(set(streams)) == 2, "one of them is gzip"
        assert len({connection.connection_id for connection in house.connections}) == 10

    run(test)


def test_streams_that_hold_much_are_not_kept_when_they_are_gone() -> None:
    async def test(house: House) -> None:
        kept = _connection._alike.cache_info().currsize
        names = [f"{n}-{'c' * 50}" for n in range(20)]
        many, long = await house.open(*names), await house.open("a", user="u" * 300)
        streams = [connection.stream for connection in house.connections]
        assert [len(stream.channels) for stream in streams] == [20, 1]
        for connection in house.connections:
            assert connection.stream.channels is connection.group.names
        assert _connection._alike.cache_info().currsize == kept
        for browser, name in (many, names[7]), (long, "a"):
            house.say(name, "x")
            await browser.until(lambda b=browser: b.data == ["x"])  # type: ignore[misc]

    run(test)


def test_sockets_are_bounded() -> None:
    async def test(house: House) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            served, _ = listener.accept()
        house.hub.adopt(Stream(("a",), "x"), Client(os.dup(served.fileno())))
        buffer = served.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        assert buffer <= 2 * 128 * 1024
        assert served.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
        assert served.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        client.close()
        served.close()

    run(test)


def test_idle_readers_are_given_newer_ids() -> None:
    async def test(house: House) -> None:
        idle = await house.open("idle")
        seen = {idle.events[0].id}

        def another() -> bool:
            house.say("busy", "x")
            seen.add(idle.events[-1].id)
            return len(seen) > 3

        await idle.until(another)
        assert {event.type for event in idle.events} == {"push:open"}
        names = {json.loads(event.data)["connection"] for event in idle.events}
        assert names == {"browser 1"}, "the same connection"
        # And so, coming back, it has missed nothing.
        again = await house.open("idle", position=idle.events[-1].id)
        assert again.gaps == []

    run(test, Retention(age=0.4), heartbeat=0.2)


class Quick(MemoryBroker):
    """Its clock runs as fast as it is told to."""

    @property
    def retention(self) -> int:
        return 400_000_000

    def pass_by(self, seconds: int) -> None:
        self._last += seconds * 1_000_000


def test_a_hub_that_takes_over_knows_which_ids_its_readers_have() -> None:
    broker = Quick()

    async def test(house: House) -> None:
        idle, other = await house.open("idle"), await house.open("other")

        async def pass_by(seconds: int) -> None:
            broker.pass_by(seconds)
            house.say("other", "x")
            frozen, hub = house.hub.freeze(), house.hub
            house.hub = Hub(broker, hub.options, hub._loop, frozen)
            end = str(Position(broker._epoch, broker._last))
            await until(lambda: house.hub.status()["position"] == end)
            house.hub._timer.tick()
            idle.read()

        # Its id is new enough, so it is not repeated.
        await pass_by(40)
        await pass_by(40)
        assert len(idle.events) == 1
        # Then it is too old, whatever hubs have come and gone.
        await pass_by(40)
        assert [event.type for event in idle.events] == ["push:open", "push:open"]
        await other.until(lambda: len(other.data) == 3)

    run(test, broker=broker, heartbeat=3600)


def test_a_connection_that_fails_is_ended_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def test(house: House) -> None:
        bad, good = await house.open("a"), await house.open("a")
        connection = min(house.connections, key=lambda c: c.fd)
        connection.group.live.pop(connection.fd)
        connection.cursor = t.cast(int, "nonsense")
        house.hub._streams.pump(connection)
        house.say("a", "x")
        await good.until(lambda: good.data == ["x"])
        await bad.until(lambda: bad.ended)
        assert "its browser resumes" in caplog.text

    run(test)


@pytest.mark.parametrize(
    ("data", "type"),
    [("x" * 2000, "message"), ("\n" * 150, "message"), ("x", "t" * 257)],
)
def test_an_event_that_is_too_large_is_a_gap(
    data: str, type: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(house: House) -> None:
        browser = await house.open("a", "b")
        house.say("a", "small")
        too_large = house.say("a", data, type=type)
        house.say("b", "other")
        await browser.until(lambda: browser.data == ["small", "other"])
        (gap,) = browser.gaps
        assert gap["channels"] == ["a"]
        assert [e.id.partition(".")[0] for e in browser.events][2] == too_large
        # Replay says the same.
        again = await house.open("a", "b", position=browser.events[0].id)
        await again.until(lambda: again.data == ["small", "other"])
        assert again.gaps[0]["channels"] == ["a"]

    run(test, max_event=1000)
    assert "PUSH_MAX_EVENT_BYTES" in caplog.text or "256 at most" in caplog.text


def test_an_ending_is_not_put_into_half_a_frame() -> None:
    async def test(house: House) -> None:
        idle, full = await house.open("a"), await house.open("b")
        house.say("b", *(noise(100_000) for _ in range(20)))
        await until(lambda: "1 behind" in repr(house.hub))
        house.hub.stop()
        await idle.until(lambda: idle.ended)
        assert re.search(rb"\n\nretry: \d+\n\Z", idle.body)
        await full.until(lambda: full.ended)
        assert not re.search(rb"retry: \d+\n\Z", full.body)
        assert not any("retry" in data for data in full.data)

    async def main() -> None:
        house = House(MemoryBroker(), Options())
        try:
            await test(house)
        finally:
            for browser in house.browsers:
                browser.sock.close()

    asyncio.run(main())


def retries(*browsers: Browser) -> list[int]:
    """The last that each was told."""
    return [int(re.findall(rb"retry: (\d+)\n", browser.body)[-1]) for browser in browsers]


def test_when_all_have_to_come_back_they_are_told_to_come_one_after_another() -> None:
    async def main() -> None:
        house = House(MemoryBroker(), Options(return_rate=2, max_streams=40))
        try:
            streams = [await house.open("a") for _ in range(39)]
            # Who ends alone comes back alone.
            alone = house.adopt("a", poll=True)
            await alone.until(lambda: alone.ended)
            assert max(retries(alone, *streams)) <= 4000
            streams.append(await house.open("a"))
            refused = [house.adopt("a") for _ in range(20)]
            for browser in refused:
                await browser.until(lambda b=browser: b.ended)  # type: ignore[misc]
            assert 4000 < max(retries(*refused)) <= 24_000
            house.hub.stop()
            for browser in streams:
                await browser.until(lambda b=browser: b.ended)  # type: ignore[misc]
            told = sorted(retries(*streams))
            # At two a second, the half of them within about ten seconds.
            assert told[0] < 10_000 < told[-1] <= 24_000
            assert 6 < sum(milliseconds < 13_000 for milliseconds in told) < 34
        finally:
            for browser in house.browsers:
                browser.sock.close()

    asyncio.run(main())


def test_nobody_is_told_to_wait_for_longer_than_minutes() -> None:
    slow, never = Options(return_rate=0.001), Options(return_rate=0)
    told = [slow.jittered_retry(1_000_000) for _ in range(100)]
    assert 60_000 < max(told) <= 304_000
    assert max(never.jittered_retry(1_000_000) for _ in range(100)) <= 4000
    shares = Config(return_rate=500, hub_processes=5).options
    assert shares.return_rate == 100


def test_a_reader_is_told_how_long_to_wait_by_how_many_are_told() -> None:
    async def test(house: House) -> None:
        browsers = [await house.open("a", position="nowhere") for _ in range(50)]
        waits = []
        for browser in browsers:
            await browser.until(lambda b=browser: b.gaps)  # type: ignore[misc]
            waits += [gap["wait"] for gap in browser.gaps]
        assert 0 <= min(waits) and max(waits) <= 0.05
        assert len(set(waits)) > 5

    run(test)


def test_pages_are_read_until_a_reader_is_live() -> None:
    async def test(house: House) -> None:
        start = str(house.broker.publish([Event("a", "0"), Event("b", "0")])[-1])
        for n in range(200):
            house.say("ab"[n % 2], f"{n} " + "x" * 3000)
        browser = house.adopt("a", "b", position=start)
        await browser.until(lambda: len(browser.data) == 200)
        house.say("a", "live")
        await browser.until(lambda: browser.data[-1] == "live")
        assert [data.split()[0] for data in browser.data[:-1]] == list(map(str, range(200)))
        assert browser.gaps == []

    run(test, log_bytes=0)


def test_a_reader_of_gzip_keeps_no_more_than_the_rest_of_a_block() -> None:
    async def test(house: House) -> None:
        slow, fast = [await house.open("a", gzip=True) for _ in range(2)]
        texts = [f"{n} {noise(3000)}" for n in range(600)]
        house.say("a", *texts)
        await fast.until(lambda: len(fast.data) == 600)
        (connection,) = (c for c in house.connections if c.blocked)
        assert 0 < len(connection.rest) < 80_000
        await slow.until(lambda: len(slow.data) == 600)
        assert slow.data == fast.data == texts
        assert slow.gaps == fast.gaps == []

    run(test)


def test_what_one_is_spared_the_others_of_gzip_get() -> None:
    async def test(house: House) -> None:
        ann, ben = [await house.open("a", gzip=True) for _ in range(2)]
        (name,) = {json.loads(e.data)["connection"] for e in ann.events}
        house.say("a", "1", exclude=name)
        house.say("a", "2")
        await ann.until(lambda: ann.data == ["2"])
        await ben.until(lambda: ben.data == ["1", "2"])

    run(test)


def test_a_heartbeat_and_a_last_word_are_compressed_too() -> None:
    async def test(house: House) -> None:
        browser = house.adopt("a", gzip=True, lifetime=1)
        await browser.until(lambda: browser.ended)
        assert browser.body.count(b"\n\n:\n") == 1
        assert re.search(rb"\n:\nretry: \d+\n\Z", browser.body)

    run(test, heartbeat=0.2)
