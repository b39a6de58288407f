"""A process of the app ends a run that no process holds, where there is no hub."""

from __future__ import annotations

import json
import threading
import typing as t

import pytest
from support.each_store import url as url
from support.held_runs import beat
from support.held_runs import count_rows
from support.held_runs import end
from support.held_runs import hold
from support.held_runs import in_memory as in_memory
from support.held_runs import opened
from support.held_runs import processes
from support.held_runs import queue
from support.held_runs import record_of
from support.held_runs import statuses
from support.held_runs import stop
from support.held_runs import store as store
from support.held_runs import store_rows
from support.held_runs import waiting

from flask_push import NotPublished
from flask_push import Publisher
from flask_push import PublishUncertain
from flask_push import Run
from flask_push._app_publisher import AppPublisher
from flask_push._config import Config
from flask_push._delivery import run_record
from flask_push._delivery.run_rows import Change
from flask_push._delivery.run_rows import HOLDERS
from flask_push._delivery.run_rows import KEYS
from flask_push._delivery.run_rows import WAITS
from flask_push._holder import look
from flask_push._holder.look import RunLook
from flask_push._ipc import ended_runs
from flask_push._ipc.lost_runs import mark_dead
from flask_push.brokers import Broker
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._runs_contract import AllThree


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(look, "time", time)
    return time


def kill(store: AllThree, process: str = "p") -> None:
    assert mark_dead(store, beat(store, process, 2))


class Time:
    """Clocks that only a test moves."""

    def __init__(self) -> None:
        self.now, self.wall = 1000.0, 0.0

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return round(self.wall * 1e9)


def look_at(process: RunLook, store: AllThree, channel: str = "a") -> bool:
    return process.look(store, channel, record_of(store, channel))


def test_a_run_of_a_process_that_is_dead_is_lost_at_once(store: AllThree) -> None:
    hold(store)
    process = RunLook(30)
    assert not look_at(process, store) and statuses(store)[-1] == "running"
    kill(store)
    ends: list[str] = []
    for is_changed in (True, False):
        record = record_of(store)
        assert process.look(store, "a", record, ends.append) == is_changed
    assert statuses(store)[-1] == "lost" and ends == ["lost"]


def test_a_run_of_a_process_without_a_row_is_lost_at_once(store: AllThree) -> None:
    hold(store)
    store_rows(store, Change(HOLDERS, HOLDERS, "p", None))
    assert look_at(RunLook(30), store) and statuses(store)[-1] == "lost"


def test_a_run_is_lost_if_this_process_has_seen_no_sign_of_life_for_long_enough(
    store: AllThree, time: Time
) -> None:
    hold(store)
    hold(store, "b")
    process = RunLook(30)
    assert not look_at(process, store)
    time.now += 29
    assert not look_at(process, store)
    # Another process begins to look.
    assert not look_at(RunLook(30), store)
    time.now += 1
    assert look_at(process, store) and statuses(store)[-1] == "lost"
    # Its other runs are lost as soon as any process looks.
    assert look_at(RunLook(30), store, "b")
    assert repr(process) == "<RunLook [1 processes]>"


def test_a_process_that_shows_signs_of_life_loses_no_run(
    store: AllThree, time: Time
) -> None:
    hold(store)
    process = RunLook(30)
    for n in range(2, 6):
        assert not look_at(process, store)
        time.now += 29
        beat(store, n=n)
    time.now += 1
    assert not look_at(process, store) and processes(store) == ["p"]


def test_a_beat_that_is_stored_meanwhile_keeps_the_run(
    in_memory: AllThree, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(in_memory)
    process = RunLook(30)
    look_at(process, in_memory)
    time.now += 30

    def mark(store: AllThree, holder: t.Any) -> t.Any:
        beat(store, n=2)
        return mark_dead(store, holder)

    monkeypatch.setattr(look, "mark_dead", mark)
    assert not look_at(process, in_memory) and statuses(in_memory)[-1] == "running"


# Runs that wait.


def wait_until_due(store: AllThree) -> None:
    pause = threading.Event()
    while not store.due():
        pause.wait(0.01)


def test_a_queued_run_is_lost_after_its_time(store: AllThree) -> None:
    queue(store, wait=0.05)
    wait_until_due(store)
    assert look_at(RunLook(30), store)
    assert statuses(store) == ["queued", "lost"] and not waiting(store)


def test_a_queued_run_waits_even_if_the_clock_of_this_machine_is_ahead(
    store: AllThree, time: Time
) -> None:
    queue(store)
    time.wall = 2**33
    assert not look_at(RunLook(30), store) and waiting(store) == ["a"]


def test_a_queued_run_that_may_wait_for_longer_costs_no_write(time: Time) -> None:
    class Counting(MemoryBroker):
        calls = 0

        def change(self, changes: t.Any) -> t.Any:
            self.calls += 1
            return super().change(changes)

    store = t.cast(AllThree, broker := Counting())
    queue(store)
    before = broker.calls
    assert not look_at(RunLook(30), store) and broker.calls == before


def test_a_queued_run_of_which_nothing_says_until_when_it_waits_is_lost(
    store: AllThree,
) -> None:
    queue(store)
    store_rows(store, Change(WAITS, WAITS, "a", None))
    assert look_at(RunLook(30), store) and statuses(store) == ["queued", "lost"]


def test_a_run_that_is_stopped_ends_after_its_time_or_if_its_process_is_dead(
    store: AllThree, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(store)
    stop(store)
    assert not look_at(RunLook(30), store)
    kill(store)
    assert look_at(RunLook(30), store) and statuses(store)[-1] == "stopped"
    monkeypatch.setattr(run_record, "STOPPING_SECONDS", 0.05)
    monkeypatch.setattr(look, "STOPPING_SECONDS", 0.05)
    hold(store, "b", process="q")
    stop(store, "b")
    wait_until_due(store)
    assert look_at(RunLook(30), store, "b") and statuses(store, "b")[-1] == "stopped"


def test_a_run_that_has_ended_needs_no_look(store: AllThree) -> None:
    hold(store)
    end(store)
    store_rows(store, Change(HOLDERS, HOLDERS, "p", None))
    assert not look_at(RunLook(30), store) and statuses(store)[-1] == "done"


@pytest.mark.parametrize("error", [NotPublished("down"), PublishUncertain("cut")])
def test_a_store_that_refuses_the_end_of_a_run_fails_no_look(error: Exception) -> None:
    class Failing(MemoryBroker):
        fails = False

        def change(self, changes: t.Any) -> t.Any:
            if self.fails:
                raise error
            return super().change(changes)

    store = t.cast(AllThree, broker := Failing())
    hold(store)
    mark_dead(store, beat(store, n=2))
    broker.fails = True
    assert not look_at(RunLook(30), store)
    broker.fails = False
    assert look_at(RunLook(30), store)


def test_a_process_knows_a_bounded_number_of_others(
    in_memory: AllThree, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "_MAX_SEEN", 10)
    process = RunLook(30)
    for n in range(25):
        hold(in_memory, f"chat {n}", process=f"p{n}")
        look_at(process, in_memory, f"chat {n}")
        assert len(process._seen) <= 10
    time.now += 30
    assert look_at(process, in_memory, "chat 24") and not look_at(
        process, in_memory, "chat 0"
    )


# Runs that have ended.


def test_a_process_forgets_some_old_runs_once_a_minute(
    store: AllThree, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended_runs, "KEEP_ENDED", 0)
    for n in range(6):
        hold(store, f"chat {n}")
        end(store, f"chat {n}")
    beat(store)
    process = RunLook(30)
    process.tidy(store)
    assert all(count_rows(store, f"chat {n}") for n in range(6))
    time.now += 60
    process.tidy(store)
    process.tidy(store)
    assert [bool(count_rows(store, f"chat {n}")) for n in range(6)] == 4 * [False] + [
        *(True, True)
    ]


# The publisher looks.


def test_a_call_that_concerns_a_run_ends_it_first_if_no_process_holds_it(url: str) -> None:
    store = opened(url)
    push = Publisher(t.cast(Broker, store))
    for call in (push.running, push.stop, push.run):
        hold(store, "a", process=call.__name__)
        kill(store, call.__name__)
        found = call("a")
        assert statuses(store)[-2 if call == push.run else -1] == "lost"
        if found:
            assert isinstance(found, Run) and found.status == "queued"
    store.close()


def test_a_publisher_forgets_old_runs_when_it_makes_one(
    in_memory: AllThree, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended_runs, "KEEP_ENDED", 0)
    hold(in_memory, "old", "key")
    end(in_memory, "old")
    push = Publisher(t.cast(Broker, in_memory))
    push.run("a", key="x")
    assert count_rows(in_memory, "old")
    time.now += 60
    push.run("a", key="x")
    assert not count_rows(in_memory, "old")
    # It does not know for how long the store keeps events, and keys with them.
    assert in_memory.find("old", ["key"], kind=KEYS).rows


def test_the_publisher_of_an_app_keeps_keys_as_long_as_the_app_keeps_events(
    in_memory: AllThree, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended_runs, "KEEP_ENDED", 0)
    config = Config(retention=0.01, lost_after=17)
    push = AppPublisher(t.cast(Broker, in_memory), config, json.dumps)
    push.run("a", key="x")
    hold(in_memory, "old", "key")
    end(in_memory, "old")
    for _ in range(3):
        time.now += 60
        pause(0.02)
        beat(in_memory, n=round(time.now))
        push.run("a", key="x")
    assert not in_memory.find("old", ["key"], kind=KEYS).rows
    assert not count_rows(in_memory, "old")


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)
