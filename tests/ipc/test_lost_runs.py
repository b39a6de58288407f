"""Runs that no process holds any more are ended in the store."""

from __future__ import annotations

import json
import threading
import typing as t

import pytest
from support.each_store import url as url
from support.held_runs import beat
from support.held_runs import change
from support.held_runs import count_rows
from support.held_runs import end
from support.held_runs import hold
from support.held_runs import in_memory as in_memory
from support.held_runs import items_of
from support.held_runs import processes
from support.held_runs import queue
from support.held_runs import record_of
from support.held_runs import statuses
from support.held_runs import stop
from support.held_runs import store as store
from support.held_runs import store_rows
from support.held_runs import waiting

from flask_push._delivery import run_record
from flask_push._delivery.run_rows import Change
from flask_push._delivery.run_rows import NOW
from flask_push._delivery.run_rows import PROGRESS
from flask_push._delivery.run_rows import progress
from flask_push._delivery.run_rows import RUN
from flask_push._delivery.run_rows import WAITS
from flask_push._ipc import lost_runs
from flask_push._ipc.lost_runs import end_due
from flask_push._ipc.lost_runs import end_forgotten
from flask_push._ipc.lost_runs import end_run
from flask_push._ipc.lost_runs import end_runs_of
from flask_push._ipc.lost_runs import end_waiting
from flask_push._ipc.lost_runs import find_record
from flask_push._ipc.lost_runs import item_changes
from flask_push._ipc.lost_runs import mark_dead
from flask_push._system.logs import QuietLogger
from flask_push.brokers import Conflict
from flask_push.brokers import ItemChange
from flask_push.brokers import ItemsFull
from flask_push.brokers import Retention
from flask_push.brokers.items import BOUNDS_OF_KINDS
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._runs_contract import AllThree


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test see its lines. Otherwise each is logged once a minute."""
    monkeypatch.setattr(lost_runs, "_quiet", QuietLogger())


def wait_until_due(store: AllThree) -> None:
    pause = threading.Event()
    while not store.due():
        pause.wait(0.01)


# The runs of a dead process.


def test_all_runs_of_a_dead_process_are_lost_before_it_is_forgotten(
    store: AllThree,
) -> None:
    for n in range(5):
        hold(store, f"chat {n}")
    hold(store, "other", process="q")
    end(store, "chat 3")
    dead = mark_dead(store, beat(store, n=2))
    assert dead is not None
    assert end_runs_of(store, dead, limit=3) == (3, False)
    assert end_runs_of(store, dead, limit=3) == (1, False)
    assert end_runs_of(store, dead) == (0, True)
    assert [statuses(store, f"chat {n}")[-1] for n in range(5)] == [
        *("lost", "lost", "lost", "done", "lost")
    ]
    assert statuses(store, "other") == ["queued", "running"]
    assert processes(store) == ["q"]
    # Another hub does the same.
    assert end_runs_of(store, dead) == (0, True) and processes(store) == ["q"]


def test_a_process_that_is_marked_as_dead_enters_no_run_and_stores_no_beat(
    store: AllThree,
) -> None:
    held = beat(store)
    assert mark_dead(store, held) is not None
    again = Change("holders", "holders", "p", "{}", version=2, expect=held.id)
    with pytest.raises(Conflict):
        store_rows(store, again)
    queue(store)
    entered = run_record.enter("a", record_of(store), 1, "p")
    assert isinstance(entered, run_record.Transition)
    with pytest.raises(Conflict):
        store_rows(store, *entered.changes, again)
    assert statuses(store) == ["queued"]


def test_a_process_that_has_stored_a_beat_is_not_marked_as_dead(store: AllThree) -> None:
    before = beat(store)
    beat(store, n=2)
    assert mark_dead(store, before) is None
    assert b"dead" not in store.find("holders", ["p"], kind="holders").rows[0].data


def test_a_run_that_was_stopped_ends_as_stopped(store: AllThree) -> None:
    hold(store)
    stop(store)
    assert end_run(store, "a", record_of(store))
    assert statuses(store)[-2:] == ["stopping", "stopped"]
    assert waiting(store) == []


def test_a_run_that_another_process_has_ended_is_not_ended_again(store: AllThree) -> None:
    hold(store)
    before = record_of(store)
    end(store)
    assert not end_run(store, "a", before)
    assert not end_run(store, "a", record_of(store))
    assert statuses(store) == ["queued", "running", "done"]


def test_the_holder_of_a_run_that_was_lost_stores_nothing_more(store: AllThree) -> None:
    held = hold(store)
    assert end_run(store, "a", record_of(store))
    with pytest.raises(Conflict):
        store_rows(store, *held.write(["late"]))
    ending = held.end("done")
    assert ending is not None
    with pytest.raises(Conflict):
        change(store, ending)


def test_a_lost_run_stays_on_its_list_with_its_last_progress(store: AllThree) -> None:
    said = {"done": 3, "total": 9, "text": "importing"}
    hold(store, listed="jobs", info={"name": "x"})
    item = progress(record_of(store).tag)
    store_rows(store, Change(RUN, "a", item, json.dumps(said), PROGRESS))
    assert end_run(store, "a", record_of(store))
    shown = items_of(store, "jobs")["a"]
    assert shown.items() >= {**said, "status": "lost", "info": {"name": "x"}}.items()


@pytest.mark.parametrize("data", ["", "x", "7", "[]"])
def test_a_progress_that_cannot_be_read_keeps_no_run_from_its_end(
    in_memory: AllThree, data: str
) -> None:
    hold(in_memory, listed="jobs")
    item = progress(record_of(in_memory).tag)
    store_rows(in_memory, Change(RUN, "a", item, data, PROGRESS))
    assert end_run(in_memory, "a", record_of(in_memory))
    assert items_of(in_memory, "jobs")["a"]["status"] == "lost"


def test_a_run_ends_even_if_its_list_is_full(caplog: pytest.LogCaptureFixture) -> None:
    store = t.cast(AllThree, MemoryBroker(Retention(items=1)))
    hold(store, listed="jobs")
    store.change([ItemChange("jobs", "a", None), ItemChange("jobs", "b", "{}")])
    assert end_run(store, "a", record_of(store))
    assert statuses(store)[-1] == "lost" and [*items_of(store, "jobs")] == ["b"]
    assert "Could not show the end of the run on 'a' on its list 'jobs'" in caplog.text


def test_a_run_ends_even_if_older_ones_have_filled_its_channel(
    in_memory: AllThree, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        hold(in_memory)
        end(in_memory)
    hold(in_memory)
    monkeypatch.setitem(BOUNDS_OF_KINDS, RUN, (count_rows(in_memory), 2**20))
    assert end_run(in_memory, "a", record_of(in_memory))
    assert statuses(in_memory) == ["running", "lost"]


class Full(MemoryBroker):
    """A channel of runs that takes nothing more."""

    is_full = True

    def change(self, changes: t.Any) -> t.Any:
        if self.is_full and any(each[0] == "full" and each.kind == RUN for each in changes):
            raise ItemsFull("The channel is full.")
        return super().change(changes)


def test_a_run_that_cannot_be_ended_keeps_no_other_from_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = t.cast(AllThree, Full())
    for channel, wait in (("full", 0.01), ("b", 0.01)):
        MemoryBroker.change(
            t.cast(MemoryBroker, store),
            item_changes(
                t.cast(
                    run_record.Transition,
                    run_record.make(channel, None, "id", "", wait),
                ).changes
            ),
        )
    wait_until_due(store)
    while len(store.due()) < 2:
        pass
    assert end_due(store, store.due()) == []
    assert statuses(store, "full") == ["queued"]
    assert statuses(store, "b") == ["queued", "lost"]
    assert store.due() == [] and "Could not end the run on 'full'" in caplog.text


def test_a_run_of_a_dead_process_that_cannot_be_ended_keeps_no_other_from_its_end() -> None:
    store = t.cast(AllThree, broker := Full())
    broker.is_full = False
    hold(store, "full")
    hold(store, "b")
    dead = mark_dead(store, beat(store, n=2))
    assert dead is not None
    broker.is_full = True
    assert end_runs_of(store, dead) == (1, False)
    assert statuses(store, "b")[-1] == "lost" and processes(store) == ["p"]
    broker.is_full = False
    assert end_runs_of(store, dead) == (1, False)
    assert end_runs_of(store, dead) == (0, True)


def test_a_record_that_cannot_be_read_keeps_no_other_run_from_its_end(
    store: AllThree, caplog: pytest.LogCaptureFixture
) -> None:
    store_rows(store, Change(RUN, "broken", NOW, "x", owner="p"))
    hold(store)
    dead = mark_dead(store, beat(store, n=2))
    assert dead is not None
    assert end_runs_of(store, dead) == (1, False)
    assert end_runs_of(store, dead) == (0, False)
    assert statuses(store)[-1] == "lost" and processes(store) == ["p"]
    assert "Could not end the run on 'broken', because its record" in caplog.text
    assert find_record(store, "broken") is None is find_record(store, "none")


# Runs that wait.


def test_a_run_that_was_queued_for_too_long_is_lost(store: AllThree) -> None:
    queue(store, wait=0.01)
    wait_until_due(store)
    others = [ItemChange("b", "i", None, due=True)]
    assert end_due(store, [*store.due(), *others]) == others
    assert statuses(store) == ["queued", "lost"] and waiting(store) == []
    assert end_due(store, store.due()) == []


def test_a_run_that_is_stopped_ends_after_its_time(
    store: AllThree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_record, "STOPPING_SECONDS", 0.01)
    hold(store)
    stop(store)
    wait_until_due(store)
    assert end_due(store, store.due()) == []
    assert statuses(store)[-2:] == ["stopping", "stopped"] and waiting(store) == []


def test_a_run_that_was_entered_in_time_goes_on(store: AllThree) -> None:
    queue(store, wait=0.01)
    wait_until_due(store)
    due = store.due()
    entered = run_record.enter("a", record_of(store), 1, "p")
    change(store, entered)
    assert end_due(store, due) == [] and not end_waiting(store, "a")
    assert statuses(store) == ["queued", "running"]


def test_a_newer_run_that_waits_is_not_ended_for_an_older_one(store: AllThree) -> None:
    queue(store, wait=0.01)
    wait_until_due(store)
    due = store.due()
    end(store, status="stopped")
    queue(store, key="newer")
    assert end_due(store, due) == [] and not end_waiting(store, "a")
    assert statuses(store) == ["queued", "stopped", "queued"] and waiting(store) == ["a"]


def test_a_row_without_a_run_is_unset(store: AllThree) -> None:
    store_rows(store, Change(WAITS, WAITS, "none", "{}", ttl=0.01))
    wait_until_due(store)
    assert end_due(store, store.due()) == [] and waiting(store) == []


def test_queued_runs_of_which_nothing_says_until_when_they_wait_are_lost(
    store: AllThree,
) -> None:
    """A hub of an older version has unset the row."""
    for n in range(120):
        queue(store, f"chat {n}")
    hold(store, "held")
    gone = [f"chat {n}" for n in (3, 110)]
    store_rows(store, *(Change(WAITS, WAITS, channel, None) for channel in gone))
    assert end_forgotten(store) == 2
    assert [statuses(store, channel)[-1] for channel in gone] == ["lost", "lost"]
    assert statuses(store, "chat 4") == ["queued"]
    assert statuses(store, "held") == ["queued", "running"]
    assert end_forgotten(store) == 0
