"""Changes of items in SQLite's file, and what may be stored already."""

from __future__ import annotations

import collections.abc as cabc
import sqlite3
import time
import typing as t
from pathlib import Path

import pytest
from support import item_machine
from support.sqlite_files import broker as broker
from support.sqlite_files import heard
from support.sqlite_files import path as path
from support.sqlite_files import remove
from support.sqlite_files import say
from support.sqlite_items import InMemory
from support.sqlite_items import item
from support.sqlite_items import opened
from support.sqlite_items import SECOND
from support.sqlite_items import Store

from flask_push import Event
from flask_push import NotPublished
from flask_push import Position
from flask_push import PublishUncertain
from flask_push._system import clock
from flask_push.brokers import Conflict
from flask_push.brokers import ItemChange
from flask_push.brokers import ItemsFull
from flask_push.brokers import Retention
from flask_push.brokers.sqlite import item_channel
from flask_push.brokers.sqlite import items
from flask_push.brokers.sqlite import SqliteBroker
from flask_push.brokers.sqlite.database import Database
from flask_push.brokers.sqlite.database import Replaced
from flask_push.brokers.sqlite.retention import is_broken


@pytest.fixture
def store() -> cabc.Iterator[Store]:
    with opened() as store:
        yield store


def values(broker: SqliteBroker, channel: str = "a") -> dict[str, bytes]:
    return {row.item: row.data for row in broker.read_items([channel]).rows}


# One call.


def test_events_and_items_have_numbers_in_the_order_of_the_call(store: Store) -> None:
    store.now += SECOND
    numbers = store.change(
        *(
            Event("a", "1"),
            item("x", "2"),
            item("y", "3"),
            Event("b", "4"),
            Event("a", "5"),
        ),
        item("x", None),
    )
    assert numbers == [store.now + n for n in range(6)]
    assert store.last == numbers[-1]
    found = [(e.number, e.item, e.type, e.data) for e in store.entries("a", "b")]
    assert found == [
        (numbers[0], "", "message", b"1"),
        (numbers[2], "y", "message", b"3"),
        (numbers[3], "", "message", b"4"),
        (numbers[4], "", "message", b"5"),
        (numbers[5], "x", "push:unset", b""),
    ]


def test_nothing_is_stored_if_one_change_is_refused(store: Store) -> None:
    (first,) = store.change(item("x", "1"))
    full = [item(f"{n}", "1") for n in range(10_000)]
    calls: list[list[Event | ItemChange]] = [
        [item("y", "2"), Event("a", "2"), item("x", "2", expect="")],
        [Event("a", "2"), *full],
    ]
    for changes, error in zip(calls, (Conflict, ItemsFull), strict=True):
        with pytest.raises(error):
            store.change(*changes)
        assert store.last == first and store.living() == {"x": b"1"}
        assert [entry.number for entry in store.entries()] == [first]


def test_expectations_are_checked_before_the_first_change(store: Store) -> None:
    with pytest.raises(Conflict, match="'y' of"):
        store.change(item("x", "1"), item("x", "2", expect=""), item("y", "1", expect="-"))
    store.change(item("x", "1", expect=""), item("x", "2", expect=""))
    assert store.living() == {"x": b"2"}


def test_an_expectation_compares_the_epoch_too(store: Store) -> None:
    (position,) = store.store(item("x", "1")).positions
    with pytest.raises(Conflict):
        store.change(item("x", "2", expect=f"12345-{str(position)[6:]}"))
    store.change(item("x", "2", expect=str(position)))
    assert store.living() == {"x": b"2"}


def test_a_row_that_is_due_does_not_meet_an_expectation(store: Store) -> None:
    (position,) = store.store(item("x", "1", ttl=1)).positions
    store.now += SECOND
    with pytest.raises(Conflict):
        store.change(item("x", "2", expect=str(position)))
    assert store.last == position.number
    store.change(item("x", "2", expect=""))
    assert store.living() == {"x": b"2"}


def test_a_call_that_stores_nothing_gives_no_number(store: Store) -> None:
    (first,) = store.change(item("x", "1", version=3, ttl=5))
    before = store.last
    store.now += SECOND
    same = [item("x", "0", version=3), item("x", None, version=2), item("y", None)]
    assert store.change(*same) == [first, first, before]
    assert store.change(item("x", None, due=True)) == [before]
    assert store.last == before and store.living() == {"x": b"1"}
    assert store.count("item_channel") == 1
    store.change(item("z", None, "b"))
    assert store.count("item_channel") == 1, "nothing is known of that channel"


def test_a_ttl_that_is_given_again_moves_the_deadline_and_keeps_the_number(
    store: Store,
) -> None:
    (first,) = store.change(item("x", "1", ttl=10))
    store.now += 9 * SECOND
    assert store.change(item("x", "1", ttl=10)) == [first]
    store.now += 9 * SECOND
    assert store.living() == {"x": b"1"}
    store.now += SECOND
    assert store.living() == {} and [row.item for row in store.rows(due=True)] == ["x"]
    # Once it is due, it is unset first.
    assert store.change(item("x", "1", ttl=10)) == [store.now + 1]


@pytest.mark.parametrize("other", [{"owner": "you"}, {"type": "t"}, {"version": 1}])
def test_a_set_that_differs_from_the_row_is_an_event(
    other: dict[str, t.Any], store: Store
) -> None:
    about: dict[str, t.Any] = {"ttl": 10, "owner": "me"}
    (first,) = store.change(item("x", "1", **about))
    (second,) = store.change(item("x", "1", **{**about, **other}))
    assert second > first


def test_the_unset_of_a_row_that_is_due_keeps_its_version(store: Store) -> None:
    store.change(item("x", "1", version=5, ttl=1))
    store.now += SECOND
    (ended,) = store.change(item("x", "2", version=5))
    assert (ended, store.living()) == (store.now, {})
    store.change(item("x", "3", version=6))
    assert store.living() == {"x": b"3"}


@pytest.mark.parametrize("ttl", [1e-7, 1e300])
def test_any_ttl_can_be_stored(ttl: float, store: Store) -> None:
    store.change(item("x", "1", ttl=ttl))
    assert len(store.rows(due=True)) == 1


def test_a_clock_that_is_behind_makes_nothing_living(store: Store) -> None:
    store.change(item("x", "1", ttl=1))
    store.now += 2 * SECOND
    store.change(item("y", "1"))
    store.now -= 3600 * SECOND
    assert store.living() == {"y": b"1"}
    number = store.last
    assert store.change(item("y", "2")) == [number + 1]
    assert store.change(item("x", None, due=True)) == [number + 2]


def test_a_store_that_is_older_than_what_was_committed_is_not_changed(
    store: Store,
) -> None:
    with pytest.raises(sqlite3.DatabaseError, match="it is older") as caught:
        items.change(store.connection, [item("x", "1")], [b"1"], lambda last: 0, 2**62)
    assert is_broken(caught.value) and not store.living()


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM store",
        "UPDATE store SET last = 'x'",
        "UPDATE store SET age = x'00'",
        "UPDATE store SET epoch = x'00'",
    ],
)
def test_a_row_of_the_store_that_is_not_ours_breaks_it(change: str, store: Store) -> None:
    store.change(item("x", "1"))
    store.connection.execute(change)
    with pytest.raises(sqlite3.DatabaseError, match="its row is") as caught:
        store.store(item("x", "2"))
    assert is_broken(caught.value)


def test_any_changes_leave_what_the_model_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_channel, "MIN_TOMBSTONES", item_machine.TOMBSTONES)
    item_machine.run(t.cast(t.Any, InMemory), 60, monkeypatch)


# What may be stored already.


def test_a_call_that_was_stored_is_found(store: Store) -> None:
    store.change(item("x", "1"))
    for changes in (
        [item("x", "2"), item("y", "2")],
        [item("x", None)],
        [Event("a", "3")],
        [Event("a", "4"), item("x", "4")],
    ):
        stored = store.store(*changes)
        assert store.again(stored) == stored.positions


def test_a_call_that_was_not_stored_is_not_found(store: Store) -> None:
    store.change(item("x", "1"))
    store.now += SECOND
    calls: list[list[Event | ItemChange]] = [
        [item("x", "2"), item("y", "2")],
        [item("x", "2"), item("y", "2", "b")],
        [Event("a", "3")],
        [Event("a", "4"), item("x", "4")],
    ]
    for changes in calls:
        with pytest.raises(ZeroDivisionError), store.transaction():
            data = [b"" for _ in changes]
            lost = items.change(store.connection, changes, data, lambda last: store.now, 0)
            raise ZeroDivisionError
        assert store.again(lost) == []


def test_a_call_of_which_one_row_is_left_is_found(store: Store) -> None:
    stored = store.store(item("x", "1"), item("y", "1"))
    store.change(item("x", "2"))
    assert store.again(stored) == stored.positions


def test_a_call_of_which_one_row_is_certainly_not_there_is_not_found(
    store: Store,
) -> None:
    with pytest.raises(ZeroDivisionError), store.transaction():
        changes = [item("x", "1"), item("y", "1")]
        lost = items.change(
            store.connection, changes, [b"1", b"1"], lambda last: store.now, 0
        )
        raise ZeroDivisionError
    store.now += SECOND
    store.change(item("x", "2"))
    assert store.again(lost) == []


def test_a_call_whose_rows_were_all_replaced_since_is_uncertain(store: Store) -> None:
    stored = store.store(item("x", "1"), item("x", "2"))
    store.change(item("x", "3"))
    with pytest.raises(PublishUncertain, match="changed since"):
        store.again(stored)


def test_a_row_of_another_epoch_with_the_same_number_is_another_one(
    store: Store,
) -> None:
    stored = store.store(item("x", "1"))
    with pytest.raises(PublishUncertain):
        store.again(stored._replace(epoch="other"))


def test_a_call_whose_tombstone_was_forgotten_since_is_uncertain(store: Store) -> None:
    store.change(item("x", "1"), item("y", "1"))
    stored = store.store(item("x", None))
    store.now += 90_000 * SECOND
    store.change(item("y", "2"))
    assert store.horizon() == stored.last
    with pytest.raises(PublishUncertain):
        store.again(stored)


def test_rows_keep_the_epoch_in_which_they_were_stored_and_events_do_not(
    store: Store,
) -> None:
    stored = store.store(Event("a", "1"), item("x", "1"))
    store.connection.execute("UPDATE store SET epoch = 'after'")
    event, row = stored.positions
    assert store.again(stored) == [Position("after", event.number), row]
    assert [row.position for row in store.rows()] == [row]
    store.change(item("x", "2", expect=str(row)))


# Files that are lost, replaced, busy or broken.


def failing_once(
    monkeypatch: pytest.MonkeyPatch,
    before: cabc.Callable[[], None] = lambda: None,
    after: cabc.Callable[[], None] = lambda: None,
) -> list[int]:
    """The first commit is in doubt. Return the last numbers of all."""
    commit, attempts = Database.commit, []

    def uncertain(database: Database, last: int, size: int) -> None:
        attempts.append(last)
        first = len(attempts) == 1
        if first:
            before()
        commit(database, last, size)
        if first:
            after()
            raise Replaced("for the test")

    monkeypatch.setattr(Database, "commit", uncertain)
    return attempts


def test_items_that_may_be_stored_are_looked_for(
    broker: SqliteBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = failing_once(monkeypatch)
    positions = broker.change([Event("a", "1"), item("x", "1", expect="")])
    assert attempts == [positions[-1].number]
    assert values(broker) == {"x": b"1"} and heard(broker) == [b"1"]


def test_items_that_were_lost_are_stored_again(
    path: Path, broker: SqliteBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = failing_once(monkeypatch, before=lambda: remove(path))
    position = broker.change([Event("a", "1"), item("x", "1", expect="")])[-1]
    assert len(attempts) == 2
    assert broker.read_items(["a"]).rows[0].position == position
    assert heard(broker) == [b"1"]


def test_items_that_may_be_stored_and_were_changed_since_are_uncertain(
    path: Path, broker: SqliteBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = SqliteBroker(path)

    def change() -> None:
        broker._writing._access.lock.release()
        other.change([item("x", "2")])

    failing_once(monkeypatch, after=change)
    with pytest.raises(PublishUncertain):
        broker.change([item("x", "1")])
    assert values(other) == {"x": b"2"}
    other.close()


def test_items_are_copied_when_files_beside_the_database_are_lost(
    path: Path, broker: SqliteBroker
) -> None:
    broker.change([item("x", "1"), item("y", "1")])
    (unset,) = broker.change([item("y", None)])
    Path(f"{path}-shm").unlink()
    (position,) = broker.change([item("z", "1")])
    assert position.epoch != unset.epoch
    assert values(broker) == {"x": b"1", "z": b"1"}
    page = broker.read(["a"], after=0, items=True)
    assert [entry.item for entry in page.entries] == ["x", "y", "z"]


def test_items_stay_when_events_are_deleted_because_the_disk_is_full(
    broker: SqliteBroker,
) -> None:
    broker.change([item("x", "1")])
    broker.publish([Event("a", "x" * 10_000) for _ in range(300)])
    assert broker._writing.make_space(1, 100_000, 2, sure=True)
    assert len(heard(broker)) < 300 and values(broker) == {"x": b"1"}


def test_items_that_a_disk_has_no_space_for_are_not_stored(broker: SqliteBroker) -> None:
    broker.change([item("x", "1")])
    assert broker._writing._access.opened is not None
    connection = broker._writing._access.opened.connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(NotPublished, match="full"):
        broker.change([Event("a", "1"), item("x", "2"), item("y", "y" * 100_000)])
    assert values(broker) == {"x": b"1"} and heard(broker) == []


def test_the_retention_of_events_does_not_concern_items(path: Path) -> None:
    broker = SqliteBroker(path, Retention(age=3600, count=3, bytes=20_000))
    broker.change([item(f"{n}", "x" * 5000) for n in range(20)])
    for n in range(50):
        broker.publish([Event("a", f"{n}")])
    assert len(broker.read_items(["a"], limit=2**20).rows) == 20
    assert heard(broker) == [b"47", b"48", b"49"]
    broker.close()


# Time.


def test_a_deadline_waits_while_the_machine_is_off(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot = tmp_path / "boot_id"
    now = [1000 * SECOND]
    monkeypatch.setattr(clock, "_BOOT_ID", boot)
    monkeypatch.setattr(clock, "since_boot", lambda: now[0])
    monkeypatch.setattr(clock, "_wrong", lambda: 0)
    boot.write_text("first\n")
    broker = SqliteBroker(path)
    (position,) = broker.change([item("x", "1", ttl=60)])
    now[0] += 20 * SECOND
    say(broker)
    broker.close()
    # It was off for long. Its clock begins again, and the wall clock does not count.
    boot.write_text("second\n")
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    now[0] = 5 * SECOND
    assert values(broker) == {"x": b"1"}
    assert broker.read_items(["a"]).epoch != position.epoch
    now[0] += 39 * SECOND
    assert values(broker) == {"x": b"1"} and broker.due() == []
    now[0] += 2 * SECOND
    assert values(broker) == {} and broker.due() == [item("x", None, due=True)]
    broker.change(broker.due())
    assert broker.due() == []
    broker.close()
