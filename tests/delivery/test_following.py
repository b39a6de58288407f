"""Readers that follow a run, held by Hypothesis against :mod:`follows_world`."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from support.follows_store import RunStore
from support.follows_world import FollowClient
from support.follows_world import FollowHub

Step = tuple[t.Any, ...]
two, four = st.integers(0, 1), st.integers(0, 3)


def step(name: str, *args: st.SearchStrategy[t.Any]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(name), *args)


STEPS = st.one_of(
    *[step("write", st.integers(1, 3))] * 4,
    step("progress"),
    step("elsewhere"),
    step("record"),
    step("end", st.sampled_from(["done", "failed", "lost"])),
    step("forget", st.integers(1, 3)),
    *[step("feed", two, st.integers(1, 5))] * 3,
    step("lose", two, st.integers(1, 2)),
    step("jump", two),
    step("read", two),
    step("miss", two),
    step("replace", two),
    *[step("connect", four, two)] * 3,
    step("cut", four),
    *[step("deliver", four, st.integers(1, 40))] * 3,
    *[step("deliver", four, st.integers(100, 2000))] * 2,
    *[step("answer", two, st.integers(1, 3))] * 3,
)


class World:
    def __init__(self, max_bytes: int) -> None:
        self.store = store = RunStore()
        self.hubs = [FollowHub(store, max_bytes) for _ in range(2)]
        self.clients = [
            FollowClient(store),
            FollowClient(store),
            FollowClient(store, "ai-sdk", "chunked"),
            FollowClient(store, "ag-ui", "close"),
        ]

    def happen(self, name: str, *args: t.Any) -> None:
        match name, args:
            case (("write" | "end" | "forget" | "progress" | "elsewhere" | "record"), _):
                getattr(self.store, name)(*args)
            case "feed", (hub, count):
                self.hubs[hub].feed(count)
            case "lose", (hub, count):
                self.hubs[hub].feed(0, lose=count)
            case "jump", (hub,):
                self.hubs[hub].elsewhere()
            case (("read" | "miss" | "replace"), (hub,)):
                getattr(self.hubs[hub], name)()
            case "answer", (hub, limit):
                self.hubs[hub].answer(limit)
            case "connect", (client, hub):
                self.connect(self.clients[client], self.hubs[hub])
            case "cut", (client,):
                self.clients[client].cut()
            case "deliver", (client, room):
                reader, at = self.clients[client].reader, self.clients[client].hub
                if reader is not None and at is not None:
                    at.grant(reader, room)

    def connect(self, client: FollowClient, hub: FollowHub) -> None:
        client.cut()
        if not client.is_done:
            client.connect(hub)

    def settle(self) -> None:
        for client in self.clients:
            if client.hub is None:
                self.connect(client, self.hubs[0])
        for hub in self.hubs:
            hub.settle()
        for client in self.clients:
            client.check()


def tell(steps: list[Step], max_bytes: int = 10**6) -> World:
    world = World(max_bytes)
    for each in steps:
        world.happen(*each)
    world.settle()
    return world


@settings(max_examples=600, deadline=None)
@given(st.lists(STEPS, min_size=5, max_size=60), st.sampled_from([0, 700, 10**6]))
def test_every_follower_gets_the_run_once_and_its_end(
    steps: list[Step], max_bytes: int
) -> None:
    tell(steps, max_bytes)


@pytest.mark.slow
@settings(max_examples=50_000, deadline=None)
@given(st.lists(STEPS, min_size=5, max_size=120), st.sampled_from([0, 700, 10**6]))
def test_very_many_stories_keep_the_promise(steps: list[Step], max_bytes: int) -> None:
    tell(steps, max_bytes)


def test_last_words_depend_on_an_event_that_was_lost_on_its_way() -> None:
    tell(
        [
            *[("connect", 3, 0), ("deliver", 3, 2000), ("answer", 0, 9)],
            *[("write", 1), ("feed", 0, 9)],
            *[("end", "failed"), ("lose", 0, 2), ("feed", 0, 9)],
        ]
    )


@pytest.mark.parametrize("client", [0, 2, 3])
def test_a_row_may_be_lost_before_the_log_s_end(client: int) -> None:
    story = [("write", 1), ("progress",), ("lose", 0, 1), ("connect", client, 0)]
    tell([*story, ("jump", 0)])
    tell([*story, ("jump", 0)], max_bytes=0)


@pytest.mark.parametrize("client", [0, 2])
def test_a_row_may_be_lost_and_forgotten_before_the_log_s_end(client: int) -> None:
    begin = [("connect", client, 0), ("deliver", client, 2000), ("answer", 0, 9)]
    story = [
        ("write", 1),
        ("write", 1),
        ("lose", 0, 1),
        ("jump", 0),
        ("elsewhere",),
        ("forget", 5),
        ("read", 0),
    ]
    world = tell([*begin, *story])
    assert client or world.clients[0].gaps == 1
