"""Rows that were forgotten, in files and in memory."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from flask_push.brokers import ItemChange
from flask_push.brokers import Retention
from flask_push.brokers.memory import MemoryBroker
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
