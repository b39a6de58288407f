"""Hubs that fail."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import gc
import typing as t

from flask_push import Event
from flask_push import Position
from flask_push import sse
from flask_push._delivery.options import Options
from flask_push._delivery.stream import Stream
from flask_push._event import Entry
from flask_push._event import ids
from flask_push._ipc.client import Client
from flask_push._system.polling import new_loop
from flask_push.brokers import Retention
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._sink import until
from support import coroutines
from support.checker import Cause
from support.checker import judge
from support.checker import Trace
from support.checker import Truth
from support.failing import Store
from support.failing import Tracer
from support.hubs import HubScene
from support.reader import SocketReader
from support.without_linux.real import descriptors


class ReturningReader(SocketReader):
    """A browser that reconnects whenever its stream ends."""

    def __init__(self, scene: FailureScene, *channels: str, **how: t.Any) -> None:
        self.scene = scene
        self.channels = channels
        position = how.pop("position", "")
        self.patient = how.pop("patient", True)
        self.name = how.setdefault("connection", "another")
        self.how = how
        self.comes_back = True
        self.endings = 0
        self.knows = False
        super().__init__(gzip=how.get("gzip", False), last_id=position)

    def connect(self) -> None:
        super().connect()
        self.begin()
        # Of every other connection, the process knows the hub's position.
        self.knows = not self.knows
        seen = str(self.scene.hub.disconnects.position) if self.knows else ""
        stream = Stream(self.channels, position=self.last_id, seen=seen, **self.how)
        self.scene.hub.adopt(stream, Client(self.theirs.detach()))

    def read(self, most: int = 2**20) -> None:
        if not self.patient:
            return
        super().read(most)
        if self.ended:
            self.endings += 1
            self.close()
            self.patient = self.comes_back
            if self.comes_back:
                self.connect()

    @property
    def judged(self) -> list[Event]:
        """The events that have a place in the log, and gaps."""
        own = "push:heartbeat", "push:retry"
        return [
            event
            for event in self.events
            if event.type not in own and not event.data.startswith("passing")
        ]

    @property
    def passing(self) -> list[str]:
        return [text for text in self.data if text.startswith("passing")]

    def is_at(self, position: Position) -> bool:
        epoch, number = Position.parse(self.last_id)
        return epoch == position.epoch and number >= position.number


class FailureScene(HubScene):
    """A hub that fails, and readers that reconnect. It knows all that was published."""

    def __init__(self, store: MemoryBroker | None = None, **options: t.Any) -> None:
        options = {"heartbeat": 0.1, "retry": 0.5, "log_bytes": 150_000, **options}
        super().__init__(store or Store(Retention(count=30)), Options(**options))
        self.published: list[tuple[str, Event]] = []
        self.returning: list[ReturningReader] = []
        #: The possible causes of gaps.
        self.causes: list[Cause] = []
        self.earlier = 0

    @property
    def failures(self) -> int:
        return self.earlier + self.hub.failures

    def replace_hub(self) -> None:
        before, frozen = self.hub, self.hub.freeze()
        self.earlier += before.failures
        self.hub = self.make_hub(frozen)

    def add(self, *channels: str, **how: t.Any) -> ReturningReader:
        reader = ReturningReader(self, *channels, **how)
        self.returning.append(reader)
        return reader

    def remove(self, reader: ReturningReader) -> None:
        reader.close()
        self.returning.remove(reader)

    def publish(self, *events: Event) -> list[str]:
        ids = super().publish(*events)
        self.published += zip(ids, events, strict=True)
        return ids

    def read(self) -> None:
        for reader in self.returning:
            reader.read()

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
        for reader in self.returning:
            reader.patient = True
        names = {name for reader in self.returning for name in reader.channels}
        ends = {name: Position.parse(*self.say(name, "end")) for name in names}
        await self.until(
            lambda: all(r.is_at(ends[name]) for r in self.returning for name in r.channels)
        )

    def judge(self) -> list[str]:
        wrong = []
        for reader in self.returning:
            truth = Truth()
            for id, event in self.published:
                if event.store and event.exclude != reader.name:
                    truth.add(id, event.channel, event.data)
            truth.sort()
            events = reader.judged
            trace = Trace(list(reader.channels), events, [2**62] * len(events))
            found = judge(trace, truth, self.causes)
            if len({*reader.passing}) < len(reader.passing):
                found.append("what passes came twice")
            wrong += [f"{reader.channels} {reader.how}: {what}" for what in found]
        return wrong

    def close(self) -> None:
        super().close()
        for reader in self.returning:
            reader.close()


Scenario = cabc.Callable[[FailureScene], cabc.Coroutine[t.Any, t.Any, None]]


def play(
    scenario: Scenario, tracer: Tracer, store: MemoryBroker | None = None, **options: t.Any
) -> FailureScene:
    async def main() -> FailureScene:
        scene = FailureScene(store, **options)
        try:
            with tracer:
                await asyncio.wait_for(scenario(scene), 20)
            return scene
        finally:
            scene.close()

    # So that everything runs again as the first time.
    ids._escape.cache_clear()
    sse.type_line.cache_clear()
    # Otherwise, objects of an earlier test could be collected meanwhile.
    gc.collect()
    before = descriptors()
    scene = coroutines.run(main())
    assert descriptors() == before, "a descriptor is left open"
    return scene


class Nonsense(MemoryBroker):
    """Its feed hands over what is no event, as often as it is asked to."""

    times = 1

    def unread(self, after: int) -> tuple[str, list[Entry], int, bool]:
        epoch, entries, end, forgotten = super().unread(after)
        if after and entries and self.times:
            self.times -= 1
            entries = [entries[0]._replace(number=t.cast(int, "nonsense"))]
        return epoch, entries, end, forgotten


async def open_streams(
    scene: FailureScene, count: int = 1, **how: t.Any
) -> list[ReturningReader]:
    readers = [scene.add("a", **how) for _ in range(count)]
    await scene.until(lambda: all(reader.events for reader in readers))
    return readers


def end_badly(story: Scenario, tracer: Tracer, store: MemoryBroker) -> None:
    """Play a story that may end the loop. No stream is open after it."""
    scenes: list[FailureScene] = []

    async def main() -> None:
        scenes.append(FailureScene(store))
        with tracer:
            await asyncio.wait_for(story(scenes[0]), 20)

    loop = new_loop()
    task = loop.create_task(main())
    try:
        # The hub ends the loop in the middle.
        with contextlib.suppress(RuntimeError, MemoryError):
            loop.run_until_complete(task)
        (scene,) = scenes
        scene.hub.stop()
        for reader in scene.returning:
            if not reader.endings:
                reader.sock.settimeout(20)
                while data := reader.sock.recv(2**20):
                    reader.feed(data)
        assert scene.judge() == []
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, MemoryError):
            loop.run_until_complete(task)
        for reader in scenes[0].returning:
            reader.close()
        loop.close()
