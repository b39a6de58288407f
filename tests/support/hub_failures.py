"""Hubs that fail."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import gc
import os
import socket
import typing as t
import zlib

from flask_push import _event
from flask_push import Event
from flask_push import Position
from flask_push import sse
from flask_push._delivery.options import Options
from flask_push._delivery.snapshot import HubState
from flask_push._delivery.stream import Stream
from flask_push._hub.hub import Hub
from flask_push._ipc.client import Client
from flask_push.brokers import Broker
from flask_push.brokers import Retention
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._sink import until
from support.checker import Cause
from support.checker import judge
from support.checker import Trace
from support.checker import Truth
from support.failing import Store
from support.failing import Tracer


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


Scenario = cabc.Callable[[House], cabc.Coroutine[t.Any, t.Any, None]]


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
