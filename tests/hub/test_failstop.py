"""Whatever fails in a hub ends each stream that it may have touched, and nothing is lost.

A tracer raises an exception at one line of the hub, wherever it is. Readers resume, as
browsers do, and :mod:`checker` judges what they were given: everything, once, in order, and
no gap.
"""

from __future__ import annotations

import asyncio
import base64
import collections.abc as cabc
import contextlib
import gc
import inspect
import os
import socket
import typing as t
import zlib

import pytest
from support.checker import Cause
from support.checker import judge
from support.checker import Trace
from support.checker import Truth
from support.failing import Line
from support.failing import MODULES
from support.failing import Store
from support.failing import Tracer

from flask_push import _event
from flask_push import Event
from flask_push import Position
from flask_push import sse
from flask_push._delivery.options import Options
from flask_push._delivery.snapshot import HubState
from flask_push._delivery.stream import Stream
from flask_push._event import Entry
from flask_push._hub import fanout
from flask_push._hub.failstop import FailStop
from flask_push._hub.hub import Hub
from flask_push._hub.streams import Streams
from flask_push._ipc.client import Client
from flask_push.brokers import Broker
from flask_push.brokers import Retention
from flask_push.brokers import Sink
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.memory import MemoryFeed
from flask_push.testing._contract import until


class ReturningClient:
    """A browser that connects again whenever its stream ends."""

    def __init__(self, house: House, *channels: str, **how: t.Any) -> None:
        self.house = house
        self.channels = channels
        self.last_id = how.pop("position", "")
        self.patient = how.pop("patient", True)
        self.name = how.setdefault("connection", "somebody")
        self.how = how
        self.comes_back = True
        self.events: list[Event] = []
        self.passing: list[str] = []
        self.ends = 0
        self.connect()

    def connect(self) -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.setblocking(False)
        self.parser = sse.Parser()
        self.parser.last_event_id = self.last_id
        self.parser.reset()
        self.inflate = zlib.decompressobj(wbits=31) if self.how.get("gzip") else None
        stream = Stream(self.channels, position=self.last_id, **self.how)
        self.house.hub.adopt(stream, Client(theirs.detach()))

    def read(self) -> None:
        if not self.patient:
            return
        try:
            data = self.sock.recv(2**20)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if data:
            self.take(data)
            return
        self.ends += 1
        self.sock.close()
        self.patient = self.comes_back
        if self.comes_back:
            self.connect()

    def take(self, data: bytes) -> None:
        if self.inflate is not None:
            data = self.inflate.decompress(data)
        for event in self.parser.feed(data):
            if event.type in ("push:heartbeat", "push:retry"):
                continue
            passes = event.data.startswith("passing")
            self.passing += [event.data] * passes
            self.events += [event] * (not passes)
        self.last_id = self.parser.last_event_id

    def is_at(self, position: Position) -> bool:
        epoch, number = Position.parse(self.last_id)
        return epoch == position.epoch and number >= position.number


class House:
    """A hub, its store, and its browsers."""

    def __init__(self, store: MemoryBroker | None = None, **options: t.Any) -> None:
        self.store = store or Store(Retention(count=30))
        self.options = {"heartbeat": 0.1, "retry": 0.5, "log_bytes": 150_000, **options}
        self.published: list[tuple[str, Event]] = []
        self.clients: list[ReturningClient] = []
        #: What gaps may come from.
        self.causes: list[Cause] = []
        self.hub = self.make_hub()
        self.earlier = 0

    def make_hub(self, frozen: HubState | None = None) -> Hub:
        store, options = t.cast(Broker, self.store), Options(**self.options)
        return Hub(store, options, asyncio.get_running_loop(), frozen)

    @property
    def failures(self) -> int:
        return self.earlier + self.hub.failures

    def replace_hub(self) -> None:
        self.earlier += self.hub.failures
        self.hub = self.make_hub(self.hub.freeze())

    def add(self, *channels: str, **how: t.Any) -> ReturningClient:
        client = ReturningClient(self, *channels, **how)
        self.clients.append(client)
        return client

    def remove(self, client: ReturningClient) -> None:
        client.sock.close()
        self.clients.remove(client)

    def publish(self, *events: Event) -> list[str]:
        positions = self.store.publish(events)
        ids = [f"{p}.{e.channel}" for p, e in zip(positions, events, strict=True)]
        self.published += zip(ids, events, strict=True)
        return ids

    def say(self, channel: str, *data: str) -> list[str]:
        return self.publish(*(Event(channel, text) for text in data))

    def read(self) -> None:
        for client in self.clients:
            client.read()

    async def until(self, condition: cabc.Callable[[], object]) -> None:
        def read() -> object:
            self.read()
            return condition()

        await until(read)

    async def turn(self, loops: int = 5) -> None:
        for _ in range(loops):
            await asyncio.sleep(0)
            self.read()

    async def come_to_the_end(self) -> None:
        for client in self.clients:
            client.patient = True
        names = {name for client in self.clients for name in client.channels}
        ends = {name: Position.parse(*self.say(name, "end")) for name in names}
        await self.until(
            lambda: all(c.is_at(ends[name]) for c in self.clients for name in c.channels)
        )

    def judge(self) -> list[str]:
        wrong = []
        for client in self.clients:
            truth = Truth()
            for id, event in self.published:
                if event.store and event.exclude != client.name:
                    truth.add(id, event.channel, event.data)
            truth.sort()
            trace = Trace(
                list(client.channels), client.events, [2**62] * len(client.events)
            )
            found = judge(trace, truth, self.causes)
            if len({*client.passing}) < len(client.passing):
                found.append("what passes came twice")
            wrong += [f"{client.channels} {client.how}: {what}" for what in found]
        return wrong

    def close(self) -> None:
        self.hub.stop()
        for client in self.clients:
            client.sock.close()


def noise(size: int) -> str:
    """Text that compression makes little of."""
    return base64.b64encode(os.urandom(size * 3 // 4)).decode()


async def live(house: House) -> None:
    """What happens to streams, in short, of which none ends but by itself."""
    (old, *_) = house.say("a", *map(str, range(5)))
    house.say("b", "0")
    for gzip in False, True:
        house.add("a", gzip=gzip)
        house.add("a", "b", gzip=gzip, connection="me")
        house.add("a", "b", gzip=gzip, user="ann")
    slow = [house.add("a", gzip=gzip) for gzip in (False, True)]
    idle = house.add("idle", visible=True)
    await house.until(lambda: all(client.events for client in house.clients))
    for client in slow:
        client.patient = False
    house.say("a", "1", "2")
    house.say("b", "3")
    await house.turn()
    house.publish(
        Event("a", "passing", store=False),
        Event("b", "not for me", exclude="me"),
        Event("a", "\n".join(["lines"] * 5)),
        *(Event("a", noise(100_000)) for _ in range(5)),
        Event("a", "also not for me", exclude="me"),
    )
    await house.turn()
    house.say("a", "lost", "found")
    for gzip in False, True:
        house.add("a", "b", position=old, gzip=gzip)
        house.add("a", "b", position=old, gzip=gzip)
    house.add("a", "c", position=old)
    house.add("b", last=2)
    house.add("b", poll=True, position=old)
    house.add("b", lifetime=0.01)
    leaver, early = house.add("a", "e", position=old), house.add("d")
    house.remove(early)
    await house.turn(2)
    house.remove(leaver)
    (ahead,) = house.say("c", "7")
    house.add("c", position=ahead)
    await house.turn()
    opened = len(idle.events)
    await house.until(lambda: house.say("e", "more") and len(idle.events) > opened)
    await house.come_to_the_end()


async def in_trouble(house: House) -> None:
    """What is lost is told, and nothing else."""
    house.causes = [Cause(kind, 0, 2**62) for kind in ("loss", "retention")]
    (old, *_) = house.say("a", *map(str, range(5)))
    for gzip in False, True:
        house.add("a", "b", gzip=gzip)
        house.add("a", gzip=gzip)
    slow = house.add("a")
    await house.until(lambda: all(client.events for client in house.clients))
    slow.patient = False
    house.say("a", *(noise(100_000) for _ in range(5)))
    await house.turn()
    house.say("a", *(f"new {n}" for n in range(40)))
    house.add("a", "b", position=old)
    await house.turn()
    house.say("b", "last of this life")
    await house.turn()
    t.cast(Store, house.store).begin_again()
    house.say("b", "first of the next")
    house.add("a", "b", position=old)
    house.add("a", position="nonsense")
    await house.turn()
    house.say("a", "1", "2")
    await house.turn()
    await house.come_to_the_end()


async def taken_over(house: House) -> None:
    """Another hub goes on with all of it, half frames too."""
    (old, *_) = house.say("a", *map(str, range(5)))
    for gzip in False, True:
        house.add("a", "b", gzip=gzip)
        house.add("a", gzip=gzip)
    slow = [house.add("a", gzip=gzip) for gzip in (False, True)]
    await house.until(lambda: all(client.events for client in house.clients))
    for client in slow:
        client.patient = False
    house.say("a", *(noise(100_000) for _ in range(5)))
    await house.turn(20)
    house.add("a", "b", position=old)
    house.replace_hub()
    house.say("a", "1")
    await house.turn()
    for client in slow:
        client.patient = True
    house.say("b", "2")
    await house.come_to_the_end()


Scenario = cabc.Callable[[House], cabc.Coroutine[t.Any, t.Any, None]]
STORIES = [live, in_trouble, taken_over]


def play(
    scenario: Scenario, tracer: Tracer, store: MemoryBroker | None = None, **options: t.Any
) -> House:
    async def main() -> House:
        house = House(store, **options)
        try:
            with tracer:
                await asyncio.wait_for(scenario(house), 20)
            return house
        finally:
            house.close()

    # So that it does all that it did the first time.
    _event._escape.cache_clear()
    sse.type_line.cache_clear()
    # Or one that an earlier test has lost would be collected meanwhile.
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))
    house = asyncio.run(main())
    assert len(os.listdir("/proc/self/fd")) == descriptors, "a descriptor is left open"
    return house


@pytest.mark.parametrize("scenario", STORIES)
def test_without_an_exception_nothing_fails(scenario: Scenario) -> None:
    house = play(scenario, Tracer())
    assert house.judge() == []
    assert house.failures == 0


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few sets are many."""
    monkeypatch.setattr("flask_push._hub.fanout._MAX_GROUPS", 2)


@pytest.mark.parametrize("name", MODULES)
def test_an_exception_at_any_line_loses_nothing(
    name: str, few: None, caplog: pytest.LogCaptureFixture
) -> None:
    runs: dict[Line, Scenario] = {}
    for story in STORIES:
        play(story, tracer := Tracer())
        runs.update(dict.fromkeys(tracer.lines, story))
    for line in runs:
        if line[0] == name:
            fail_at(line, runs[line], caplog)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", STORIES)
@pytest.mark.parametrize("name", MODULES)
def test_an_exception_at_any_line_of_each_story_loses_nothing(
    name: str, scenario: Scenario, few: None, caplog: pytest.LogCaptureFixture
) -> None:
    play(scenario, tracer := Tracer())
    for line in tracer.lines:
        if line[0] == name:
            fail_at(line, scenario, caplog)


def fail_at(line: Line, scenario: Scenario, caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    house = play(scenario, tracer := Tracer(line))
    # What the system does may differ: a line may not be reached the second time.
    if tracer.raised:
        assert house.judge() == [], line
        assert house.failures == 1, line
        tracebacks = [record for record in caplog.records if record.exc_info]
        assert len(tracebacks) == 1, line


# What else can fail.


class Nonsense(MemoryBroker):
    """Its feed hands over what is no event, as often as it is asked to."""

    times = 1

    def news(self, after: int) -> tuple[str, list[Entry], int, bool]:
        epoch, entries, end, forgotten = super().news(after)
        if after and entries and self.times:
            self.times -= 1
            entries = [entries[0]._replace(number=t.cast(int, "nonsense"))]
        return epoch, entries, end, forgotten


async def open_streams(house: House, count: int = 1, **how: t.Any) -> list[ReturningClient]:
    clients = [house.add("a", **how) for _ in range(count)]
    await house.until(lambda: all(client.events for client in clients))
    return clients


def test_a_hub_that_failed_begins_again_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story(house: House) -> None:
        await open_streams(house, 3)
        house.say("a", "1", "2")
        await house.until(lambda: all(client.ends for client in house.clients))
        await house.come_to_the_end()
        assert repr(house.hub) == "<Hub [1 channels, 3 connections, 0 behind, 1 failures]>"
        assert house.hub.status()["failures"] == 1

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


def test_what_a_feed_says_after_the_hub_has_given_it_up_is_ignored() -> None:
    store = Stubborn()

    async def story(house: House) -> None:
        (client,) = await open_streams(house)
        house.say("a", "1")
        await house.until(lambda: client.ends)
        for _ in range(3):
            # Its channels may be awaited again, and its numbers be those of another life.
            store.sinks[0].watched(["a"])
            store.sinks[0].deliver("other", [], 5)
            store.sinks[0].deliver("other", [], None)
            store.sinks[0].missed(2**62)
            await house.turn()
        await house.come_to_the_end()
        assert len(store.sinks) == 2

    house = play(story, Tracer(), store)
    assert house.judge() == [] and house.failures == 1


def test_who_is_ended_with_all_others_is_told_when_to_come_back() -> None:
    async def story(house: House) -> None:
        clients = await open_streams(house, 40)
        for client in clients:
            client.comes_back = False
        house.say("a", "1")
        await house.until(lambda: all(client.ends for client in clients))
        told = [client.parser.retry or 0 for client in clients]
        # At two a second.
        assert 10_000 < max(told) < 22_000

    play(story, Tracer(), Nonsense(), return_rate=2)


def test_nothing_follows_what_may_be_half_a_frame() -> None:
    async def story(house: House) -> None:
        (client,) = await open_streams(house)
        client.comes_back = False
        told = client.parser.retry
        end = Position.parse(*house.say("a", "1"))
        await house.until(lambda: client.ends or client.is_at(end))
        assert client.parser.retry == told

    _, first = inspect.getsourcelines(fanout._write_all)
    body = {("_hub.fanout", first + n) for n in range(12)}
    play(story, every := Tracer())
    for line in body & every.lines.keys():
        play(story, tracer := Tracer(line))
        assert tracer.raised, line


def test_a_hub_that_fails_again_and_again_waits_longer_each_time() -> None:
    async def story(house: House) -> None:
        await open_streams(house)
        for n in range(1, 5):
            house.say("a", "1")
            await house.until(lambda n=n: house.failures == n)  # type: ignore[misc]
            await house.until(lambda: "1 connections, 0 behind" in repr(house.hub))
        assert house.hub._streams.failstop._delay == 0.4
        house.hub._streams.failstop._failed_at -= 100
        house.say("a", "1")
        await house.until(lambda: house.failures == 5)
        assert house.hub._streams.failstop._delay == 0
        await house.come_to_the_end()

    store = Nonsense()
    store.times = 5
    assert play(story, Tracer(), store).judge() == []


def end_badly(story: Scenario, tracer: Tracer, store: MemoryBroker) -> None:
    """Play a story that may end the loop. No stream is open after it."""
    houses: list[House] = []

    async def main() -> None:
        houses.append(House(store))
        with tracer:
            await asyncio.wait_for(story(houses[0]), 20)

    loop = asyncio.new_event_loop()
    task = loop.create_task(main())
    try:
        # The hub ends the loop in the middle.
        with contextlib.suppress(RuntimeError, MemoryError):
            loop.run_until_complete(task)
        (house,) = houses
        house.hub.stop()
        for client in house.clients:
            if not client.ends:
                client.sock.settimeout(20)
                while data := client.sock.recv(2**20):
                    client.take(data)
        assert house.judge() == []
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, MemoryError):
            loop.run_until_complete(task)
        for client in houses[0].clients:
            client.sock.close()
        loop.close()


async def fail(house: House) -> None:
    for client in await open_streams(house, 3):
        client.comes_back = False
    house.say("a", "1")
    await house.until(lambda: all(client.ends for client in house.clients))


def test_a_hub_that_cannot_even_end_its_streams_ends_itself() -> None:
    below = "_hub.failstop", "fail"
    end_badly(fail, every := Tracer(below=below), Nonsense())
    assert len(every.lines) > 50
    for line in every.lines:
        end_badly(fail, tracer := Tracer(line, below), Nonsense())
        assert tracer.raised, line


async def freeze(house: House) -> None:
    await open_streams(house, 3)
    try:
        frozen = house.hub.freeze()
    except MemoryError:
        # It goes on, or has ended everything.
        house.say("a", "1")
        await house.come_to_the_end()
    else:
        for _, fd in frozen.readers:
            os.close(fd)


def test_a_hub_that_cannot_be_frozen_goes_on_or_ends_its_streams() -> None:
    below = "_hub.hub", "freeze"
    play(freeze, every := Tracer(below=below))
    for line in every.lines:
        end_badly(freeze, tracer := Tracer(line, below), MemoryBroker())
        assert tracer.raised, line


class Closed(MemoryBroker):
    """A store that can't be opened."""

    def feed(self, *args: t.Any, **more: t.Any) -> t.NoReturn:
        raise OSError("no store")


def test_nothing_is_left_of_a_hub_whose_store_cannot_be_opened() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        descriptors = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            with pytest.raises(OSError, match="no store"):
                Hub(t.cast(Broker, Closed()), Options(), loop)
            assert len(os.listdir("/proc/self/fd")) == descriptors

    asyncio.run(main())


async def refuse(house: House) -> None:
    """The first stream fails when it begins."""
    bad = house.add("a", lifetime=t.cast(float, "nonsense"))
    good = house.add("a")
    bad.comes_back = False
    await house.until(lambda: bad.ends)
    house.clients = [good]
    await house.come_to_the_end()


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
    async def story(house: House) -> None:
        for _ in range(5):
            house.add("a", lifetime=t.cast(float, "nonsense")).comes_back = False
        good = house.add("a")
        house.say("a", "1")
        await house.until(lambda: good.events)
        await house.until(lambda: house.failures == 5)
        house.clients = [good]
        await house.come_to_the_end()

    assert play(story, Tracer()).judge() == []
    assert caplog.text.count("A stream failed") == 1
