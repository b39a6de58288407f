"""Runs that ended long ago are forgotten."""

from __future__ import annotations

import json
import typing as t

import pytest
from support.each_store import url as url
from support.held_runs import count_rows
from support.held_runs import end
from support.held_runs import hold
from support.held_runs import in_memory as in_memory
from support.held_runs import queue
from support.held_runs import record_of
from support.held_runs import statuses
from support.held_runs import store as store
from support.held_runs import store_rows

from flask_push._delivery import run_record
from flask_push._delivery.run_rows import Change
from flask_push._delivery.run_rows import KEYS
from flask_push._ipc import ended_runs
from flask_push._ipc.ended_runs import forget_ended
from flask_push._ipc.ended_runs import free_space
from flask_push._ipc.ended_runs import Left
from flask_push._ipc.lost_runs import item_changes
from flask_push.testing._runs_contract import AllThree

DAY = 86400 * 10**6


def forget(store: AllThree, age: float, retention: int = DAY, **more: t.Any) -> Left:
    """Forget what ended so many seconds before a time that is this much later."""
    end = store.read([], after=0).end
    return forget_ended(store, end + round(age * 10**6), retention, **more)


def test_runs_that_ended_an_hour_ago_are_forgotten(store: AllThree) -> None:
    for n in range(3):
        hold(store, f"chat {n}", f"key {n}")
    for n in (2, 0):
        end(store, f"chat {n}")
    assert forget(store, 3500) == Left(old=False, some=True)
    assert count_rows(store, "chat 0") == count_rows(store, "chat 2") == 5
    assert forget(store, 3601) == Left(old=False, some=True)
    assert [count_rows(store, f"chat {n}") for n in range(3)] == [0, 4, 0]
    assert statuses(store, "chat 1") == ["queued", "running"]


def test_a_run_is_not_kept_for_longer_than_the_store_keeps_events(store: AllThree) -> None:
    hold(store)
    end(store)
    assert forget(store, 59, retention=60 * 10**6).some and count_rows(store)
    assert forget(store, 61, retention=60 * 10**6).some and not count_rows(store)
    assert not forget(store, 61, retention=60 * 10**6).some


def test_the_keys_of_a_forgotten_run_are_kept_as_long_as_events(store: AllThree) -> None:
    for n in range(5):
        hold(store, key=f"key {n}")
        end(store)
    hold(store, "b", key="b", process="q")
    assert forget(store, 4000).some
    assert not count_rows(store)
    rows = store.find("a", [f"key {n}" for n in range(5)], kind=KEYS).rows
    assert {row.item for row in rows} == {f"key {n}" for n in range(5)}
    for n, row in enumerate(sorted(rows, key=lambda row: row.item)):
        about = [n + 1, f"id of key {n}", f"key {n}", "done", 1]
        assert json.loads(row.data) == about
    assert forget(store, 86000) == Left(old=False, some=True)
    assert len(store.find("a", [row.item for row in rows], kind=KEYS).rows) == 5
    assert forget(store, 86401).some
    assert not forget(store, 86401).some
    assert not store.find("a", [row.item for row in rows], kind=KEYS).rows
    assert count_rows(store, "b") == 4


def test_an_older_run_is_forgotten_while_a_newer_one_is_active(store: AllThree) -> None:
    hold(store, key="old")
    end(store)
    held = hold(store, key="new")
    assert forget(store, 4000).some
    assert statuses(store) == ["queued", "running"]
    record = record_of(store)
    assert [each.key for each in record.past] == ["old"]
    assert not store.find("a", ["old", "new"], kind=KEYS).rows
    store_rows(store, *held.write(["World"]))


def test_large_runs_are_forgotten_in_several_turns(
    in_memory: AllThree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended_runs, "_MAX_CALLS", 2)
    held = hold(in_memory)
    for n in range(2500):
        positions = in_memory.change(item_changes(held.write([f"{n}"])))
        held = held.written(str(positions[-1]), 1)
    end(in_memory)
    hold(in_memory, "b")
    end(in_memory, "b")
    assert forget(in_memory, 4000).old and count_rows(in_memory) == 505
    assert forget(in_memory, 4000).old is False
    assert not count_rows(in_memory) and not count_rows(in_memory, "b")


def test_there_may_be_more_runs_to_forget_than_were_found(in_memory: AllThree) -> None:
    for n in range(5):
        hold(in_memory, f"chat {n}")
        end(in_memory, f"chat {n}")
    assert forget(in_memory, 4000, limit=2).old
    assert [count_rows(in_memory, f"chat {n}") for n in range(5)] == [0, 0, 5, 5, 5]
    assert forget(in_memory, 4000, limit=2).old
    assert not forget(in_memory, 4000, limit=2).old


def test_a_run_that_begins_while_an_older_one_is_forgotten_stays(
    in_memory: AllThree, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(in_memory, key="old")
    end(in_memory)
    real = run_record.remember

    def remember(channel: str, record: run_record.Record) -> list[Change]:
        changes = real(channel, record)
        queue(in_memory, key="new")
        return changes

    monkeypatch.setattr(ended_runs, "remember", remember)
    assert forget(in_memory, 4000).some
    assert statuses(in_memory) == ["queued"]
    assert [each.key for each in record_of(in_memory).past] == ["old"]
    # The newer record has the key.
    assert not in_memory.find("a", ["old"], kind=KEYS).rows


def test_a_full_store_forgets_the_events_of_the_runs_that_ended_first(
    store: AllThree,
) -> None:
    for n in range(4):
        hold(store, f"chat {n}", key=f"key {n}")
    for n in (2, 0, 1):
        end(store, f"chat {n}")
    end_of_store = store.read([], after=0).end
    free_space(store, limit=2)
    # The record is left, and the end.
    assert [count_rows(store, f"chat {n}") for n in range(4)] == [2, 5, 2, 4]
    assert record_of(store, "chat 0").key == "key 0"
    free_space(store, limit=2)
    assert [count_rows(store, f"chat {n}") for n in range(4)] == [2, 2, 2, 4]
    free_space(store)
    assert store.read([], after=0).end >= end_of_store
    assert forget(store, 4000).some and not count_rows(store, "chat 0")


def test_a_full_store_forgets_an_older_run_while_a_newer_one_is_active(
    store: AllThree,
) -> None:
    hold(store, key="old")
    end(store)
    held = hold(store, key="new")
    free_space(store)
    assert statuses(store) == ["queued", "running"]
    store_rows(store, *held.write(["World"]))
