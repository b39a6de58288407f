"""Own logs in SQLite's file: beside what older versions know, and as safe as events."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import sqlite3
import time
import typing as t
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from support import older_sqlite
from support.sinks import run_with
from support.sqlite_files import broker as broker
from support.sqlite_files import heard
from support.sqlite_files import path as path
from support.sqlite_files import remove
from support.sqlite_files import say
from support.sqlite_files import store
from support.sqlite_files import traced
from support.sqlite_stores import ask

from flask_push import Event
from flask_push import NotPublished
from flask_push import NotRead
from flask_push import Position
from flask_push.brokers import OWN_LOGS
from flask_push.brokers.memory import own as memory_own
from flask_push.brokers.memory.own import OwnLog
from flask_push.brokers.sqlite import own
from flask_push.brokers.sqlite import SqliteBroker
from flask_push.brokers.sqlite import statements
from flask_push.brokers.sqlite.database import Database
from flask_push.brokers.sqlite.database import Replaced
from flask_push.brokers.sqlite.retention import is_broken
from flask_push.testing._own_sink import OwnRecordingSink
from flask_push.testing._sink import until

(LOG,) = OWN_LOGS
FOUND = statements.Found(
    inode=7, boot="one", alone=True, doubtful=False, noted=0, seen=Position("", 0)
)


@contextlib.contextmanager
def opened() -> cabc.Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    with contextlib.closing(connection):
        statements.prepare(connection, None, FOUND)
        yield connection


def at(time: int) -> cabc.Callable[[int], int]:
    """A clock that stands still."""
    return lambda last: time


def held(broker: SqliteBroker) -> list[bytes]:
    return [entry.data for entry in broker.read_own(LOG).entries]


def run(
    broker: SqliteBroker, test: cabc.Callable[[OwnRecordingSink], cabc.Awaitable[None]]
) -> None:
    run_with(OwnRecordingSink, broker, test)


# Expiring.

# By entry, which of two logs, the seconds since the one before, its bytes, and the seconds
# for which it is kept.
ENTRIES = st.lists(
    st.tuples(
        st.sampled_from(["disconnect", "other"]),
        *(st.integers(1, 10), st.integers(0, 40), st.integers(1, 300)),
    ),
    max_size=40,
)


@given(ENTRIES)
@settings(max_examples=200, deadline=None)
def test_a_log_in_a_file_keeps_the_same_entries_as_one_in_memory(
    entries: list[tuple[str, int, int, int]],
) -> None:
    with pytest.MonkeyPatch.context() as patch, opened() as connection:
        for module in own, memory_own:
            patch.setattr(module, "MAX_OWN_ENTRIES", 8)
            patch.setattr(module, "MAX_OWN_BYTES", 200)
        now = statements.last_number(connection)
        logs: dict[str, OwnLog] = {name: OwnLog(now) for name in ("disconnect", "other")}
        for name, seconds, size, keep in entries:
            now += seconds * 1_000_000
            position = own.append(connection, name, b"x" * size, keep, at(now), 0)
            logs[name].append(now, b"x" * size, keep)
            assert position.number == now == statements.last_number(connection)
            assert own.adds_up(connection)
            for log, expected in logs.items():
                for after in 0, expected.horizon, position.number - 50_000_000:
                    page = own.page(connection, log, after)
                    assert page.entries == expected.after(after)
                    assert page.since == max(after, expected.horizon)
                    assert (page.epoch, page.end) == position


def test_numbers_follow_each_other_and_never_go_back() -> None:
    with opened() as connection:
        start = statements.last_number(connection)
        for time, number in (start + 100, start + 100), (5, start + 101):
            position = own.append(connection, LOG, b"x", 60, at(time), 0)
            assert position.number == number


# Older versions.


def test_a_file_of_an_older_version_gets_the_logs_beside_what_it_has(path: Path) -> None:
    with store(path) as old:
        older_sqlite.make(old, birth := time.time_ns() // 1000)
        first = older_sqlite.publish(old, "a", b"1", birth + 1)
    broker = SqliteBroker(path)
    page = broker.read_own(LOG)
    assert (page.since, page.end, list(page.entries)) == (birth, first, [])
    number = broker.append(LOG, b"x", 60).number
    with store(path) as old:
        # Its clock may be behind.
        second = older_sqlite.publish(old, "a", b"2", birth)
        assert second == number + 1
        assert older_sqlite.adds_up(old)
    third = broker.append(LOG, b"y", 60).number
    assert third > second
    assert heard(broker) == [b"1", b"2"] and held(broker) == [b"x", b"y"]
    events = broker.read(["a"], after=0).entries
    assert [entry.prev for entry in events] == [birth, first]
    assert ask(path, "PRAGMA user_version") == 2
    broker.close()


def test_a_file_that_an_older_version_puts_in_the_place_gets_the_logs(path: Path) -> None:
    broker = SqliteBroker(path)
    broker.append(LOG, b"x", 60)
    remove(path)
    with store(path) as old:
        older_sqlite.make(old, time.time_ns() // 1000)
    assert held(broker) == []
    broker.append(LOG, b"y", 60)
    assert held(broker) == [b"y"]
    broker.close()


# Costs.


def test_publishing_runs_no_statement_for_own_logs(broker: SqliteBroker) -> None:
    broker.append(LOG, b"x", 60)
    say(broker)
    with traced(broker._writing) as found:
        say(broker)
    assert found == [
        *("BEGIN IMMEDIATE", "SELECT epoch, last,"),
        *("INSERT INTO event", "UPDATE store SET", "COMMIT"),
    ]


@pytest.mark.parametrize("takes_own_logs", [True, False])
def test_a_look_of_a_feed_has_at_most_one_statement_more(
    takes_own_logs: bool, broker: SqliteBroker
) -> None:
    broker.append(LOG, b"x", 60)

    async def test(hub: OwnRecordingSink) -> None:
        await hub.watch("a")
        feed: t.Any = hub.feed
        if not takes_own_logs:
            feed._own._sink = None
        with traced(feed._database) as found:
            say(broker)
            await until(lambda: hub.entries)
        look = found[: found.index("ROLLBACK") + 1]
        assert look == [
            *("BEGIN", "SELECT epoch, birth,", "SELECT number FROM"),
            "SELECT number, prev,",
            *(["SELECT epoch, last,"] if takes_own_logs else []),
            "ROLLBACK",
        ]

    run(broker, test)


# Files that are lost, full, busy or broken.


def test_a_new_epoch_begins_with_all_of_the_log(path: Path, broker: SqliteBroker) -> None:
    async def test(hub: OwnRecordingSink) -> None:
        await hub.watch("a")
        before = hub.epoch
        number = broker.append(LOG, b"lost", 60).number
        await until(lambda: hub.end >= number)
        remove(path)
        # The sink fails if the epoch is delivered before a page of it.
        await until(lambda: hub.epoch != before)
        first = hub.pages[hub.epoch, LOG][0]
        assert list(first.entries) == [] and first.since <= first.end
        number = broker.append(LOG, b"new", 60).number
        await until(lambda: hub.end >= number)
        assert [entry.data for entry in hub.entries_of(LOG)] == [b"new"]
        hub.check(LOG, [number])

    run(broker, test)


def test_the_log_is_copied_when_files_beside_the_database_are_lost(
    path: Path, broker: SqliteBroker
) -> None:
    epoch = broker.append(LOG, b"1", 60).epoch
    Path(f"{path}-shm").unlink()
    position = broker.append(LOG, b"2", 60)
    assert position.epoch != epoch and held(broker) == [b"1", b"2"]


def test_the_log_stays_when_events_are_deleted_because_the_disk_is_full(
    broker: SqliteBroker,
) -> None:
    broker.append(LOG, b"x", 60)
    broker.publish([Event("a", "x" * 10_000) for _ in range(300)])
    assert broker._writing.make_space(1, 100_000, 2, sure=True)
    assert len(heard(broker)) < 300 and held(broker) == [b"x"]


def test_an_entry_that_may_be_stored_is_looked_for(
    broker: SqliteBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, attempts = Database.commit, []

    def uncertain(database: Database, last: int, size: int) -> None:
        commit(database, last, size)
        attempts.append(last)
        if len(attempts) == 1:
            raise Replaced("for the test")

    monkeypatch.setattr(Database, "commit", uncertain)
    position = broker.append(LOG, b"x", 60)
    assert attempts == [position.number]
    assert broker.read_own(LOG).entries == [(position.number, b"x")]


def test_an_entry_that_was_lost_is_stored_again(
    path: Path, broker: SqliteBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, attempts = Database.commit, []

    def replaced(database: Database, last: int, size: int) -> None:
        attempts.append(last)
        if len(attempts) == 1:
            remove(path)
        commit(database, last, size)

    monkeypatch.setattr(Database, "commit", replaced)
    position = broker.append(LOG, b"x", 60)
    assert len(attempts) == 2
    assert broker.read_own(LOG).entries == [(position.number, b"x")]


def test_a_store_that_is_busy_is_not_written_and_says_so(
    path: Path, broker: SqliteBroker
) -> None:
    say(broker)
    with store(path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(NotPublished, match="The store is busy"):
            broker.append(LOG, b"x", 60)
    assert held(broker) == []


def test_a_store_that_is_older_than_what_was_committed_is_not_written() -> None:
    with opened() as connection:
        noted = statements.last_number(connection) + 1
        with pytest.raises(sqlite3.DatabaseError, match="it is older") as caught:
            own.append(connection, LOG, b"x", 60, at(0), noted)
        assert is_broken(caught.value)
        assert not own.page(connection, LOG, 0).entries


def test_a_store_whose_log_does_not_count_its_entries_is_broken() -> None:
    with opened() as connection:
        for _ in range(2):
            own.append(connection, LOG, b"x", 60, at(0), 0)
        doubtful = FOUND._replace(doubtful=True)
        statements.prepare(connection, None, doubtful)
        connection.execute("DELETE FROM own_entry WHERE number = (SELECT last FROM store)")
        with pytest.raises(sqlite3.DatabaseError, match="is of another one") as caught:
            statements.prepare(connection, None, doubtful)
        assert is_broken(caught.value)


@pytest.mark.parametrize(
    "change", ["DELETE FROM store", "UPDATE own_log SET newest = 'x', horizon = 'y'"]
)
def test_rows_that_are_not_ours_are_an_error(
    change: str, path: Path, broker: SqliteBroker
) -> None:
    broker.append(LOG, b"x", 60)
    assert held(broker) == [b"x"]
    with store(path) as other:
        other.execute(change)
    with pytest.raises(NotRead, match="its row is missing, or is none of ours"):
        broker.read_own(LOG)
    assert held(broker) == [], "it is moved away"


def test_a_log_with_a_row_that_is_not_ours_is_not_written(
    path: Path, broker: SqliteBroker
) -> None:
    epoch = broker.append(LOG, b"x", 60).epoch
    with store(path) as other:
        other.execute("UPDATE own_log SET size = 'x'")
    position = broker.append(LOG, b"y", 60)
    assert position.epoch != epoch and held(broker) == [b"y"]
