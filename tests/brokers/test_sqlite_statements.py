"""The store's statements, on a database in memory."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import sqlite3
import typing as t

import pytest

from flask_push import Event
from flask_push import Position
from flask_push._event import MAX_NUMBER
from flask_push.brokers import Retention
from flask_push.brokers.sqlite import statements
from flask_push.brokers.sqlite.retention import is_broken
from flask_push.brokers.sqlite.statements import again
from flask_push.brokers.sqlite.statements import Found
from flask_push.brokers.sqlite.statements import last_number
from flask_push.brokers.sqlite.statements import prepare
from flask_push.brokers.sqlite.statements import store
from flask_push.brokers.sqlite.statements import Stored

#: A file of which no more is known to have been committed than is in it.
FOUND = Found(
    inode=7, boot="one", alone=True, doubtful=False, noted=0, seen=Position("", 0)
)


@pytest.fixture
def connection() -> cabc.Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    with contextlib.closing(connection):
        yield connection


def opened(connection: sqlite3.Connection, **found: t.Any) -> str:
    """Open the file, and return the epoch."""
    prepare(connection, None, FOUND._replace(**found))
    assert not connection.in_transaction
    (epoch,) = connection.execute("SELECT epoch FROM store").fetchone()
    return str(epoch)


def put(
    connection: sqlite3.Connection, *events: Event, at: int = 0, noted: int = 0
) -> Stored:
    data = [event.data.encode() for event in events]
    return store(connection, events, data, lambda last: at, noted)


def rows(connection: sqlite3.Connection, *columns: str) -> list[tuple[t.Any, ...]]:
    query = f"SELECT {', '.join(columns)} FROM event ORDER BY number"
    return connection.execute(query).fetchall()


# Opening.


def test_a_new_store_is_empty_and_keeps_its_epoch(connection: sqlite3.Connection) -> None:
    last, _ = prepare(connection, None, FOUND)
    assert last == last_number(connection) > 1.7e15
    assert rows(connection, "*") == []
    assert opened(connection) == opened(connection)


@pytest.mark.parametrize(
    "found",
    [
        {"inode": 8},
        # The machine has been started again.
        {"boot": "two"},
        # More was committed to it, or read of it, than is in it.
        {"noted": MAX_NUMBER},
        {"seen": MAX_NUMBER},
        # It is not known how much was committed.
        {"noted": None},
    ],
)
def test_a_file_that_may_be_another_has_a_new_epoch(
    found: dict[str, t.Any], connection: sqlite3.Connection
) -> None:
    before = opened(connection)
    if "seen" in found:
        found["seen"] = Position(before, found["seen"])
    assert opened(connection, **found) != before


@pytest.mark.parametrize(
    "found",
    [
        # Another container of the same machine.
        {"boot": "two", "alone": False},
        {},
        {"seen": Position("other", MAX_NUMBER)},
    ],
)
def test_a_file_that_is_the_same_keeps_its_epoch(
    found: dict[str, t.Any], connection: sqlite3.Connection
) -> None:
    before = opened(connection)
    assert opened(connection, **found) == before


def test_a_store_remembers_a_number_of_boots(connection: sqlite3.Connection) -> None:
    before = opened(connection)
    for n in range(20):
        assert opened(connection, boot=f"container-{n}", alone=False) == before
    (text,) = connection.execute("SELECT boot FROM store").fetchone()
    assert [pair.split("=")[0] for pair in text.split()] == [
        f"container-{n}" for n in range(4, 20)
    ]


def test_a_store_of_another_version_is_left_as_it_is(
    connection: sqlite3.Connection,
) -> None:
    connection.execute("PRAGMA user_version = 99")
    with pytest.raises(RuntimeError, match="another version of Flask-Push"):
        prepare(connection, None, FOUND)
    assert not connection.in_transaction
    assert connection.execute("SELECT * FROM sqlite_master").fetchall() == []


def test_what_is_kept_is_changed_by_those_who_say_it(
    connection: sqlite3.Connection,
) -> None:
    def kept() -> t.Any:
        return connection.execute("SELECT age, count, max_bytes FROM store").fetchone()

    opened(connection)
    assert kept() == (86400, 1000, 256 * 2**20)
    prepare(connection, Retention(5, 6, 7), FOUND)
    assert kept() == (5, 6, 7)
    opened(connection)
    assert kept() == (5, 6, 7)


def test_a_store_whose_row_does_not_count_its_rows_is_broken(
    connection: sqlite3.Connection,
) -> None:
    opened(connection)
    put(connection, Event("a", "1", key="k"), Event("a", "2"))
    opened(connection, doubtful=True)
    connection.execute("DELETE FROM event WHERE data = ?", (b"2",))
    opened(connection)
    with pytest.raises(sqlite3.DatabaseError, match="is of another one") as caught:
        opened(connection, doubtful=True)
    assert is_broken(caught.value) and not connection.in_transaction


# Writing.


def test_numbers_follow_each_other_and_never_go_back(
    connection: sqlite3.Connection,
) -> None:
    epoch = opened(connection)
    start = last_number(connection)
    stored = put(connection, Event("a", "1"), Event("b", "2"), at=start + 100)
    assert stored.positions == [Position(epoch, start + n) for n in (100, 101)]
    assert stored.last == last_number(connection) == start + 101
    # The clock stands still, or was set back.
    assert put(connection, Event("a", "3"), at=5).last == start + 102


def test_each_event_names_the_one_before_it_on_its_channel(
    connection: sqlite3.Connection,
) -> None:
    opened(connection)
    floor = last_number(connection)
    names = [Event(name, "") for name in "aba"]
    put(connection, *names, at=floor + 10)
    put(connection, Event("a", "", store=False), Event("a", ""), at=floor + 20)
    found = rows(connection, "channel", f"number - {floor}", f"prev - {floor}", "nth")
    assert found == [
        *(("a", 10, 0, 1), ("b", 11, 0, 1), ("a", 12, 10, 2)),
        # One that is not stored is no predecessor.
        *(("a", 20, None, 1), ("a", 21, 12, 3)),
    ]


def test_a_key_is_stored_once_for_its_channel(connection: sqlite3.Connection) -> None:
    opened(connection)
    stored = put(
        connection,
        *(Event("a", "1", key="k"), Event("a", "2", key="k"), Event("b", "3", key="k")),
    )
    first, same, other = stored.positions
    assert first == same != other
    assert [channel for _, channel in stored.added] == ["a", "b"]
    repeated = put(connection, Event("a", "4", key="k"))
    assert repeated.positions == [first]
    assert repeated[2:6] == (stored.last, 0, [], {})
    assert rows(connection, "data") == [(b"1",), (b"3",)]


def test_the_bytes_are_those_of_the_events_and_the_keys(
    connection: sqlite3.Connection,
) -> None:
    opened(connection)
    stored = put(
        connection,
        Event("a", "x" * 50, key="key"),
        Event("a" * 64, "y", "t" * 64),
        Event("a", "z", store=False),
    )
    sizes = [50 + 100, 1 + 60 + 64 + 64, 1 + 100]
    assert rows(connection, "size") == [(size,) for size in sizes]
    assert stored.size == sum(sizes) + 60 + len("a" + "key")
    row = connection.execute("SELECT bytes, passing FROM store").fetchone()
    assert row == (stored.size, sizes[2])


def test_the_excluded_connection_stands_behind_the_type(
    connection: sqlite3.Connection,
) -> None:
    opened(connection)
    put(connection, Event("a", "", "said", exclude="name"), Event("a", ""))
    assert rows(connection, "type") == [("said\0name",), ("message",)]


def test_a_store_that_is_older_than_what_was_committed_is_not_written(
    connection: sqlite3.Connection,
) -> None:
    opened(connection)
    noted = last_number(connection) + 1
    with pytest.raises(sqlite3.DatabaseError, match="it is older") as caught:
        put(connection, Event("a", "1"), noted=noted)
    assert is_broken(caught.value)
    assert rows(connection, "*") == []
    put(connection, Event("a", "1"), noted=noted - 1)


def test_events_that_may_be_stored_are_looked_for(connection: sqlite3.Connection) -> None:
    epoch = opened(connection)
    stored = put(connection, Event("a", "1", key="k"), Event("b", "2"))
    assert again(connection, stored) == stored.positions
    # The positions are of the epoch that the store has now.
    other = opened(connection, inode=8)
    numbers = [number for _, number in stored.positions]
    assert again(connection, stored) == [Position(other, number) for number in numbers]
    assert other != epoch
    # All of them have to be there, or none is.
    connection.execute("DELETE FROM event WHERE channel = 'b'")
    assert again(connection, stored) == []
    # If nothing was added, it can't be known.
    assert again(connection, put(connection, Event("a", "1", key="k"))) == []


@pytest.mark.parametrize("change", ["DELETE FROM store", "UPDATE store SET last = 'x'"])
def test_a_store_without_a_number_has_the_number_0(
    change: str, connection: sqlite3.Connection
) -> None:
    opened(connection)
    connection.execute(change)
    assert last_number(connection) == 0


@pytest.mark.parametrize(
    ("text", "boots"),
    [
        ("one=5 two=-7", {"one": 5, "two": -7}),
        # An id that has the separator in it.
        ("a=b=5", {"a=b": 5}),
        ("", {}),
        ("one=x =5 one", {"": 5}),
        (None, {}),
    ],
)
def test_boots_that_are_none_of_ours_are_left_out(
    text: t.Any, boots: dict[str, int]
) -> None:
    assert statements._boots(text) == boots
