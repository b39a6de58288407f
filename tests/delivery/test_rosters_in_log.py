"""Readers that watch a roster, held by Hypothesis against :mod:`rosters_world`."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import strategies as st
from support.item_stories import search
from support.item_stories import Step
from support.item_stories import steps
from support.item_stories import World
from support.items_store import ITEMS
from support.items_store import LOG
from support.items_world import Rules
from support.rosters_world import RostersClient
from support.rosters_world import RostersHub
from support.rosters_world import RostersStore

two = st.integers(0, 1)
members = st.sampled_from(["A.ada", "B.ada", "A.bob", "A"])


class RostersWorld(World):
    """Two hubs, and clients that watch the roster."""

    store: RostersStore
    hubs: list[RostersHub]
    clients: list[RostersClient]  # type: ignore[assignment]

    def __init__(self, rules: Rules, pushes: bool) -> None:
        self.store = RostersStore()
        self.hubs = [RostersHub(self.store, rules, pushes) for _ in range(2)]
        self.clients = [
            RostersClient(self.store, claims=False),
            RostersClient(self.store, claims=True),
            RostersClient(self.store, claims=True, every=1),
        ]

    def happen(self, verb: str, *args: t.Any) -> None:
        match verb, args:
            case "enter", (item, value):
                self.store.enter(item, str(value))
            case "exit", (item,):
                self.store.enter(item, None)
            case "read", (hub,):
                self.hubs[hub].read()
            case "watch", (client, watches):
                self.clients[client].cut()
                self.clients[client].watches = bool(watches)
            case _:
                super().happen(verb, *args)

    def settle(self) -> None:
        for client in self.clients:
            if client.hub is None:
                client.connect(self.hubs[0])
        for _ in range(60):
            for hub in self.hubs:
                hub.turn(9)
                hub.read()
                hub.pace()
            for client in self.clients:
                client.deliver(9)
        super().settle()
        for client in self.clients:
            client.check()


#: Everything that can happen.
ALL = st.one_of(
    steps("publish"),
    steps("set", st.sampled_from("ab"), st.integers(1, 2)),
    *[steps("enter", members, st.integers(1, 2))] * 3,
    *[steps("exit", members)] * 2,
    steps("elsewhere"),
    steps("trim", st.integers(1, 3)),
    steps("forget", st.integers(1, 2)),
    steps("fail", st.integers(0, 3)),
    steps("turn", two, st.integers(1, 4)),
    *[steps("turn", two, st.integers(4, 9))] * 2,
    *[steps("read", two)] * 3,
    steps("link", two),
    steps("evict", two, st.sampled_from([LOG, ITEMS]), st.integers(1, 3)),
    steps("lose", two),
    steps("restart", two),
    steps("replace", two),
    *[steps("connect", st.integers(0, 2), two)] * 2,
    steps("cut", st.integers(0, 2)),
    steps("pace", two),
    steps("deliver", st.integers(0, 2), st.integers(1, 3)),
    *[steps("deliver", st.integers(0, 2), st.integers(3, 9))] * 2,
    steps("watch", st.integers(0, 2), st.booleans()),
    steps("eager", st.integers(0, 2), st.booleans()),
)
#: One hub, and the roster alone.
FOCUS = st.one_of(
    *[steps("enter", members, st.integers(1, 2))] * 2,
    *[steps("exit", members)] * 2,
    steps("forget", st.just(2)),
    steps("turn", st.just(0), st.integers(1, 9)),
    *[steps("read", st.just(0))] * 2,
    steps("link", st.just(0)),
    steps("lose", st.just(0)),
    steps("replace", st.just(0)),
    steps("connect", two, st.just(0)),
    steps("cut", two),
    steps("deliver", two, st.integers(1, 9)),
)
#: Readers that go from one hub to the other.
HUBS = st.one_of(
    *[steps("enter", members, st.integers(1, 2))] * 2,
    *[steps("exit", members)] * 2,
    steps("publish"),
    steps("forget", st.just(2)),
    *[steps("turn", two, st.integers(1, 3))] * 2,
    *[steps("read", two)] * 2,
    *[steps("connect", two, two)] * 2,
    *[steps("deliver", two, st.integers(1, 9))] * 3,
)
KINDS = pytest.mark.parametrize("happens", [ALL, FOCUS, HUBS], ids=["all", "focus", "hubs"])


def play(story: t.Sequence[Step], rules: Rules, pushes: bool) -> None:
    """Let this happen, and then everything arrive."""
    world = RostersWorld(rules, pushes)
    for step in story:
        world.happen(*step)
    world.settle()


@KINDS
def test_readers_get_who_is_there_and_every_change(
    happens: st.SearchStrategy[Step],
) -> None:
    search(play, happens, 300)


@pytest.mark.slow
@KINDS
def test_very_many_interleavings_keep_the_promise_of_rosters(
    happens: st.SearchStrategy[Step],
) -> None:
    search(play, happens, 20_000)
