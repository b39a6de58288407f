"""Items whose time to live is over are unset by a hub, even if nothing is published."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import os
import threading
import typing as t
from pathlib import Path

import pytest
from support import coroutines
from support.each_store import url as url
from support.failing import Line
from support.failing import Tracer
from support.hub_threads import connect
from support.hub_threads import hub as hub
from support.redises import Clock
from support.servers import until as until_in_thread

from flask_push import Event
from flask_push._delivery.options import Options
from flask_push._hub import deadlines
from flask_push._hub import writer
from flask_push._hub.hub import Hub
from flask_push._hub.thread import ThreadDoor
from flask_push.brokers import ItemChange
from flask_push.brokers import open_broker
from flask_push.brokers.items import UNSET
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.redis import RedisBroker
from flask_push.brokers.sqlite import SqliteBroker
from flask_push.testing._item_judge import Both
from flask_push.testing._item_sink import ItemRecordingSink
from flask_push.testing._sink import until

Open = cabc.Callable[[], Both]


@pytest.fixture
def store(url: str) -> cabc.Iterator[Open]:
    """Opens the same store each time."""
    in_memory = MemoryBroker()
    with contextlib.ExitStack() as stack:

        def opened() -> Both:
            broker = in_memory if url == "memory:" else open_broker(url)
            stack.callback(broker.close)
            return t.cast(Both, broker)

        yield opened


@contextlib.contextmanager
def hub_of(broker: Both) -> cabc.Iterator[Hub]:
    hub = Hub(broker, Options(), asyncio.get_running_loop())
    try:
        yield hub
    finally:
        hub.stop()


def run(test: cabc.Coroutine[t.Any, t.Any, None]) -> None:
    coroutines.run(asyncio.wait_for(test, 30))


def short(count: int = 1, channel: str = "a") -> list[ItemChange]:
    """Items that are due very soon."""
    return [ItemChange(channel, f"i{n}", "x", ttl=0.05) for n in range(count)]


def rows(broker: Both, channel: str = "a") -> list[str]:
    """The types of all rows of a channel."""
    entries = broker.read([channel], after=0, limit=2**30, items=True).entries
    return [entry.type for entry in entries]


def threads() -> int:
    return [thread.name for thread in threading.enumerate()].count("flask-push")


def test_a_hub_without_streams_ends_an_item_that_another_process_has_set(
    store: Open,
) -> None:
    async def test() -> None:
        broker = store()
        with hub_of(store()):
            broker.change([*short(), ItemChange("a", "stays", "x")])
            await until(lambda: rows(broker) == ["message", UNSET])
        assert not broker.due()

    run(test())


def test_a_feed_receives_the_unset_when_nothing_is_published(store: Open) -> None:
    async def test() -> None:
        broker = store()
        sink = ItemRecordingSink(store())
        await sink.watch("a")
        try:
            with hub_of(store()):
                broker.change(short())
                await until(lambda: len(sink.items_of("a")) == 2)
            assert sink.items_of("a") == [("i0", "message", b"x"), ("i0", UNSET, b"")]
        finally:
            sink.feed.close()

    run(test())


def test_an_item_that_was_due_before_the_hub_began_ends(store: Open) -> None:
    async def test() -> None:
        broker = store()
        broker.change([ItemChange("a", "i", "x", ttl=0.01, kind="own")])
        await until(broker.due)
        with hub_of(store()):
            await until(lambda: not broker.due())

    run(test())


@pytest.fixture
def rare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hubs look once."""
    monkeypatch.setattr(deadlines, "_PAUSES_SECONDS", (3600, 3600))
    monkeypatch.setattr(writer, "_PAUSE_SECONDS", 3600)


def test_more_items_than_fit_into_a_batch_end_at_once(store: Open, rare: None) -> None:
    async def test() -> None:
        broker = store()
        count = 2 * writer.MAX_CHANGES + 7
        for start in range(0, count, 500):
            broker.change(short(count)[start : start + 500])
        await until(lambda: len(broker.due(5000)) == count)
        with hub_of(store()):
            await until(lambda: not broker.due())
        # The oldest of so many tombstones are no longer kept.
        assert {*rows(broker)} == {UNSET} and not broker.read_items(["a"], due=True).rows

    run(test())


def test_several_hubs_of_one_store_unset_each_item_once(
    store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "_PAUSES_SECONDS", (0, 0.01))
    monkeypatch.setattr(writer, "_PAUSE_SECONDS", 0.01)

    async def test() -> None:
        broker = store()
        sink = ItemRecordingSink(store())
        await sink.watch("a")
        try:
            with hub_of(store()), hub_of(store()), hub_of(store()):
                for start in range(0, 1000, 100):
                    broker.change(short(start + 100)[start:])
                await until(lambda: rows(broker) == [UNSET] * 1000)
            (last,) = broker.publish([Event("a", "last")])
            await until(lambda: sink.end >= last.number)
            unset = [item for item, type, _ in sink.items_of("a") if type == UNSET]
            assert len(unset) == len(set(unset)) == 1000
        finally:
            sink.feed.close()

    run(test())


class Counting(MemoryBroker):
    looks = 0

    def __init__(self) -> None:
        super().__init__()
        #: How many changes each call of a hub had.
        self.writes: list[int] = []

    def due(self, limit: int = 500) -> list[ItemChange]:
        self.looks += 1
        return super().due(limit)

    def change(self, changes: t.Any) -> t.Any:
        if threading.current_thread() is not threading.main_thread():
            self.writes.append(len(changes))
        return super().change(changes)


def test_several_batches_are_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    def uniform(*between: float) -> float:
        pauses.append(3600)
        return 3600

    monkeypatch.setattr("flask_push._hub.deadlines.random.uniform", uniform)
    broker = Counting()
    broker.change(short(writer.MAX_CHANGES + 100))

    async def test() -> None:
        await until(lambda: len(broker.due(5000)) == writer.MAX_CHANGES + 100)
        with hub_of(broker):
            await until(lambda: pauses)
        assert broker.writes == [writer.MAX_CHANGES, 100] and len(pauses) == 1

    run(test())


def looks(hub: Hub) -> bool:
    """Whether the hub will look for items that are due."""
    return hub._deadlines._looks


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "_PAUSES_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(writer, "_PAUSE_SECONDS", 0.01)


def test_a_hub_of_a_store_whose_items_do_not_end_costs_nothing(often: None) -> None:
    broker = Counting()

    async def test() -> None:
        with hub_of(broker) as hub:
            (position,) = broker.change([ItemChange("a", "stays", "x")])
            await until(lambda: hub.status()["position"] == str(position))
            assert not looks(hub) and threads() == broker.looks == 0
            broker.change(short())
            await until(lambda: rows(broker)[-1] == UNSET)
            # It stops looking when no item ends any more.
            await until(lambda: not looks(hub))
            assert repr(hub._writer) == "<Writer busy=False, 0 wanted>"
            assert broker.looks and broker.writes == [1]
            # It starts to look again when there is one.
            broker.change(short(2)[1:])
            await until(lambda: rows(broker).count(UNSET) == 2)
        assert threads() == 0

    run(test())


def test_a_hub_that_failed_and_began_again_ends_items(often: None) -> None:
    broker = Counting()

    async def test() -> None:
        with hub_of(broker) as hub:
            broker.change([ItemChange("a", "stays", "x", ttl=600)])
            await until(lambda: broker.looks)
            hub._streams.failstop.fail(ZeroDivisionError("a mistake"))
            broker.change(short())
            await until(lambda: UNSET in rows(broker))
            assert looks(hub)

    run(test())


def test_after_a_failure_a_hub_looks_only_if_items_end(often: None) -> None:
    broker = Counting()

    async def test() -> None:
        with hub_of(broker) as hub:
            broker.change([ItemChange("a", "i", "x", ttl=600)])
            await until(lambda: broker.looks)
            # No feed says that it is gone.
            hub._feed.close()
            broker.change([ItemChange("a", "i", None)])
            before = hub._deadlines
            hub._streams.failstop.fail(ZeroDivisionError("a mistake"))
            await until(lambda: not before._looks)
            assert not looks(hub)

    run(test())


def test_a_later_look_that_fails_does_not_end_the_looks(
    often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = MemoryBroker()

    async def test() -> None:
        with hub_of(broker) as hub:
            real, wanted = hub._writer.want, 0

            def want(state: writer.Wanted) -> None:
                nonlocal wanted
                wanted += 1
                if wanted == 2:
                    raise MemoryError
                real(state)

            monkeypatch.setattr(hub._writer, "want", want)
            broker.change([ItemChange("a", "stays", "x", ttl=600)])
            await until(lambda: wanted > 1)
            broker.change(short())
            await until(lambda: UNSET in rows(broker))

    run(test())


class Nothing:
    """Is there already."""

    goes_on, is_there = True, False

    def missing(self, broker: t.Any) -> list[ItemChange]:
        return []

    def answered(self, answer: writer.Answer) -> None:
        self.is_there = True


def test_a_hub_that_will_look_does_not_look_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deadlines, "_PAUSES_SECONDS", (3600, 3600))
    broker = Counting()

    async def test() -> None:
        with hub_of(broker) as hub:
            hub.timed(True)
            await until(lambda: broker.looks == 1 and not hub._writer.busy)
            hub.timed(False)
            hub.timed(True)
            # If the hub wanted to look, it would look first.
            hub._writer.want(nothing := Nothing())
            await until(lambda: nothing.is_there)
            assert broker.looks == 1

    run(test())


def end_an_item(line: Line | None = None) -> Tracer:
    """End an item by a hub that may fail at a line, once."""
    broker = MemoryBroker()
    tracer = Tracer(line)

    async def test() -> None:
        with hub_of(broker), tracer:
            broker.change([ItemChange("a", "stays", "x", ttl=600), *short()])
            await until(lambda: UNSET in rows(broker))
            broker.change(short(2)[1:])
            await until(lambda: rows(broker)[1:] == [UNSET, UNSET])

    run(test())
    return tracer


def test_a_hub_that_fails_at_any_line_goes_on_to_end_items(often: None) -> None:
    names = "_hub.deadlines", "_hub.writer"
    lines = [line for line in end_an_item().lines if line[0] in names]
    assert len(lines) > 15
    for line in lines:
        assert end_an_item(line).raised


def test_a_hub_is_frozen_when_its_writer_is_at_rest() -> None:
    class Gate(Counting):
        inside, open = threading.Event(), threading.Event()

        def due(self, limit: int = 500) -> list[ItemChange]:
            self.inside.set()
            assert self.open.wait(20)
            return super().due(limit)

    broker = Gate()
    broker.change(short())

    async def test() -> None:
        with hub_of(t.cast(Both, broker)) as hub:
            await until(broker.inside.is_set)
            assert not hub.whole
            broker.open.set()
            await until(lambda: hub.whole and rows(broker) == [UNSET])
            # The thread has ended before the successor may write.
            frozen = hub.freeze()
            assert threads() == 0
            broker.change(short(2)[1:])
            successor = Hub(broker, Options(), asyncio.get_running_loop(), frozen)
            await until(lambda: rows(broker) == [UNSET, UNSET])
            successor.stop()

    run(test())


def test_the_time_of_an_item_is_that_of_the_store(tmp_path: Path) -> None:
    with Clock.started(tmp_path) as redis:
        broker = RedisBroker(redis.url)

        async def test() -> None:
            with hub_of(RedisBroker(redis.url)):
                broker.change([ItemChange("a", "i", "x", ttl=0.5)])
                # A jump of its clock ends no time.
                redis.advance(365 * 86400)
                broker.publish([Event("b", "x")])
                broker.change([ItemChange("a", "j", "x", ttl=600)])
                await until(lambda: rows(broker) == ["message", UNSET])
            (row,) = broker.read_items(["a"]).rows
            assert row.item == "j"

        run(test())
        broker.close()


# In a thread of an app.


@pytest.fixture
def broker(tmp_path: Path) -> cabc.Iterator[SqliteBroker]:
    broker = SqliteBroker(tmp_path / "push.db")
    yield broker
    broker.close()


def test_a_hub_in_a_thread_ends_items(hub: ThreadDoor, broker: SqliteBroker) -> None:
    with connect(hub):
        assert threads() == 1
        broker.change(short())
        until_in_thread(lambda: rows(broker) == [UNSET])
        assert threads() == 2
        hub.stop()
        assert threads() == 0


def test_the_hub_of_a_forked_child_ends_items(
    hub: ThreadDoor, broker: SqliteBroker
) -> None:
    with connect(hub):
        # The parent's thread works in the moment of the fork.
        broker.change([*short(400), ItemChange("a", "stays", "x", ttl=600)])
        until_in_thread(lambda: UNSET in rows(broker))
        broker.change(short(400))
        child = os.fork()
        if child == 0:
            try:
                broker.change(short(1, "b"))
                browser = connect(hub)
                until_in_thread(lambda: rows(broker, "b") == [UNSET])
                hub.stop()
                browser.close()
                os._exit(0)
            finally:
                os._exit(1)
        hub.stop()
        _, status = os.waitpid(child, 0)
        assert status == 0
