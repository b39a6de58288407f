"""A hub on a loop of its own, with browsers that are sockets."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import json
import socket
import typing as t
import zlib

import pytest

from flask_push import Event
from flask_push import sse
from flask_push._delivery.options import Options
from flask_push._delivery.stream import Stream
from flask_push._hub.connection import Connection
from flask_push._hub.hub import Hub
from flask_push._ipc.client import Client
from flask_push.brokers.base import Retention
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._sink import until

Test = cabc.Callable[["House"], cabc.Coroutine[t.Any, t.Any, None]]


class Browser:
    def __init__(self, gzip: bool = False) -> None:
        self.gzip = gzip
        self._inflate = zlib.decompressobj(wbits=31)
        self.sock, self.theirs = socket.socketpair()
        self.sock.setblocking(False)
        self.parser = sse.Parser()
        self.body = b""
        self.events: list[Event] = []
        self.ended = False

    def read(self, most: int = 2**20) -> None:
        try:
            data = self.sock.recv(most)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        self.ended |= not data
        if self.gzip:
            data = self._inflate.decompress(data)
        self.body += data
        self.events += self.parser.feed(data)

    @property
    def data(self) -> list[str]:
        return [e.data for e in self.events if not e.type.startswith("push:")]

    @property
    def gaps(self) -> list[dict[str, t.Any]]:
        return [json.loads(e.data) for e in self.events if e.type == "push:gap"]

    async def until(self, condition: cabc.Callable[[], object]) -> None:
        def read() -> object:
            self.read()
            return condition()

        await until(read)

    async def receives(self, *data: str) -> None:
        """Wait until it has received events with exactly these data."""
        await self.until(lambda: self.data == [*data])

    async def receives_data(self) -> None:
        await self.until(lambda: self.data)

    async def receives_a_gap(self) -> None:
        await self.until(lambda: self.gaps)

    async def ends(self) -> None:
        """Wait until the hub has closed its stream."""
        await self.until(lambda: self.ended)


class House:
    """A hub and its surroundings."""

    #: Of all browsers, every other one reads gzip. Whether the first does.
    gzip = False

    def __init__(self, broker: MemoryBroker, options: Options) -> None:
        self.broker = broker
        self.hub = Hub(broker, options, asyncio.get_running_loop())
        self.browsers: list[Browser] = []

    @property
    def connections(self) -> list[Connection]:
        """Of the hub, one for each stream."""
        return list(self.hub._streams.connections.values())

    def adopt(self, *channels: str, **how: t.Any) -> Browser:
        how.setdefault("gzip", self.gzip ^ bool(len(self.browsers) % 2))
        browser = Browser(how["gzip"])
        self.browsers.append(browser)
        fd, name = browser.theirs.detach(), f"browser {len(self.browsers)}"
        self.hub.adopt(Stream(channels, name, **how), Client(fd))
        return browser

    async def open(self, *channels: str, **how: t.Any) -> Browser:
        browser = self.adopt(*channels, **how)
        await browser.until(lambda: browser.events)
        return browser

    def say(self, channel: str, *data: str, **more: t.Any) -> str:
        events = [Event(channel, text, **more) for text in data]
        return str(self.broker.publish(events)[-1])


def run(
    test: Test,
    retention: Retention | None = None,
    broker: MemoryBroker | None = None,
    **options: t.Any,
) -> None:
    async def main() -> None:
        house = House(broker or MemoryBroker(retention), Options(**options))
        try:
            await asyncio.wait_for(test(house), 30)
        finally:
            house.hub.stop()
            for browser in house.browsers:
                browser.sock.close()

    asyncio.run(main())


@pytest.fixture(params=["plain", "gzip"], autouse=True)
def first(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(House, "gzip", request.param == "gzip")
