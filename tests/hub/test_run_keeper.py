"""A hub ends the runs of dead processes, and forgets runs that ended long ago."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import types
import typing as t

import pytest
from support.each_store import url as url
from support.failing import Line
from support.failing import Tracer
from support.held_runs import beat
from support.held_runs import count_rows
from support.held_runs import end
from support.held_runs import hold
from support.held_runs import opened
from support.held_runs import processes
from support.held_runs import queue
from support.held_runs import statuses
from support.held_runs import stop
from support.held_runs import waiting
from support.hubs import HubScene
from support.hubs import run
from support.hubs import Test

from flask_push import NotPublished
from flask_push import Position
from flask_push._delivery import run_record
from flask_push._delivery.options import Options
from flask_push._delivery.run_rows import HOLDERS
from flask_push._delivery.run_rows import QUEUED
from flask_push._delivery.run_rows import RUN
from flask_push._delivery.run_rows import WAITS
from flask_push._hub import deadlines
from flask_push._hub import run_keeper
from flask_push._hub import writer
from flask_push._ipc.lost_runs import mark_dead
from flask_push.brokers import Conflict
from flask_push.brokers import ItemChange
from flask_push.brokers import ItemRow
from flask_push.brokers import ItemsPage
from flask_push.brokers import NotRead
from flask_push.brokers import Retention
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._runs_contract import AllThree
from flask_push.testing._sink import until


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hubs store soon what is wanted."""
    monkeypatch.setattr(writer, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(deadlines, "_PAUSES_SECONDS", (0.01, 0.01))


def run_at(url: str, test: Test, **options: t.Any) -> None:
    with contextlib.closing(opened(url)) as broker:
        run(test, broker=t.cast(MemoryBroker, broker), **options)


def store_of(scene: HubScene) -> AllThree:
    return t.cast(AllThree, scene.broker)


def writers() -> int:
    return [thread.name for thread in threading.enumerate()].count("flask-push")


def kill(store: AllThree, process: str = "p") -> None:
    """As another hub which ends before it has ended the process's runs."""
    assert mark_dead(store, beat(store, process, 2))


class Counting(MemoryBroker):
    """Counts the looks of hubs, which it may refuse."""

    def __init__(self, *args: t.Any) -> None:
        super().__init__(*args)
        self.looks = self.checks = self.sweeps = self.conflicts = 0
        self.fails: Exception | None = None
        self.refused = ""

    def read_items(self, channels: t.Any, **more: t.Any) -> ItemsPage:
        if channels == [HOLDERS] and self.is_in_a_hub():
            self.looks += 1
            if self.fails is not None:
                raise self.fails
        return super().read_items(channels, **more)

    def owned(self, owner: str, **more: t.Any) -> list[ItemRow]:
        self.checks += owner == QUEUED
        self.sweeps += owner == "ended" and more["kind"] == RUN
        return super().owned(owner, **more)

    def change(self, changes: t.Any) -> list[Position]:
        if self.refused and any(each.kind == self.refused for each in changes):
            self.refused = ""
            raise NotPublished("The store is full.")
        try:
            return super().change(changes)
        except Conflict:
            self.conflicts += 1
            raise

    def is_in_a_hub(self) -> bool:
        return threading.current_thread() is not threading.main_thread()


def test_a_hub_of_a_store_without_runs_costs_nothing(url: str) -> None:
    async def test(scene: HubScene) -> None:
        await scene.open("a", user="ann")
        scene.say("a", "x")
        assert scene.hub.run_keeper._timer is None and writers() == 0

    run_at(url, test)


def test_a_store_that_keeps_no_runs_needs_no_keeper() -> None:
    names = "url publish read feed close append read_own change read_items due owned"
    store = MemoryBroker()
    items_only = {name: getattr(store, name) for name in names.split()}
    broker = t.cast(MemoryBroker, types.SimpleNamespace(**items_only))

    async def test(scene: HubScene) -> None:
        assert scene.hub.run_keeper.watches == []
        scene.hub.run_keeper.look()
        scene.hub.missed(1)
        store.change([ItemChange("x", "i", "1", kind=WAITS, ttl=0.01)])
        await until(lambda: not store.read_items(["x"], kind=WAITS, due=True).rows)
        assert scene.hub.run_keeper._timer is None

    run(test, broker=broker)


def test_a_hub_ends_the_runs_of_a_process_that_is_dead(url: str) -> None:
    """The feed brings its row; or a feed that starts finds it."""

    async def test(scene: HubScene) -> None:
        store = store_of(scene)
        for channel in ("a", "b"):
            hold(store, channel, process="p")
            kill(store)
            await until(lambda: not processes(store))
            assert statuses(store, channel)[-1] == "lost"
            scene.hub.stop()
            hold(store, f"{channel}{channel}")
            kill(store)
            scene.hub = scene.make_hub()
            await until(lambda: not processes(store))
            assert statuses(store, channel + channel)[-1] == "lost"

    run_at(url, test, lost_after=0.6)


def test_a_process_without_a_sign_of_life_is_dead(caplog: pytest.LogCaptureFixture) -> None:
    store = Counting()

    async def test(scene: HubScene) -> None:
        hold(store_of(scene))
        hold(store_of(scene), "b", process="q")
        beats = asyncio.create_task(live(store_of(scene)))
        await until(lambda: statuses(store_of(scene))[-1] == "lost")
        await until(lambda: processes(store_of(scene)) == ["q"])
        beats.cancel()
        assert statuses(store_of(scene), "b") == ["queued", "running"]
        assert store.conflicts == 0, "it expected another id than that of its own mark"
        assert "Took process p for dead, because" in caplog.text

    async def live(store: AllThree) -> None:
        for n in range(2, 10_000):
            beat(store, "q", n)
            await asyncio.sleep(0.02)

    run(test, broker=store, lost_after=1.8)


def test_several_hubs_end_each_run_once(url: str) -> None:
    async def test(scene: HubScene) -> None:
        store = store_of(scene)
        hubs = [scene.make_hub() for _ in range(3)]
        for n in range(30):
            hold(store, f"chat {n}")
        kill(store)
        await until(lambda: not processes(store))
        right = ["queued", "running", "lost"]
        assert all(statuses(store, f"chat {n}") == right for n in range(30))
        for hub in hubs:
            hub.stop()

    run_at(url, test, lost_after=0.6)


def test_more_runs_than_fit_into_a_turn_are_ended_at_once() -> None:
    async def test(scene: HubScene) -> None:
        store = store_of(scene)
        for n in range(250):
            hold(store, f"chat {n}")
        # Hubs look as rarely as usual, so all is done after one look.
        scene.hub.run_keeper._holders.lost_after = 0.06
        kill(store)
        await until(lambda: scene.hub.run_keeper._asked)
        scene.hub.run_keeper._holders.lost_after = 3600
        await until(lambda: not processes(store))

    run(test, lost_after=3600)


def rests(keeper: run_keeper.RunKeeper) -> bool:
    return not keeper._asked and not keeper._timer


def test_a_hub_rests_after_the_last_run_was_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_keeper, "_SWEEP_SECONDS", 0.05)
    store = Counting(Retention(age=0.3))

    async def test(scene: HubScene) -> None:
        keeper = scene.hub.run_keeper
        hold(store_of(scene), key="key")
        await until(lambda: store.looks > 1)
        end(store_of(scene))
        # The process has ended.
        store.change([ItemChange(HOLDERS, "p", None, kind=HOLDERS)])
        await until(lambda: scene.say("x", "time goes by") and rests(keeper))
        assert not count_rows(store_of(scene)) and store.sweeps > 1
        assert "0 processes" in repr(keeper)

    run(test, broker=store, lost_after=0.06)


def test_a_hub_sweeps_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Counting()

    async def test(scene: HubScene) -> None:
        hold(store_of(scene))
        await until(lambda: store.looks > 5)
        assert store.sweeps == 1

    run(test, broker=store, lost_after=0.06)


def test_a_look_that_fails_is_repeated_and_counts_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Counting()

    async def test(scene: HubScene) -> None:
        hold(store_of(scene))
        store.fails = NotRead("down")
        await until(lambda: store.looks > 3)
        assert "Could not change items in the store" in caplog.text
        assert statuses(store_of(scene))[-1] == "running"
        store.fails = None
        kill(store_of(scene))
        await until(lambda: not processes(store_of(scene)))

    run(test, broker=store, lost_after=0.06)


def test_a_busy_hub_looks_although_rows_change_all_the_time() -> None:
    store = Counting()

    async def test(scene: HubScene) -> None:
        keeper = scene.hub.run_keeper
        hold(store_of(scene))
        await until(lambda: store.looks)
        looks = store.looks
        for _ in range(200):
            # The loop is late for its look, and notices a row before it.
            time.sleep(0.02)
            keeper.look()
            await asyncio.sleep(0)
            if store.looks > looks:
                return
        pytest.fail("The hub has not looked.")

    run(test, broker=store, lost_after=0.06)


def test_a_hub_that_may_have_missed_a_row_looks() -> None:
    store = Counting()

    async def test(scene: HubScene) -> None:
        await until(lambda: scene.hub._log.epoch)
        scene.hub.missed(scene.hub._log.end)
        await until(lambda: store.looks)

    run(test, broker=store, lost_after=0.06)


def test_a_hub_that_has_failed_still_notices_a_process() -> None:
    async def test(scene: HubScene) -> None:
        scene.hub._guard(scene.hub._log.channels.__getitem__, "missing")
        (await scene.open("a")).close()
        hold(store_of(scene))
        kill(store_of(scene))
        await until(lambda: not processes(store_of(scene)))

    run(test, lost_after=0.06, retry=0.1)


def test_the_options_say_after_how_many_seconds_a_process_is_dead() -> None:
    async def test(scene: HubScene) -> None:
        assert scene.hub.run_keeper.lost_after == 30
        scene.hub.options = Options(lost_after=7)
        assert scene.hub.run_keeper.lost_after == 7

    run(test)


def test_a_store_that_refuses_a_change_gets_space() -> None:
    store = Counting()

    async def test(scene: HubScene) -> None:
        hold(store_of(scene), "old")
        end(store_of(scene), "old")
        before = count_rows(store_of(scene), "old")
        hold(store_of(scene))
        store.refused = RUN
        kill(store_of(scene))
        await until(lambda: not processes(store_of(scene)))
        assert statuses(store_of(scene))[-1] == "lost"
        assert count_rows(store_of(scene), "old") < before

    run(test, broker=store, lost_after=0.06)


# Runs that wait.


def test_a_hub_ends_a_run_that_was_queued_for_too_long(url: str) -> None:
    async def test(scene: HubScene) -> None:
        store = store_of(scene)
        queue(store, wait=0.05)
        await until(lambda: statuses(store) == ["queued", "lost"])
        assert not waiting(store) and not processes(store)

    run_at(url, test)


def test_a_hub_ends_a_run_that_is_stopped_and_whose_process_does_not_end_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_record, "STOPPING_SECONDS", 0.05)

    async def test(scene: HubScene) -> None:
        store = store_of(scene)
        hold(store)
        stop(store)
        await until(lambda: statuses(store)[-1] == "stopped")
        assert not waiting(store) and processes(store) == ["p"]

    run_at(url, test)


def test_a_hub_unsets_items_beside_runs_that_it_ends() -> None:
    async def test(scene: HubScene) -> None:
        store = store_of(scene)
        for n in range(20):
            queue(store, f"chat {n}", wait=0.01)
            store.change([ItemChange("x", f"i{n}", "1", ttl=0.01)])
        await until(lambda: not store.read_items(["x"], due=True).rows)
        await until(lambda: all(statuses(store, f"chat {n}")[1:] for n in range(20)))

    run(test)


def test_a_hub_ends_queued_runs_after_a_hub_of_an_older_version(url: str) -> None:
    async def test(scene: HubScene) -> None:
        store = store_of(scene)
        scene.hub.stop()
        # Otherwise there would be nothing to see of runs.
        hold(store, "b")
        queue(store)
        store.change([ItemChange(WAITS, "a", None, kind=WAITS)])
        scene.hub = scene.make_hub()
        await until(lambda: statuses(store)[-1] == "lost")
        counts = scene.hub._streams.counts
        # The other one is lost with its process.
        await until(lambda: statuses(store, "b")[-1] == "lost")
        await until(lambda: counts._ended["runs_ended:lost"] == 2)

    run_at(url, test, lost_after=0.6)


def test_queued_runs_are_looked_through_once_in_an_epoch() -> None:
    store = Counting()

    async def test(scene: HubScene) -> None:
        hold(store_of(scene))
        await until(lambda: store.looks > 3)
        assert store.checks == 1
        scene.hub.horizons("another", {run_keeper.PROCESSES: 1}, ())
        await until(lambda: store.checks == 2)

    run(test, broker=store, lost_after=0.06)


# A successor.


def test_a_successor_goes_on_to_look(url: str) -> None:
    async def test(scene: HubScene) -> None:
        store = store_of(scene)
        hold(store)
        await scene.open("a")
        await until(lambda: scene.hub.whole)
        scene.hub = scene.make_hub(scene.hub.freeze())
        await until(lambda: scene.hub.run_keeper._timer or scene.hub.run_keeper._asked)
        kill(store)
        await until(lambda: not processes(store))
        assert statuses(store)[-1] == "lost"

    run_at(url, test, lost_after=0.6)


# Failures of the hub itself.


def end_a_run(line: Line | None = None) -> Tracer:
    """End a run by a hub that may fail at a line, once."""
    tracer = Tracer(line)

    async def test(scene: HubScene) -> None:
        store = store_of(scene)
        with tracer:
            hold(store)
            await until(lambda: scene.hub.run_keeper._asked or tracer.raised)
            kill(store)
            await until(lambda: not processes(store))

    run(test, lost_after=0.06, retry=0.01)
    return tracer


def test_a_hub_that_fails_at_any_line_goes_on_to_end_runs() -> None:
    files = "_hub.run_keeper", "_hub.planned"
    lines = [line for line in end_a_run().lines if line[0] in files]
    assert len(lines) > 15
    for line in lines:
        # Some are reached only if the hub is late, or is not.
        assert any(end_a_run(line).raised for _ in range(10)), line
