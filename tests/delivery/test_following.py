"""Readers that follow a run, held by Hypothesis against :mod:`follows_world`."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import Phase
from hypothesis import settings
from hypothesis import strategies as st
from support.follows_store import RunStore
from support.follows_world import FollowClient
from support.follows_world import FollowHub

from flask_push._delivery.followed import RunGroup

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


LIVE: list[Step] = [
    *[step for n in range(4) for step in (("connect", n, 0), ("deliver", n, 500))],
    *[("read", 0), ("answer", 0, 9), ("answer", 0, 9), ("answer", 0, 9)],
]


def hold(examples: int) -> None:
    """Tell stories, half of which begin with clients that are live."""

    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=set(Phase) - {Phase.explain},
        report_multiple_bugs=False,
    )
    @given(
        st.lists(STEPS, min_size=25, max_size=70),
        st.booleans(),
        st.sampled_from([0, 700, 10**6]),
    )
    def run(steps: list[Step], live: bool, max_bytes: int) -> None:
        tell([*(LIVE if live else []), *steps], max_bytes)

    run()


def test_every_follower_gets_the_run_once_and_its_end() -> None:
    hold(300)


@pytest.mark.slow
def test_very_many_stories_keep_the_promise() -> None:
    hold(2_000)


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


@pytest.mark.parametrize(
    "story",
    [
        # Rows are forgotten before the feed watches the channel.
        [("write", 1), ("progress",), ("forget", 4), ("connect", 0, 1)],
        # The end is forgotten, but the hub still has it.
        [
            *[("connect", 0, 1), ("end", "done"), ("forget", 2), ("record",)],
            *[("feed", 1, 4), ("forget", 3)],
        ],
        # The hub has not reached the end when the rows before it are forgotten.
        [
            *[("connect", 0, 0), ("deliver", 0, 500), ("end", "done"), ("forget", 4)],
            *[("feed", 0, 1), ("answer", 0, 2)],
        ],
    ],
)
def test_rows_may_be_forgotten_at_any_moment(story: list[Step]) -> None:
    for max_bytes in 0, 10**6:
        world = tell(story, max_bytes)
        assert world.clients[0].gaps == 1
    assert world.clients[0].status == world.store.ended


def test_a_page_of_another_row_does_not_say_that_all_of_the_run_is_forgotten() -> None:
    begin = [("connect", 0, 0), ("deliver", 0, 500), ("write", 1), ("write", 1)]
    record = [("record",), ("write", 1), ("forget", 5), ("feed", 0, 9), ("answer", 0, 1)]
    world = tell([*begin, *record], max_bytes=0)
    assert world.clients[0].gaps == 1 and world.clients[0].received == 3


def test_rows_that_come_after_a_page_was_read_are_not_forgotten() -> None:
    world = World(0)
    hub, store = world.hubs[0], world.store
    for each in ("connect", 0, 0), ("deliver", 0, 500):
        world.happen(*each)
    reader = world.clients[0].reader
    assert reader is not None and isinstance(reader.group, RunGroup) and reader.wants_page
    store.record()
    store.forget(3)
    page = store.page(reader.cursor, 9)
    store.write(1)
    hub.feed(9)
    reader.wants_page = False
    hub.pump(reader, hub.reading.following.take(reader.group, page))
    assert world.clients[0].gaps == 1 and not world.clients[0].is_done
    world.settle()
    assert world.clients[0].received == 1


def test_a_group_may_begin_while_rows_are_forgotten_that_the_feed_has_not_read() -> None:
    world = World(10**6)
    other: list[Step] = [("connect", 2, 1), ("deliver", 2, 500), ("answer", 1, 9)]
    begin: list[Step] = [("connect", 0, 0), ("deliver", 0, 500), ("answer", 0, 9)]
    forgotten: list[Step] = [("write", 1), ("write", 1), ("forget", 5), ("feed", 1, 0)]
    moved: list[Step] = [("connect", 0, 1), ("deliver", 0, 500), ("read", 1)]
    for each in [*other, *begin, *forgotten, *moved]:
        world.happen(*each)
    world.settle()
    assert world.clients[0].gaps == 1


def test_a_reader_gets_nothing_again_that_its_hub_had_lost() -> None:
    both = [step for n in (0, 1) for step in (("connect", n, n), ("deliver", n, 2000))]
    answer = [("answer", 0, 9), ("answer", 1, 9), ("write", 1)]
    lost = [("feed", 0, 9), ("lose", 1, 1), ("elsewhere",), ("jump", 1)]
    moved = [("connect", 0, 1), ("deliver", 0, 2000), ("write", 1), ("feed", 1, 9)]
    for max_bytes in 0, 10**6:
        tell([*both, *answer, *lost, *moved], max_bytes)


def test_a_reader_is_only_where_nothing_is_missing_for_certain() -> None:
    world = World(10**6)
    hub, client = world.hubs[0], world.clients[0]
    client.last_id = "epoch-E"
    begin: list[Step] = [("connect", 0, 0), ("write", 1), ("feed", 0, 1), ("write", 1)]
    for each in begin:
        world.happen(*each)
    reader = client.reader
    assert reader is not None and hub.log.proved == hub.log.end == reader.cursor + 1
    number = hub.log.end
    lost: list[Step] = [("lose", 0, 1), ("elsewhere",), ("jump", 0), ("deliver", 0, 1)]
    for each in lost:
        world.happen(*each)
    assert hub.log.end > number and reader.rest
    reader.advance_all(hub.reading.read(reader, 10**6) or [])
    frames = hub.reading.read(reader, 10**6)
    assert frames is not None and [at for at, _ in frames] == [number, number]


def test_a_reader_reads_no_other_run_for_the_event_before_its_first() -> None:
    world = World(0)
    world.happen("connect", 3, 0)
    reader = world.clients[3].reader
    assert reader is not None and isinstance(reader.group, RunGroup)
    assert reader.group.begin_page(reader) == world.store.first - 1


def test_a_page_may_not_reach_a_reader_that_needs_the_event_before_it() -> None:
    begin = [("connect", 3, 0), ("answer", 0, 9), ("progress",), ("end", "done")]
    tell([*begin, ("feed", 0, 1), ("feed", 0, 1)], max_bytes=0)


#: A run with packed events, progress, and an end, as its followers see it.
RUN: list[Step] = [
    *[("write", 3), ("progress",), ("write", 1), ("elsewhere",), ("write", 2)],
    *[("progress",), ("end", "failed")],
]


@pytest.mark.parametrize("max_bytes", [0, 10**6])
def test_a_client_that_is_cut_off_after_any_byte_gets_the_rest(max_bytes: int) -> None:
    for size in range(2000):
        world = World(max_bytes)
        client, hub = world.clients[0], world.hubs[0]
        for each in [*RUN[:4], ("connect", 0, 0), ("deliver", 0, size), ("answer", 0, 9)]:
            world.happen(*each)
        for each in RUN[4:]:
            world.happen(*each)
            hub.feed(9)
        for _ in range(9):
            hub.answer(2)
        ended = client.is_done
        world.happen("cut", 0)
        # This hub has no row yet. It must not send all of one of which the client has some.
        world.happen("connect", 0, 1)
        world.happen("deliver", 0, 300)
        world.settle()
        if ended:
            return
    raise AssertionError("it never gets all")


@pytest.mark.parametrize("max_bytes", [0, 10**6])
@pytest.mark.parametrize("client", range(4))
def test_another_hub_continues_in_the_middle_of_any_frame(
    client: int, max_bytes: int
) -> None:
    for size in range(0, 2000, 5):
        world = World(max_bytes)
        hub = world.hubs[0]
        world.happen("connect", client, 0)
        world.happen("deliver", client, size)
        for each in RUN:
            world.happen(*each)
            hub.feed(9)
            hub.answer(2)
        for _ in range(9):
            hub.answer(2)
        if world.clients[client].is_done:
            return
        hub.replace()
        world.settle()
        assert world.clients[client].is_done
    raise AssertionError("it never gets all")
