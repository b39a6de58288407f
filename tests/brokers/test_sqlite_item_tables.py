"""The tables of items in SQLite's file: beside what older versions know, and as safe."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import older_sqlite
from support.servers import TESTS
from support.sqlite_files import broker as broker
from support.sqlite_files import heard
from support.sqlite_files import path as path
from support.sqlite_files import remove
from support.sqlite_files import say
from support.sqlite_files import store as store
from support.sqlite_items import FOUND
from support.sqlite_items import item
from support.sqlite_items import opened
from support.sqlite_stores import ask

from flask_push import Event
from flask_push.brokers import Retention
from flask_push.brokers.sqlite import history
from flask_push.brokers.sqlite import item_reads
from flask_push.brokers.sqlite import item_tables
from flask_push.brokers.sqlite import SqliteBroker
from flask_push.brokers.sqlite import statements
from flask_push.brokers.sqlite.retention import is_broken


def values(broker: SqliteBroker, channel: str = "a") -> dict[str, bytes]:
    return {row.item: row.data for row in broker.read_items([channel]).rows}


# Older versions.


def test_a_file_of_an_older_version_gets_items_beside_what_it_has(path: Path) -> None:
    with store(path) as old:
        older_sqlite.make(old, birth := time.time_ns() // 1000)
        first = older_sqlite.publish(old, "a", b"1", birth + 1)
    broker = SqliteBroker(path)
    page = broker.read_items(["a"])
    assert (page.end, page.rows, page.horizons) == (first, [], {"a": birth})
    number = broker.change([item("x", "1")])[0].number
    with store(path) as old:
        # Its clock may be behind.
        assert older_sqlite.publish(old, "a", b"2", birth) == number + 1
        assert older_sqlite.adds_up(old)
    broker.change([item("x", None), Event("a", "3")])
    with store(path) as old:
        assert older_sqlite.adds_up(old)
    assert heard(broker) == [b"1", b"2", b"3"] and values(broker) == {}
    events = broker.read(["a"], after=0).entries
    assert [entry.prev for entry in events] == [birth, first, number + 1]
    assert ask(path, "PRAGMA user_version") == 2
    broker.close()


def test_a_file_that_an_older_version_puts_in_the_place_gets_items(path: Path) -> None:
    broker = SqliteBroker(path)
    broker.change([item("x", "1")])
    remove(path)
    with store(path) as old:
        older_sqlite.make(old, time.time_ns() // 1000)
    assert values(broker) == {}
    broker.change([item("x", "2", expect="")])
    assert values(broker) == {"x": b"2"}
    broker.close()


def test_an_open_file_that_gets_the_tables_later_has_items(path: Path) -> None:
    with store(path) as old:
        older_sqlite.make(old, time.time_ns() // 1000)
        broker = SqliteBroker(path)
        # The connection of the older process has read the schema without them.
        older_sqlite.publish(old, "a", b"1", 0)
        broker.change([item("x", "1")])
        older_sqlite.publish(old, "a", b"2", 0)
        assert heard(broker) == [b"1", b"2"] and values(broker) == {"x": b"1"}
        broker.close()


# What is kept, and whether it adds up.


def test_the_bounds_are_those_that_were_given_last(path: Path) -> None:
    kept = "SELECT items || ' ' || max_bytes FROM item_store"
    for retention, expected in [
        (None, "10000 4194304"),
        (Retention(items=5, item_bytes=6), "5 6"),
        (None, "5 6"),
        (Retention(), "10000 4194304"),
    ]:
        broker = SqliteBroker(path, retention)
        say(broker)
        broker.close()
        assert ask(path, kept) == expected
    assert ask(path, "SELECT count(*) FROM item_store") == 1


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM item WHERE number = (SELECT max(number) FROM item)",
        "DELETE FROM item WHERE number = (SELECT min(number) FROM item)",
        "UPDATE item SET data = x'0000' WHERE data IS NOT NULL",
        "UPDATE item SET type = type || 'x'",
        "UPDATE item_channel SET tombs = 0",
        "UPDATE item_channel SET living = 9",
        "DELETE FROM item_channel",
    ],
)
def test_a_store_whose_channels_do_not_count_their_rows_is_broken(change: str) -> None:
    with opened() as store:
        store.change(item("x", "ä", type="ü"), item("ÿ", "1"), item("y", "1"))
        store.change(item("y", None))
        doubtful = FOUND._replace(doubtful=True)
        statements.prepare(store.connection, None, doubtful)
        store.connection.execute(change)
        with pytest.raises(sqlite3.DatabaseError, match="is of another one") as caught:
            statements.prepare(store.connection, None, doubtful)
        assert is_broken(caught.value)


def test_a_new_epoch_of_a_file_keeps_its_items(path: Path) -> None:
    with opened() as store:
        (before,) = store.store(item("x", "1", ttl=60)).positions
        statements.prepare(store.connection, None, FOUND._replace(boot="two"))
        (after,) = store.store(item("y", "1")).positions
        assert after.epoch != before.epoch
        assert [row.position for row in store.rows()] == [before, after]


# A process that is killed.


def test_a_call_is_stored_all_or_not_if_its_process_is_killed_anywhere(
    path: Path, broker: SqliteBroker
) -> None:
    """It is killed before its first statement, before its second, and so on."""
    broker.change([item(f"old{n}", "0") for n in range(4)])
    broker.change([item("old0", None), item("old1", "1", ttl=0.000_001)])
    program = [sys.executable, "-m", "apps.killed_items", str(path)]
    killed, before = 0, values(broker)
    while True:
        child = subprocess.run([*program, str(killed)], cwd=TESTS, timeout=30)
        with store(path) as connection:
            assert item_tables.adds_up(connection)
        after = {"old2": b"killed", "old3": b"0", "new": b"killed"}
        found, events = values(broker), heard(broker)
        assert (found, events) in [(before, []), (after, [b"killed", b"again"])]
        broker.publish([Event("b", "goes on")])
        if events:
            break
        killed += 1
    # The last one was killed after its commit, or not at all.
    assert killed > 15 and child.returncode in (0, -9)


# Statements.


def test_every_statement_finds_its_rows_by_an_index() -> None:
    with opened() as items:
        connection = items.connection
        history.select(connection, {"a", "b"})
        items.change(*(item(f"{n}", "1", owner="o") for n in range(30)))
        items.change(*(item(f"{n}", None) for n in range(20)))
        items.change(item("x", "1", "b"), item("x", None, "b"))
        run: set[str] = set()
        items.now += 2 * 86_400_000_000
        connection.set_trace_callback(run.add)
        # These have to find, add, replace and remove rows.
        first = items.store(item("x", "1", ttl=9, version=1, expect=""), item("y", "1"))
        items.again(first)
        items.store(item("z", "1", ttl=9), item("z", "1", ttl=9), item("y", None))
        page = history.page(connection, ["a", "b"], 0, 0, 2**20)
        item_reads.with_items(connection, page, ["a", "b"], 2**20)
        unread = history.unread(connection, first.epoch, 0)
        item_reads.look(connection, unread, 0, 1, ["a"])
        for due in False, True:
            items.rows("a", "b", due=due)
        item_reads.due(connection, lambda last: last, 500)
        item_reads.owned(connection, "o", "", 500)
        connection.set_trace_callback(None)
        plans = [
            (text, step)
            for text in run
            if "item" in text
            for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {text}")
        ]
    assert len({text for text, _ in plans}) > 15
    for table in "item", "item_channel":
        assert any(f"SEARCH {table} USING" in step for _, step in plans)
    for text, step in plans:
        assert "TEMP B-TREE" not in step, text
        if "SCAN item" in step and step != "SCAN item_store":
            # It takes the first entry of an index.
            assert "USING INDEX" in step and "LIMIT 1)" in text, (step, text)
