"""The hub, with socket pairs for browsers and a store in memory."""

from __future__ import annotations

import collections.abc as cabc
import json
import re
import tracemalloc
import typing as t
import zlib

from support.failing import Forgetful
from support.hubs import first as first
from support.hubs import House
from support.hubs import run
from support.sockets import can_read
from support.sockets import noise

from flask_push import Event
from flask_push import Position
from flask_push._event import Page
from flask_push._hub import connection as _connection
from flask_push._hub.hub import Hub
from flask_push.brokers.base import Retention
from flask_push.brokers.base import Sink
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.memory import MemoryFeed
from flask_push.testing._sink import until


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


def test_a_turn_reaches_all_groups_however_many_there_are() -> None:
    async def test(house: House) -> None:
        readers = [await house.open("all", f"own-{n}") for n in range(150)]
        own = [Event(f"own-{n}", str(n)) for n in range(150)]
        house.broker.publish([Event("all", "to all"), *own])
        for n, reader in enumerate(readers):
            expected = ["to all", str(n)]
            await reader.until(lambda r=reader, e=expected: r.data == e)  # type: ignore[misc]

    run(test)


def test_the_frames_of_many_groups_are_not_all_in_memory_at_once() -> None:
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


def test_the_first_event_of_a_reader_may_be_one_that_is_not_stored() -> None:
    async def test(house: House) -> None:
        browser = await house.open("a")
        house.say("a", "typing", store=False)
        await browser.until(lambda: browser.data == ["typing"])

    run(test)


def test_a_visible_stream_sends_heartbeats_and_retry_as_events() -> None:
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


def test_connections_that_left_count_until_their_page_is_read() -> None:
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


def test_a_browser_ahead_of_the_hub_continues_when_the_hub_reaches_it() -> None:
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


def test_nothing_is_left_of_browsers_that_leave_before_their_channels_are_watched() -> None:
    async def test(house: House) -> None:
        for n in range(3):
            house.adopt("a", f"b{n}").sock.close()
            house.adopt("a", f"b{n}").sock.close()
        house.hub._streams._ready()
        assert repr(house.hub).startswith("<Hub [0 channels, 0 connections")
        assert not house.hub._streams.starts._joining

    run(test)


def test_a_stream_gets_all_events_that_are_there_at_once() -> None:
    async def test(house: House) -> None:
        await house.open("a")
        browser = house.adopt("a", head=b"HTTP/1.1 200 OK\r\n\r\n", gzip=False)
        first = browser.sock.recv(65536)
        assert first.startswith(b"HTTP/1.1 200 OK\r\n\r\n:\nretry: ")
        assert b"event: push:open\n" in first and first.endswith(b"\n\n")

    run(test)


def test_streams_that_are_alike_share_one_object() -> None:
    async def test(house: House) -> None:
        for n in range(10):
            house.adopt("a", "b", user="ann", head=b"%d" % n, lifetime=10 * n)
        await until(lambda: "10 connections, 0 behind" in repr(house.hub))
        streams = [connection.stream for connection in house.connections]
        assert len(set(map(id, streams))) == len(set(streams)) == 2, "one of them is gzip"
        assert len({connection.connection_id for connection in house.connections}) == 10

    run(test)


def test_long_streams_are_not_cached_after_they_end() -> None:
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


def test_idle_readers_get_newer_ids() -> None:
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


def test_a_slow_reader_of_gzip_keeps_only_the_rest_of_a_block() -> None:
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


def test_an_event_that_excludes_one_reader_of_gzip_reaches_the_others() -> None:
    async def test(house: House) -> None:
        ann, ben = [await house.open("a", gzip=True) for _ in range(2)]
        (name,) = {json.loads(e.data)["connection"] for e in ann.events}
        house.say("a", "1", exclude=name)
        house.say("a", "2")
        await ann.until(lambda: ann.data == ["2"])
        await ben.until(lambda: ben.data == ["1", "2"])

    run(test)


def test_a_heartbeat_and_the_last_retry_are_compressed_too() -> None:
    async def test(house: House) -> None:
        browser = house.adopt("a", gzip=True, lifetime=1)
        await browser.until(lambda: browser.ended)
        assert browser.body.count(b"\n\n:\n") == 1
        assert re.search(rb"\n:\nretry: \d+\n\Z", browser.body)

    run(test, heartbeat=0.2)
