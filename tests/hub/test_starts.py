"""Streams that begin: their pages are read, and browsers leave meanwhile."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from support.failing import Forgetful
from support.hubs import first as first
from support.hubs import HubScene
from support.hubs import run
from support.sockets import can_read

from flask_push import Event
from flask_push._event import Page
from flask_push.brokers.base import Sink
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.memory.feed import MemoryFeed
from flask_push.testing._sink import until


class Patient(MemoryBroker):
    """Its feed answers when the test lets it, and loses the events that the test names."""

    #: Whether it reads, too, when the test lets it, and not as soon as it is asked.
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


def test_nothing_is_left_of_a_browser_that_leaves_before_its_page_is_there() -> None:
    broker = Patient()

    async def test(scene: HubScene) -> None:
        (start,) = scene.say("a", "1")
        await scene.open("a", gzip=False)
        broker.holds = True
        # The second waits for the next page, with those that come after it.
        for how in {"position": start}, {"position": start}, {"last": 1}:
            browser = scene.adopt("a", gzip=False, **how)
            await until(lambda: "2 connections" in repr(scene.hub))
            browser.sock.close()
            await until(lambda: "1 connections" in repr(scene.hub))
        assert [len(late) for late in scene.hub._streams.starts._late.values()] == [0]
        broker.holds = False
        broker.answer()
        scene.say("a", "2")
        browser = await scene.open("a", gzip=False, position=start)
        await browser.receives("2")
        await scene.readers[0].until(lambda: scene.readers[0].data == ["2"])
        assert repr(scene.hub) == "<Hub [1 channels, 2 connections, 0 behind]>"
        assert not scene.hub._streams.starts._late

    run(test, broker=broker)


def test_nothing_is_left_of_a_browser_that_leaves_before_its_next_page_is_there() -> None:
    broker = Patient()
    broker.reads_late = False

    async def test(scene: HubScene) -> None:
        (start,) = scene.say("a", "1")
        # What the hub holds begins later.
        scene.say("b", "1")
        await scene.open("a", gzip=False)
        await scene.open("b", gzip=False)
        broker.holds = True
        leaver = scene.adopt("a", gzip=False, position=start)
        await until(lambda: broker.answers)
        # Meanwhile the hub goes on, and the page does not reach so far.
        scene.say("b", "2")
        await scene.readers[1].until(lambda: scene.readers[1].data)
        broker.answer()
        await until(lambda: broker.answers)
        assert "3 connections, 1 behind" in repr(scene.hub)
        leaver.sock.close()
        await until(lambda: "2 connections" in repr(scene.hub))
        broker.answer()
        assert repr(scene.hub) == "<Hub [2 channels, 2 connections, 0 behind]>"

    run(test, broker=broker)


def test_connections_that_left_count_until_their_page_is_read() -> None:
    broker = Patient()

    async def test(scene: HubScene) -> None:
        (start,) = scene.say("a", "1")
        broker.holds = True
        for n in range(30):
            # Each is the only one of its channels.
            browser = scene.adopt("a", f"b{n}", position=start)
            await until(lambda b=browser: can_read(b.sock))  # type: ignore[misc]
            browser.read()
            browser.sock.close()
            await until(lambda: "0 connections" in repr(scene.hub))
        assert len(broker.answers) == 20
        broker.holds = False
        broker.answer()
        await until(lambda: scene.hub._feed.asked == 0)
        await scene.open("a", position=start)

    run(test, broker=broker, max_streams=20)


def test_nothing_is_left_of_a_browser_that_leaves_while_the_hub_is_behind_it() -> None:
    broker = Patient()

    async def test(scene: HubScene) -> None:
        keeps = await scene.open("a")
        broker.holds = True
        # The hub has to ask for it, and may not go on meanwhile.
        scene.say("a", "lost", "2")
        await until(lambda: scene.hub._log.hole)
        (ahead,) = scene.say("a", "3")
        for _ in range(3):
            browser = scene.adopt("a", position=ahead)
            fill, *asks = broker.answers
            broker.answers = asks
            broker.answer()
            broker.answers = [fill]
            await until(lambda: scene.hub._streams._waiting)
            browser.sock.close()
            await until(lambda: "1 connections" in repr(scene.hub))
            assert not scene.hub._streams._waiting
        broker.holds = False
        broker.answer()
        await keeps.receives("lost", "2", "3")

    run(test, broker=broker)


def test_a_browser_ahead_of_the_hub_continues_when_the_hub_reaches_it() -> None:
    broker = Patient()

    async def test(scene: HubScene) -> None:
        await scene.open("a")
        broker.holds = True
        scene.say("a", "lost", "2")
        await until(lambda: scene.hub._log.hole)
        (ahead,) = scene.say("a", "3")
        browser = scene.adopt("a", position=ahead)
        fill, *asks = broker.answers
        broker.answers = asks
        broker.answer()
        await until(lambda: scene.hub._streams._waiting)
        # From here on, nothing more is published.
        await until(lambda: scene.hub._feed.asked == 1)
        broker.holds = False
        fill()
        await until(lambda: "2 connections, 0 behind" in repr(scene.hub))
        await browser.until(lambda: browser.events)
        assert browser.data == [] and browser.gaps == []

    run(test, broker=broker)


def test_nothing_is_left_of_browsers_that_leave_before_their_channels_are_watched() -> None:
    async def test(scene: HubScene) -> None:
        for n in range(3):
            scene.adopt("a", f"b{n}").sock.close()
            scene.adopt("a", f"b{n}").sock.close()
        scene.hub._streams._ready()
        assert repr(scene.hub).startswith("<Hub [0 channels, 0 connections")
        assert not scene.hub._streams.starts._joining

    run(test)


def test_pages_are_read_until_a_reader_is_live() -> None:
    async def test(scene: HubScene) -> None:
        start = scene.publish(Event("a", "0"), Event("b", "0"))[-1]
        for n in range(200):
            scene.say("ab"[n % 2], f"{n} " + "x" * 3000)
        browser = scene.adopt("a", "b", position=start)
        await browser.until(lambda: len(browser.data) == 200)
        scene.say("a", "live")
        await browser.until(lambda: browser.data[-1] == "live")
        assert [data.split()[0] for data in browser.data[:-1]] == list(map(str, range(200)))
        assert browser.gaps == []

    run(test, log_bytes=0)
