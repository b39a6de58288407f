"""A hub on a loop of its own, and readers of its streams."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import typing as t

import pytest

from flask_push import Event
from flask_push._delivery.options import Options
from flask_push._delivery.snapshot import HubState
from flask_push._delivery.stream import Stream
from flask_push._hub.connection import Connection
from flask_push._hub.hub import Hub
from flask_push._ipc.client import Client
from flask_push.brokers import Broker
from flask_push.brokers import open_broker
from flask_push.brokers.base import Retention
from flask_push.brokers.memory import MemoryBroker
from support import coroutines
from support.reader import SocketReader

Test = cabc.Callable[["HubScene"], cabc.Coroutine[t.Any, t.Any, None]]
Run = cabc.Callable[..., None]
S = t.TypeVar("S", bound="HubScene")


class HubScene:
    """A hub on this loop, its broker, and the readers of its streams."""

    #: Every other reader reads gzip. This says whether the first one does.
    gzip = False

    def __init__(self, broker: MemoryBroker, options: Options) -> None:
        self.broker = broker
        self.options = options
        self.hub = self.make_hub()
        self.readers: list[SocketReader] = []

    def make_hub(self, state: HubState | None = None) -> Hub:
        broker, loop = t.cast(Broker, self.broker), asyncio.get_running_loop()
        return Hub(broker, self.options, loop, state)

    @property
    def connections(self) -> list[Connection]:
        """The hub's connections, one for each stream."""
        return list(self.hub._streams.connections.values())

    def adopt(self, *channels: str, drain: int | None = None, **how: t.Any) -> SocketReader:
        how.setdefault("gzip", self.gzip ^ bool(len(self.readers) % 2))
        reader = SocketReader(gzip=how["gzip"])
        self.readers.append(reader)
        stream = Stream(channels, f"reader {len(self.readers)}", **how)
        self.hub.adopt(stream, Client(reader.theirs.detach(), drain))
        return reader

    async def open(self, *channels: str, **how: t.Any) -> SocketReader:
        reader = self.adopt(*channels, **how)
        await reader.until(lambda: reader.events)
        return reader

    def publish(self, *events: Event) -> list[str]:
        """Publish them, and return their ids."""
        return list(map(str, self.broker.publish(events)))

    def say(self, channel: str, *data: str, **more: t.Any) -> list[str]:
        return self.publish(*(Event(channel, text, **more) for text in data))

    def close(self) -> None:
        self.hub.stop()
        for reader in self.readers:
            reader.close()


def run(
    test: Test,
    retention: Retention | None = None,
    broker: MemoryBroker | None = None,
    **options: t.Any,
) -> None:
    run_scene(lambda: HubScene(broker or MemoryBroker(retention), Options(**options)), test)


def run_scene(
    make: cabc.Callable[[], S], test: cabc.Callable[[S], cabc.Coroutine[t.Any, t.Any, None]]
) -> None:
    """Make a scene on a loop of its own, and run a test with it."""

    async def main() -> None:
        scene = make()
        try:
            await asyncio.wait_for(test(scene), 30)
        finally:
            scene.close()

    coroutines.run(main())


def run_with_url(run_with: Run, url: str, test: t.Any, **options: t.Any) -> None:
    with contextlib.closing(open_broker(url)) as broker:
        run_with(test, broker, **options)


@pytest.fixture(params=["plain", "gzip"], autouse=True)
def first(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HubScene, "gzip", request.param == "gzip")
