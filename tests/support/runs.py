"""Publishers that make runs, and what their stores have."""

from __future__ import annotations

import collections.abc as cabc
import json
import typing as t

import pytest

from flask_push import Publisher
from flask_push._delivery.holders import Holder
from flask_push._delivery.run_record import Record
from flask_push._delivery.run_rows import NOW
from flask_push._delivery.run_rows import STATUS
from flask_push._delivery.run_rows import unpack
from flask_push._holder.store import record_of
from flask_push._ipc.lost_runs import end_runs_of
from flask_push._ipc.lost_runs import mark_dead
from flask_push.brokers import ItemRow
from flask_push.brokers import KeepsRuns


@pytest.fixture
def publisher(url: str) -> cabc.Iterator[Publisher]:
    """One for the store of :mod:`.each_store`."""
    publisher = Publisher(url, timeout=20)
    yield publisher
    publisher.close()


def rows_of(publisher: Publisher, channel: str, kind: str = "run") -> t.Sequence[ItemRow]:
    """All rows of the channel's runs, in the order of their numbers."""
    broker = publisher._broker
    assert isinstance(broker, KeepsRuns)
    return broker.read_items([channel], kind=kind, limit=2**40).rows


def record_now(publisher: Publisher, channel: str) -> Record:
    record = record_of(rows_of(publisher, channel))
    assert record is not None
    return record


def holders_of(publisher: Publisher) -> dict[str, int]:
    """The processes that have a row, and the number of the newest beat of each."""
    rows = rows_of(publisher, "holders", "holders")
    return {row.item: row.version or 0 for row in rows}


def take_for_dead(publisher: Publisher, process: str) -> None:
    """Do what hubs do if a process does not beat."""
    broker = publisher._broker
    assert isinstance(broker, KeepsRuns)
    dead = None
    while dead is None:
        (row,) = (r for r in rows_of(publisher, "holders", "holders") if r.item == process)
        # It may be beating.
        dead = mark_dead(broker, Holder.read(row))
    while not end_runs_of(broker, dead)[1]:
        pass


def events_of(publisher: Publisher, channel: str) -> list[str]:
    """The events of all runs of a channel, and the statuses in brackets."""
    found = []
    for row in rows_of(publisher, channel):
        if row.type == STATUS:
            found.append(f"[{json.loads(row.data)['status']}]")
        elif row.item != NOW and not row.item.endswith(".p"):
            found += [each.decode() for each in unpack(row.data)]
    return found
