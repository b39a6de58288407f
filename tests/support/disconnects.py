"""A hub whose users are disconnected."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import json
import typing as t
from collections import Counter
from dataclasses import dataclass
from functools import partial

import pytest

from flask_push import Event
from flask_push import Position
from flask_push._delivery.disconnect import Disconnect
from flask_push._delivery.options import Options
from flask_push._delivery.stream import Stream
from flask_push._hub.disconnect_list import DisconnectIndex
from flask_push._hub.hub import Hub
from flask_push.brokers import KeepsOwnLogs
from flask_push.brokers import Sink
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.memory.feed import MemoryFeed
from flask_push.testing._sink import until
from support.hubs import HubScene
from support.hubs import Run
from support.hubs import run_scene
from support.hubs import run_with_url
from support.reader import SocketReader

Scenario = cabc.Callable[["Scene"], cabc.Coroutine[t.Any, t.Any, None]]


class Scene(HubScene):
    """A hub that notes its position, and streams whose processes read it."""

    def __init__(self, broker: t.Any, options: Options) -> None:
        #: What the hub has noted, and whether it can.
        self.noted: list[Position] = []
        self.broken = False
        super().__init__(broker, options)

    def make_hub(self, state: t.Any = None) -> Hub:
        loop = asyncio.get_running_loop()
        return Hub(self.broker, self.options, loop, state, self.note)

    def note(self, position: Position) -> None:
        if self.broken:
            raise OSError("the disk is full")
        self.noted.append(position)

    def replace_hub(self) -> None:
        self.hub = self.make_hub(self.hub.freeze())

    @property
    def seen(self) -> str:
        return str(self.noted[-1])

    def disconnect(
        self,
        user: str | None = None,
        session: str | None = None,
        channel: str | None = None,
        *,
        reason: str = "",
    ) -> Position:
        said = Disconnect(user, session, channel, reason)
        return t.cast(KeepsOwnLogs, self.broker).append("disconnect", said.to_bytes(), 3600)

    def disconnects(self) -> tuple[int, int]:
        status = self.hub.status()
        return status["disconnected"], status["sent_back"]

    async def known(self) -> None:
        await until(lambda: self.noted)

    async def user(self, name: str | None, *channels: str, **how: t.Any) -> SocketReader:
        """A reader whose request has just come."""
        await self.known()
        given = {"user": name, "session": "", "seen": self.seen, **how}
        return await self.open(*channels or ("a",), **given)


def reasons(reader: SocketReader) -> list[str]:
    return [
        json.loads(event.data)["reason"]
        for event in reader.events
        if event.type == "push:disconnect"
    ]


async def is_ended(reader: SocketReader) -> None:
    await reader.until(lambda: reader.ended)


def is_sent_back(reader: SocketReader) -> bool:
    """Whether it can reconnect, and was given no reason."""
    return bool(reader.ended) and not reasons(reader) and b"retry: " in reader.body


@pytest.fixture
def run(url: str) -> Run:
    """Runs a scenario with each store."""
    return partial(run_with_url, run_with, url)


class Plain(MemoryBroker):
    """Keeps no logs of Flask-Push's own."""

    append = read_own = None  # type: ignore[assignment]

    def feed(self, sink: Sink, *args: t.Any, **more: t.Any) -> MemoryFeed:
        return super().feed(PlainSink(sink), *args, **more)


class PlainSink:
    """Receives no logs of Flask-Push's own."""

    def __init__(self, sink: Sink) -> None:
        self.deliver, self.missed, self.watched = sink.deliver, sink.missed, sink.watched


def run_with(test: Scenario, broker: t.Any, **options: t.Any) -> None:
    run_scene(lambda: Scene(broker, Options(retry=0.5, **options)), test)


@dataclass
class Connection:
    """One connection of a reader."""

    stream: Stream
    #: Its first event among those of its reader.
    first: int


C = t.TypeVar("C", bound=Connection)


class Reads(t.Protocol[C]):
    """A reader that resumes: its events are those of all its connections."""

    connections: list[C]
    events: list[Event]


def written(reader: Reads[C]) -> cabc.Iterator[tuple[C, Position]]:
    """Each event that was published, and the connection on which it came."""
    ends = [c.first for c in reader.connections[1:]] + [len(reader.events)]
    for connection, end in zip(reader.connections, ends, strict=True):
        for event in reader.events[connection.first : end]:
            if not event.type.startswith("push:"):
                yield connection, Position.parse(event.id)


def figures(readers: cabc.Collection[Reads[t.Any]], ended: cabc.Sized) -> Counter[str]:
    """What readers got, and how many disconnects there were."""
    types = Counter(event.type for reader in readers for event in reader.events)
    return Counter(
        {
            "connections": sum(len(reader.connections) for reader in readers),
            "disconnects": len(ended),
            "events read": types["message"],
            "reasons read": types["push:disconnect"],
            "gaps": types["push:gap"],
        }
    )


def matches(said: Disconnect, stream: Stream) -> bool:
    """What it means that a disconnect names a stream, in plain words: all selectors that
    are given fit. A session that is not known fits any."""
    return (
        said.user in (None, stream.user)
        and (said.session is None or stream.session in (None, said.session))
        and (said.channel is None or said.channel in _channels(stream))
    )


def _channels(stream: Stream) -> set[str]:
    presence = stream.presence
    shown = {*dict(presence.present), *presence.counted}
    return {*stream.channels, *presence.watch} | shown


def names(said: Disconnect, stream: Stream) -> bool:
    """Whether a hub that knows only this disconnect takes the stream for named."""
    index = DisconnectIndex()
    index.add(1, said)
    return index.find(stream) is not None
