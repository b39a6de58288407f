"""PostgreSQL wakes the relay of another process."""

from __future__ import annotations

import collections.abc as cabc
import contextlib

import pytest
import sqlalchemy as sa
from support.databases import Database
from support.outboxes import opened
from support.outboxes import relay_of
from support.outboxes import Shop
from support.servers import until

from flask_push.sqlalchemy import _relaying
from flask_push.sqlalchemy._notify import channel_of
from flask_push.sqlalchemy._notify import Listening
from flask_push.sqlalchemy._notify import may_listen

DRIVERS = "postgresql+psycopg", "postgresql+psycopg2"


@pytest.fixture(params=DRIVERS)
def engine(
    request: pytest.FixtureRequest, postgresql: Database
) -> cabc.Iterator[sa.Engine]:
    engine = sa.create_engine(postgresql.with_driver(request.param))
    yield engine
    engine.dispose()


@pytest.fixture
def shop(engine: sa.Engine) -> cabc.Iterator[Shop]:
    with opened(engine) as shop:
        yield shop


def say(shop: Shop, *texts: str) -> None:
    """Another process does: nothing in this one rings."""
    engine = sa.create_engine(shop.engine.url)
    with engine.begin() as connection:
        for text in texts:
            rows = [{"data": f'{{"channel":"a","data":"{text}"}}'}]
            connection.execute(shop.outbox._insert_and_notify, rows)
    engine.dispose()


def is_told(shop: Shop) -> bool:
    listening = relay_of(shop)._listening
    return listening is not None and listening.works


def test_a_commit_of_another_process_wakes_the_relay(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_relaying, "_POLL_SECONDS", 1.0)
    relay_of(shop).start()
    until(lambda: is_told(shop))
    # From now on it looks by itself no more.
    relay_of(shop)._turns.lease._lost_after = 6000.0
    until(lambda: relay_of(shop)._turns.lease.pause == 1000.0)
    for n in range(20):
        say(shop, str(n))
        until(lambda: len(shop.sent()) == n + 1)  # noqa: B023
    assert shop.sent() == [str(n) for n in range(20)]
    shop.outbox.close()
    assert relay_of(shop)._listening is None


def test_a_transaction_notifies_only_if_it_commits(shop: Shop) -> None:
    # It has proved that it hears.
    relay_of(shop).start()
    until(lambda: is_told(shop))
    listening = Listening(shop.engine, channel_of(shop.outbox.table))
    with contextlib.closing(listening):

        def heard() -> bool:
            listening.take()
            return listening.works

        # Its own proof.
        until(heard)
        listening.works = False
        with shop.engine.connect() as connection:
            with connection.begin(), connection.begin_nested() as savepoint:
                shop.outbox.publish(connection, "a", "1")
                savepoint.rollback()
            assert not heard()
            with connection.begin():
                with connection.begin_nested() as savepoint:
                    shop.outbox.publish(connection, "a", "1")
                    savepoint.rollback()
                shop.outbox.publish(connection, "a", "2")
                assert not heard()
        until(heard)


def test_a_connection_that_is_cut_is_opened_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_relaying, "_LISTEN_SECONDS", 0.1)
    relay_of(shop).start()
    until(lambda: is_told(shop))
    for n in range(3):
        before = relay_of(shop)._listening
        with shop.engine.begin() as connection:
            connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE pid <> pg_backend_pid() AND datname = current_database()"
                )
            )
        until(lambda: relay_of(shop)._listening is not before and is_told(shop))  # noqa: B023
        say(shop, str(n))
        until(lambda: shop.sent()[-1:] == [str(n)])  # noqa: B023
    assert "Could not listen to PostgreSQL for the outbox 'push_outbox'" in caplog.text


def test_a_connection_that_is_closed_is_opened_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_relaying, "_LISTEN_SECONDS", 0.1)
    relay_of(shop).start()
    until(lambda: is_told(shop))
    listening = relay_of(shop)._listening
    assert listening is not None
    listening.close()
    until(lambda: is_told(shop) and relay_of(shop)._listening is not listening)


def test_a_relay_that_gets_no_notification_asks_the_database_often(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a pool that gives each transaction another connection."""
    monkeypatch.setattr(_relaying, "channel_of", lambda table: "elsewhere")
    take = Listening.take

    def take_nothing(self: Listening) -> None:
        take(self)
        self.works = False

    monkeypatch.setattr(Listening, "take", take_nothing)
    # It would not look by itself for long.
    relay_of(shop)._turns.lease._lost_after = 6000.0
    relay_of(shop).start()
    until(lambda: relay_of(shop)._listening)
    assert not is_told(shop)
    say(shop, "1")
    until(lambda: shop.sent() == ["1"])


def test_databases_other_than_postgresql_are_asked(
    sqlite: Database, mariadb: Database, postgresql: Database
) -> None:
    assert may_listen(postgresql.engine)
    assert not may_listen(sqlite.engine) and not may_listen(mariadb.engine)


def test_the_name_by_which_postgresql_notifies_is_not_too_long() -> None:
    for name in "push_outbox", "ä" * 60, "x" * 200:
        assert len(channel_of(sa.Table(name, sa.MetaData())).encode()) <= 63
