"""A Hypothesis state machine that holds the laws of delivery against :mod:`world`."""

from __future__ import annotations

import types
import typing as t

from hypothesis import strategies as st
from hypothesis.stateful import initialize
from hypothesis.stateful import precondition
from hypothesis.stateful import rule
from hypothesis.stateful import RuleBasedStateMachine

from flask_push._event import Position
from support.world import CHANNELS
from support.world import CheckedReader
from support.world import Connection
from support.world import Store
from support.world import World

channels = st.sampled_from(CHANNELS)


indices = st.integers(0, 7)


limits = st.integers(1, 3)


hubs = st.integers(0, 1)


# The names of readers, so that events can exclude them.
called = st.sampled_from(["A", "B"])


# How much a socket takes: everything, nothing, or a part of a frame.
ALL = 100_000


rooms = st.one_of(st.just(ALL), st.integers(0, 100))


class Laws(RuleBasedStateMachine):
    """Any interleaving of what can happen to two hubs, their store and their readers."""

    log: types.ModuleType | None = None

    @initialize(max_bytes=st.sampled_from([0, 600, 10_000]))
    def start(self, max_bytes: int) -> None:
        self.store = Store()
        self.hubs = [World(self.store, self.log, max_bytes) for _ in range(2)]
        self.clients: list[CheckedReader] = []
        for hub in self.hubs:
            hub.feed(0)

    @rule(channel=channels, step=st.integers(1, 3), exclude=st.just("") | called)
    def publish(self, channel: str, step: int, exclude: str = "") -> None:
        self.store.publish(channel, step, exclude=exclude)

    @rule(channel=channels, exclude=st.just("") | called)
    def publish_transient(self, channel: str, exclude: str = "") -> None:
        self.store.publish(channel, 0, store=False, exclude=exclude)

    @rule()
    def publish_elsewhere(self) -> None:
        self.store.elsewhere(12)

    @rule(hub=hubs, count=st.integers(1, 4))
    def feed(self, hub: int, count: int) -> None:
        self.hubs[hub].feed(count)

    @rule(hub=hubs, skip=limits, count=limits)
    def feed_loses(self, hub: int, skip: int, count: int) -> None:
        self.hubs[hub].feed(count, skip)

    @rule(hub=hubs, count=limits)
    def watch(self, hub: int, count: int) -> None:
        self.hubs[hub].watch(count)

    @precondition(lambda self: any(hub.log.hole for hub in self.hubs))
    @rule(limit=limits)
    def fill(self, limit: int) -> None:
        next(hub for hub in self.hubs if hub.log.hole).fill(limit)

    @rule(hub=hubs)
    def replace(self, hub: int) -> None:
        if self.hubs[hub].log.is_whole():
            self.hubs[hub].replace()

    @rule(channel=channels, count=limits)
    def trim(self, channel: str, count: int) -> None:
        self.store.trim(channel, count)

    @rule()
    def new_epoch(self) -> None:
        self.store.begin()
        for hub in self.hubs:
            hub.unnoticed.clear()

    @rule(
        hub=hubs,
        names=st.sets(channels, min_size=1),
        came_by=st.sampled_from(["nothing", "page", "earlier", "future", "garbage"]),
        back=st.integers(1, 9),
        room=rooms,
        name=called,
        gzip=st.booleans(),
    )
    def connect(
        self,
        hub: int,
        names: set[str],
        came_by: str,
        back: int,
        room: int,
        name: str,
        gzip: bool,
    ) -> None:
        store = self.store
        client = CheckedReader(store, frozenset(names), name, gzip)
        position = None
        if came_by == "page":
            position = Position(store.epoch, store.number)
        elif came_by == "earlier":
            position = Position(store.epoch, max(store.birth, store.number - back))
        elif came_by == "future":
            client.lost = True
            position = Position(store.epoch, store.number + back)
        elif came_by == "garbage":
            client.lost = True
            position = Position("", 0)
        if position is not None:
            client.last_id = str(position)
            client.reset(position)
        self.clients.append(client)
        self.hubs[hub].connect(Connection(client, position), room)

    def readers(self) -> list[tuple[World, Connection]]:
        return [(hub, reader) for hub in self.hubs for reader in hub.readers]

    def away(self) -> list[CheckedReader]:
        connected = [id(reader.client) for _, reader in self.readers()]
        return [client for client in self.clients if id(client) not in connected]

    @precondition(lambda self: self.away())
    @rule(hub=hubs, index=indices, room=rooms)
    def come_back(self, hub: int, index: int, room: int) -> None:
        away = self.away()
        client = away[index % len(away)]
        position = Position.parse(client.last_id) if client.last_id else None
        self.hubs[hub].connect(Connection(client, position), room)

    @precondition(lambda self: self.readers())
    @rule(index=indices, room=rooms)
    def grant(self, index: int, room: int) -> None:
        readers = self.readers()
        hub, reader = readers[index % len(readers)]
        hub.grant(reader, room)

    @precondition(lambda self: self.readers())
    @rule(index=indices)
    def cut(self, index: int) -> None:
        readers = self.readers()
        hub, reader = readers[index % len(readers)]
        hub.cut(reader)

    @precondition(lambda self: any(r.wants_page for _, r in self.readers()))
    @rule(index=indices, limit=limits)
    def answer(self, index: int, limit: int) -> None:
        readers = [(hub, reader) for hub, reader in self.readers() if reader.wants_page]
        hub, reader = readers[index % len(readers)]
        hub.answer(reader, limit)

    def teardown(self) -> None:
        for hub in getattr(self, "hubs", ()):
            hub.settle()


def tell(story: str, log: types.ModuleType | None) -> None:
    """Play a story: steps of :class:`Laws`, abbreviated. In the end, all recovers."""
    laws = type("Mutated", (Laws,), {"log": log})()
    steps: dict[str, t.Callable[..., object]] = {
        "connect": lambda hub, names, came_by, back=1, room=ALL, name="A", gzip="": (
            laws.connect(hub, set(names), came_by, back, room, name, gzip == "gzip")
        ),
        "back": lambda hub, index: laws.come_back(hub, index, ALL),
        "publish": lambda channel: laws.publish(channel, 1),
        "spare": lambda name, channel: laws.publish(channel, 1, name),
        "transient": laws.publish_transient,
        "elsewhere": laws.publish_elsewhere,
        "epoch": laws.new_epoch,
        "lose": laws.feed_loses,
    }
    for step in story.split("; "):
        verb, *words = step.split()
        args = [int(word) if word.isdigit() else word for word in words]
        steps.get(verb, getattr(laws, verb, None))(*args)  # type: ignore[misc]
    laws.teardown()
