"""What a hub does when its feed or its loop fails."""

from __future__ import annotations

import asyncio
import inspect
import typing as t

import pytest
from support import coroutines
from support.failing import Tracer
from support.hub_failures import FailureScene
from support.hub_failures import Nonsense
from support.hub_failures import open_streams
from support.hub_failures import play
from support.without_linux.real import descriptors

from flask_push import Position
from flask_push._delivery.options import Options
from flask_push._hub import fanout
from flask_push._hub.failstop import FailStop
from flask_push._hub.hub import Hub
from flask_push._hub.streams import Streams
from flask_push.brokers import Broker
from flask_push.brokers import Sink
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.memory.feed import MemoryFeed


def test_a_hub_that_failed_begins_again_and_logs_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story(scene: FailureScene) -> None:
        await open_streams(scene, 3)
        scene.say("a", "1", "2")
        await scene.until(lambda: all(reader.endings for reader in scene.returning))
        await scene.come_to_the_end()
        assert repr(scene.hub) == "<Hub [1 channels, 3 connections, 0 behind, 1 failures]>"
        assert scene.hub.status()["failures"] == 1
        # This feed does not say whether it can read the store.
        assert scene.hub.status()["store"] == "ok"

    assert play(story, Tracer(), Nonsense()).judge() == []
    (line,) = caplog.records
    assert (
        line.getMessage()
        == "The hub failed and ended all 3 streams; their browsers resume."
    )
    assert line.exc_info


class Stubborn(Nonsense):
    """Its feeds are known, and what they call can be called when they are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.sinks: list[Sink] = []

    def feed(self, sink: Sink, *args: t.Any, **more: t.Any) -> MemoryFeed:
        self.sinks.append(sink)
        return super().feed(sink, *args, **more)


def test_calls_of_a_feed_that_the_hub_has_given_up_are_ignored() -> None:
    store = Stubborn()

    async def story(scene: FailureScene) -> None:
        (reader,) = await open_streams(scene)
        scene.say("a", "1")
        await scene.until(lambda: reader.endings)
        for _ in range(3):
            # Its channels may be awaited again, and its numbers be those of another life.
            store.sinks[0].watched(["a"])
            store.sinks[0].deliver("other", [], 5)
            store.sinks[0].deliver("other", [], None)
            store.sinks[0].missed(2**62)
            await scene.turn()
        await scene.come_to_the_end()
        assert len(store.sinks) == 2

    scene = play(story, Tracer(), store)
    assert scene.judge() == [] and scene.failures == 1


def test_nothing_is_written_after_half_a_frame() -> None:
    async def story(scene: FailureScene) -> None:
        (reader,) = await open_streams(scene)
        reader.comes_back = False
        told = reader.parser.retry
        end = Position.parse(*scene.say("a", "1"))
        await scene.until(lambda: reader.endings or reader.is_at(end))
        assert reader.parser.retry == told

    _, first = inspect.getsourcelines(fanout._write_all)
    body = {("_hub.fanout", first + n) for n in range(12)}
    play(story, every := Tracer())
    for line in body & every.lines.keys():
        play(story, tracer := Tracer(line))
        assert tracer.raised, line


def test_a_hub_that_fails_again_and_again_waits_longer_each_time() -> None:
    async def story(scene: FailureScene) -> None:
        await open_streams(scene)
        for n in range(1, 5):
            scene.say("a", "1")
            await scene.until(lambda n=n: scene.failures == n)  # type: ignore[misc]
            await scene.until(lambda: "1 connections, 0 behind" in repr(scene.hub))
        assert scene.hub._streams.failstop._delay == 0.4
        scene.hub._streams.failstop._failed_at -= 100
        scene.say("a", "1")
        await scene.until(lambda: scene.failures == 5)
        assert scene.hub._streams.failstop._delay == 0
        await scene.come_to_the_end()

    store = Nonsense()
    store.times = 5
    assert play(story, Tracer(), store).judge() == []


class Closed(MemoryBroker):
    """A store that can't be opened."""

    def feed(self, *args: t.Any, **more: t.Any) -> t.NoReturn:
        raise OSError("no store")


def test_nothing_is_left_of_a_hub_whose_store_cannot_be_opened() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        before = descriptors()
        for _ in range(3):
            with pytest.raises(OSError, match="no store"):
                Hub(t.cast(Broker, Closed()), Options(), loop)
            assert descriptors() == before

    coroutines.run(main())


async def refuse(scene: FailureScene) -> None:
    """The first stream fails when it begins."""
    bad = scene.add("a", lifetime=t.cast(float, "nonsense"))
    good = scene.add("a")
    bad.comes_back = False
    await scene.until(lambda: bad.ends)
    scene.returning = [good]
    await scene.come_to_the_end()


def test_a_stream_that_cannot_even_be_refused_is_closed() -> None:
    play(refuse, every := Tracer())
    lines, first = inspect.getsourcelines(FailStop.alone)
    refused = [("_hub.failstop", first + n) for n in range(len(lines))]
    lines, first = inspect.getsourcelines(Streams.drop)
    refused += [("_hub.streams", first + n) for n in range(len(lines))]
    refused = [line for line in refused if line in every.lines]
    assert len(refused) > 7
    for line in refused:
        assert play(refuse, tracer := Tracer(line)).judge() == [], line
        assert tracer.raised, line


def test_streams_that_fail_one_by_one_are_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story(scene: FailureScene) -> None:
        for _ in range(5):
            scene.add("a", lifetime=t.cast(float, "nonsense")).comes_back = False
        good = scene.add("a")
        scene.say("a", "1")
        await scene.until(lambda: good.events)
        await scene.until(lambda: scene.failures == 5)
        scene.returning = [good]
        await scene.come_to_the_end()

    assert play(story, Tracer()).judge() == []
    assert caplog.text.count("A stream failed") == 1
