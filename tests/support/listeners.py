"""Listeners without an app, and what they return."""

from __future__ import annotations

import collections.abc as cabc
import json
import threading
import typing as t

import pytest

from flask_push import Event
from flask_push._delivery.options import Options
from flask_push._delivery.stream import Stream
from flask_push._handoff.door import Door
from flask_push._handoff.listener import Listener
from flask_push._handoff.listeners_hub import ListenersHub
from flask_push._hub.thread import ThreadDoor
from flask_push._ipc.client import Client
from flask_push._publisher import Publisher
from flask_push._system import sockets
from flask_push.brokers import Broker
from flask_push.brokers import ItemChange
from flask_push.brokers import KeepsItems


class Recorder:
    """A door that notes the streams, and can refuse them."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.streams: list[Stream] = []
        self.refuses: Exception | None = None
        #: Whether the hub is of a version that knows no listeners.
        self.is_older = False

    def adopt(self, stream: Stream, client: Client) -> None:
        if self.is_older:
            stream = stream._replace(session="")
        if self.refuses is not None:
            raise self.refuses
        self.streams.append(stream)
        self.door.adopt(stream, client)

    def token(self, stream: Stream) -> str:
        return self.door.token(stream)

    def positions(self, stream: Stream | None = None) -> list[t.Any]:
        return self.door.positions(stream)

    def answers(self, until: float) -> str | None:
        return self.door.answers(until)

    def stop(self) -> None:
        self.door.stop()

    def here(self) -> None:
        self.door.here()


class ScriptedDoor:
    """A hub that writes what the test says to one stream after another, and ends each but
    the last."""

    def __init__(self, *written: bytes) -> None:
        self.written = list(written)
        self.streams: list[Stream] = []
        #: Called when a stream comes.
        self.adopts: cabc.Callable[[], object] = bool
        self._last: list[Client] = []

    def adopt(self, stream: Stream, client: Client) -> None:
        self.streams.append(stream)
        self.adopts()
        if self.written:
            sockets.write(client.fd, self.written.pop(0))
        if self.written:
            client.close()
        else:
            self._last.append(client)

    def token(self, stream: Stream) -> str:
        raise NotImplementedError

    def positions(self, stream: Stream | None = None) -> list[t.Any]:
        return []

    def answers(self, until: float) -> str | None:
        return ""

    def stop(self) -> None:
        while self._last:
            self._last.pop().close()

    def here(self) -> None:
        """It is not used after a fork."""


class ListenScene:
    """A store, and listeners that find no hub process."""

    def __init__(self, broker: Broker, **options: t.Any) -> None:
        self.broker = broker
        self.publisher = Publisher(broker)
        self.options = Options(**options)
        #: The hubs in threads, the newest last.
        self.threads: list[Recorder] = []
        self.listeners: list[Listener] = []
        self.hub = self.make_hub()

    def make_hub(self, *doors: Door) -> ListenersHub:
        return ListenersHub(
            doors,
            self.make_thread,
            self.publisher.position,
            lambda stream: "",
            self.options.heartbeat,
        )

    def make_thread(self) -> Recorder:
        self.threads.append(Recorder(ThreadDoor(lambda: self.broker, self.options)))
        return self.threads[-1]

    def listen(
        self,
        *channels: str,
        since: str = "",
        timeout: float | None = 20,
        watch: tuple[str, ...] = (),
    ) -> Listener:
        listener = Listener(self.hub, channels, since, timeout, watch)
        self.listeners.append(listener)
        return listener

    def say(self, channel: str, *data: str) -> None:
        for text in data:
            self.publisher.publish(channel, text)

    def set(self, channel: str, item: str, data: str | None) -> None:
        change = ItemChange(channel, item, data)
        t.cast(KeepsItems, self.broker).change([change])

    def end_streams(self) -> None:
        """As if the hub had died: all streams of the thread end."""
        thread = self.threads[-1].door
        assert isinstance(thread, ThreadDoor)
        thread.stop()
        self.threads[-1].door = ThreadDoor(lambda: self.broker, self.options)

    def close(self) -> None:
        for listener in self.listeners:
            listener.close()
        self.hub.stop()


def take(listener: cabc.Iterator[Event], count: int) -> list[Event]:
    return [next(listener) for _ in range(count)]


def data_of(listener: cabc.Iterator[Event], count: int) -> list[str]:
    """The data of so many events of the app."""
    found: list[str] = []
    while len(found) < count:
        event = next(listener)
        if not event.type.startswith("push:"):
            found.append(event.data)
    return found


def words(event: Event) -> str:
    """An event in short."""
    if event.type == "push:unset":
        return f"unset {event.item}"
    if event.type.startswith("push:"):
        return f"{event.type} {' '.join(json.loads(event.data)['channels'])}"
    return f"{event.item}={event.data}" if event.item else event.data


def in_thread(work: cabc.Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@pytest.fixture
def make_scene() -> cabc.Iterator[cabc.Callable[..., ListenScene]]:
    scenes: list[ListenScene] = []

    def make(broker: Broker, **options: t.Any) -> ListenScene:
        scenes.append(ListenScene(broker, **options))
        return scenes[-1]

    yield make
    for scene in scenes:
        scene.close()
