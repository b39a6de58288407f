"""Runs in a store, made and held by processes that may be dead."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import typing as t

import pytest

from flask_push._delivery import run_record
from flask_push._delivery.holders import Holder
from flask_push._delivery.run_holder import Holder as RunHolder
from flask_push._delivery.run_record import Record
from flask_push._delivery.run_record import Transition
from flask_push._delivery.run_rows import Change
from flask_push._delivery.run_rows import HOLDERS
from flask_push._delivery.run_rows import NOW
from flask_push._delivery.run_rows import RUN
from flask_push._delivery.run_rows import STATUS
from flask_push._delivery.run_rows import WAITS
from flask_push._event import Position
from flask_push._ipc.lost_runs import find_record
from flask_push._ipc.lost_runs import item_changes
from flask_push.brokers import KeepsRuns
from flask_push.brokers import open_broker
from flask_push.testing._runs_contract import AllThree


def opened(url: str) -> AllThree:
    broker = open_broker(url)
    assert isinstance(broker, KeepsRuns)
    return t.cast(AllThree, broker)


@pytest.fixture
def store(url: str) -> cabc.Iterator[AllThree]:
    with contextlib.closing(opened(url)) as broker:
        yield broker


@pytest.fixture
def in_memory() -> cabc.Iterator[AllThree]:
    with contextlib.closing(opened("memory:")) as broker:
        yield broker


def store_rows(store: KeepsRuns, *changes: Change) -> None:
    store.change(item_changes(changes))


def record_of(store: KeepsRuns, channel: str = "a") -> Record:
    record = find_record(store, channel)
    assert record is not None
    return record


def change(store: KeepsRuns, made: object) -> list[Position]:
    assert isinstance(made, Transition)
    return store.change(item_changes(made.changes))


def queue(
    store: KeepsRuns, channel: str = "a", key: str = "", wait: float = 600, **more: t.Any
) -> None:
    """Make a run."""
    rows = store.find(channel, [NOW], kind=RUN).rows
    before = record_of(store, channel) if rows else None
    change(store, run_record.make(channel, before, f"id of {key}", key, wait, **more))


def beat(store: KeepsRuns, process: str = "p", n: int = 1) -> Holder:
    """Store a sign of life."""
    data = json.dumps({"beat": n, "runs": 1})
    about = Change(HOLDERS, HOLDERS, process, data, version=n)
    (position,) = store.change(item_changes([about]))
    return Holder(process, str(position), n)


def hold(
    store: KeepsRuns, channel: str = "a", key: str = "", process: str = "p", **more: t.Any
) -> RunHolder:
    """Make a run, and let a process hold it, which stores one event."""
    queue(store, channel, key, **more)
    beat(store, process)
    record = record_of(store, channel)
    made = run_record.enter(channel, record, record.serial, process)
    positions = change(store, made)
    assert isinstance(made, Transition)
    record = record_of(store, channel)
    held = RunHolder(channel, record, made.event, str(positions[1]))
    (*_, last) = store.change(item_changes(held.write(["Hello"])))
    return held.written(str(last), 1)


def end(store: KeepsRuns, channel: str = "a", status: run_record.Status = "done") -> None:
    change(store, run_record.end(channel, record_of(store, channel), status))


def stop(store: KeepsRuns, channel: str = "a") -> None:
    change(store, run_record.stop(channel, record_of(store, channel)))


def statuses(store: KeepsRuns, channel: str = "a") -> list[str]:
    """All statuses that the channel's runs have had."""
    rows = store.read_items([channel], kind=RUN, limit=2**40).rows
    return [json.loads(row.data)["status"] for row in rows if row.type == STATUS]


def processes(store: KeepsRuns) -> list[str]:
    """Those that have a row."""
    rows = store.read_items([HOLDERS], kind=HOLDERS, limit=2**40).rows
    return [row.item for row in rows]


def waiting(store: KeepsRuns) -> list[str]:
    """The channels of which a row says until when their run waits."""
    rows = store.read_items([WAITS], kind=WAITS, limit=2**40, due=True).rows
    return [row.item for row in rows]


def count_rows(store: KeepsRuns, channel: str = "a") -> int:
    return len(store.read_items([channel], kind=RUN, limit=2**40).rows)


def items_of(store: KeepsRuns, channel: str) -> dict[str, t.Any]:
    rows = store.read_items([channel], limit=2**40).rows
    return {row.item: json.loads(row.data) for row in rows}
