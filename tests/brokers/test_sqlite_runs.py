"""Rows that were forgotten, in files and in memory."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from flask_push.brokers import ItemChange
from flask_push.brokers import Retention
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.runs import ENDED
from flask_push.brokers.runs import KeepsRuns
from flask_push.brokers.runs import RUN
from flask_push.brokers.sqlite import item_tables
from flask_push.brokers.sqlite import SqliteBroker


def rows(*names: str) -> list[ItemChange]:
    return [ItemChange("a", name, "x", kind=RUN, owner="me") for name in names]


def test_the_rows_of_a_file_add_up_after_some_were_forgotten(tmp_path: Path) -> None:
    broker = SqliteBroker(tmp_path / "push.db")
    positions = broker.change(rows("i", "ä", "k"))
    broker.change([ItemChange("a", "i", None, kind=RUN)])
    connection = sqlite3.connect(tmp_path / "push.db")
    for position in positions:
        broker.forget("a", position.number, kind=RUN)
        assert item_tables.adds_up(connection)
    broker.forget("a", 2**62, kind=RUN)
    assert item_tables.adds_up(connection)
    counts = "SELECT living, size, tombs FROM item_channel WHERE kind = 'run'"
    assert connection.execute(counts).fetchall() == [(0, 0, 0)]
    connection.close()
    broker.close()


@pytest.mark.parametrize("kind", [MemoryBroker, SqliteBroker])
def test_a_channel_without_rows_is_forgotten_when_they_would_be_too_old(
    kind: type[MemoryBroker] | type[SqliteBroker], tmp_path: Path
) -> None:
    retention = Retention(age=0.2)
    broker: KeepsRuns
    if kind is SqliteBroker:
        broker = SqliteBroker(tmp_path / "push.db", retention)
    else:
        broker = MemoryBroker(retention)
    (last,) = broker.change(rows("i"))
    broker.forget("a", last.number, kind=RUN)
    assert broker.read_items(["a"], kind=RUN).horizons == {"a": last.number}
    never = broker.read_items(["never"], kind=RUN).horizons["never"]
    assert never < last.number
    while never < last.number:
        broker.change([ItemChange("b", "i", "x", kind=RUN)])
        never = broker.read_items(["never"], kind=RUN).horizons["never"]
    assert never == last.number
    assert broker.read_items(["a"], kind=RUN).horizons == {"a": last.number}


def test_runs_that_have_ended_are_forgotten_if_the_disk_is_full(tmp_path: Path) -> None:
    broker = SqliteBroker(tmp_path / "push.db")
    broker.change([ItemChange("a", "i", "kept")])
    for channel, owner in ("a", ENDED), ("b", "process"), ("c", ENDED):
        events = [ItemChange(channel, f"{n}", "x" * 10_000, kind=RUN) for n in range(90)]
        record = ItemChange(channel, "now", "{}", kind=RUN)
        last = ItemChange(channel, "last", "", kind=RUN, owner=owner)
        broker.change([*events, record, last])
    assert broker._writing.make_space(1, 100_000, 3, sure=True)
    left = [row.channel for row in broker.read_items("abc", kind=RUN, limit=2**30).rows]
    assert left == ["b"] * 92
    assert [row.data for row in broker.read_items(["a"]).rows] == [b"kept"]
    connection = sqlite3.connect(tmp_path / "push.db")
    assert item_tables.adds_up(connection)
    connection.close()
    assert not broker._writing.make_space(1, 100_000, 3, sure=True)
    broker.close()
