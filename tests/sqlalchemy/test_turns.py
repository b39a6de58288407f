"""What a relay does with rows that can't be published, and with a store that loses some."""

from __future__ import annotations

import json
import logging

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.exc import SQLAlchemyError
from support.outboxes import direct as direct
from support.outboxes import Shop
from support.servers import until

from flask_push import Event
from flask_push import Publisher
from flask_push.brokers import ItemChange
from flask_push.brokers import KeepsOwnLogs
from flask_push.brokers import Retention
from flask_push.brokers.memory import MemoryBroker
from flask_push.sqlalchemy import _backlog
from flask_push.sqlalchemy import _database
from flask_push.sqlalchemy._database import OutboxRows
from flask_push.sqlalchemy._table import outbox_table
from flask_push.sqlalchemy._turns import RelayTurns


@pytest.fixture
def turns(direct: Shop) -> RelayTurns:
    rows = OutboxRows(direct.engine, direct.outbox.table)
    return RelayTurns("push_outbox", rows, direct.publisher)


def go(turns: RelayTurns) -> None:
    while turns.turn():
        pass


def empty_the_store(shop: Shop) -> None:
    broker = shop.publisher._broker
    assert isinstance(broker, MemoryBroker)
    broker._begin()


def insert(shop: Shop, *texts: str) -> None:
    with shop.engine.begin() as connection:
        rows = [{"data": text} for text in texts]
        connection.execute(sa.insert(shop.outbox.table), rows)


def text(data: str, channel: str = "a") -> str:
    return json.dumps({"channel": channel, "data": data})


@pytest.mark.parametrize(
    "bad",
    [
        *("no json", "[]", "{}", '{"channel": "a"}', '{"x": 1}', "[" * 10_000),
        '{"disconnect": {}}',
        # Written by hand, or by another version.
        *("null", '{"channel": "a", "data": 5}', '{"channel": ["a"], "data": "1"}'),
        *(
            json.dumps({"channel": "a", "data": "1", name: 7})
            for name in ("type", "key", "store", "exclude", "id", "ttl")
        ),
        '{"channel": "a", "data": "1", "type": "a\\nb"}',
        '{"channel": "a", "data": "\\ud800"}',
        '{"channel": "a", "item": "i", "data": "1", "expect": "1-1"}',
        '{"channel": "a", "item": "i", "data": "1", "ttl": "soon"}',
        '{"channel": "a", "item": "i", "data": null, "version": "1"}',
        # The store refuses it.
        '{"channel": "a", "item": "", "data": "1"}',
        '{"channel": "a", "item": "i", "data": "1", "ttl": -1}',
    ],
)
def test_a_row_that_can_not_be_published_is_skipped_and_the_log_says_so(
    bad: str, direct: Shop, turns: RelayTurns, caplog: pytest.LogCaptureFixture
) -> None:
    insert(direct, text("1"), bad, text("2"), text("3"))
    go(turns)
    assert direct.sent() == ["1", "2", "3"]
    ((_, data, refused),) = direct.rows()
    assert data == bad and refused
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "the row 2 of the outbox 'push_outbox'" in record.getMessage()
    assert "'refused' to NULL" in record.getMessage()
    caplog.clear()
    go(turns)
    assert caplog.records == [] and turns.relayed == 3


def test_new_rows_with_the_numbers_of_published_ones_are_published(
    direct: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    def turns() -> RelayTurns:
        rows = OutboxRows(direct.engine, direct.outbox.table)
        return RelayTurns("push_outbox", rows, direct.publisher, lost_after=0.5)

    insert(direct, text("1"), text("2"))
    # It is killed before it deletes them.
    turns().turn()
    assert direct.sent() == ["1", "2"] and len(direct.rows()) == 2
    direct.outbox.table.metadata.drop_all(direct.engine)
    direct.outbox.table.metadata.create_all(direct.engine)
    insert(direct, text("3"), text("4"))
    other = turns()
    until(lambda: not other.turn() and other.lease.holds)
    assert direct.sent() == ["1", "2", "3", "4"] and direct.rows() == []
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "was emptied or changed by hand: 2 of its rows" in line


def test_new_rows_are_published_if_the_table_was_made_again_before_the_old_were_deleted(
    direct: Shop,
) -> None:
    rows = OutboxRows(direct.engine, direct.outbox.table)
    turns = RelayTurns("push_outbox", rows, direct.publisher)
    insert(direct, text("1"))
    turns.turn()
    assert direct.sent() == ["1"] and len(direct.rows()) == 1
    direct.outbox.table.drop(direct.engine)
    with pytest.raises(SQLAlchemyError):
        turns.turn()
    direct.outbox.table.create(direct.engine)
    insert(direct, text("2"))
    go(turns)
    assert direct.sent() == ["1", "2"] and direct.rows() == []


def test_rows_of_a_full_channel_are_skipped_and_those_of_others_published() -> None:
    publisher = Publisher(MemoryBroker(Retention(items=2)))
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    table = made_table(engine)
    turns = RelayTurns("push_outbox", OutboxRows(engine, table), publisher)
    rows = [{"channel": "a", "item": str(n), "data": "x"} for n in range(5)]
    rows.insert(3, {"channel": "b", "item": "1", "data": "x"})
    with engine.begin() as connection:
        data = [{"data": json.dumps(row)} for row in rows]
        connection.execute(sa.insert(table), data)
    go(turns)
    assert [*publisher.items("a").events] == ["0", "1"]
    assert [*publisher.items("b").events] == ["1"]
    with engine.connect() as connection:
        refused = connection.scalars(sa.select(table.c.refused)).all()
    assert len(refused) == 3 and all("PUSH_MAX_ITEMS" in reason for reason in refused)
    engine.dispose()


def made_table(engine: sa.Engine) -> sa.Table:
    metadata = sa.MetaData()
    table = outbox_table("push_outbox", metadata)
    metadata.create_all(engine)
    return table


def test_a_disconnect_stands_between_the_events_around_it(
    direct: Shop, turns: RelayTurns
) -> None:
    insert(direct, text("1"), '{"disconnect":{"user":"u"}}', text("2"))
    go(turns)
    broker = direct.publisher._broker
    assert isinstance(broker, KeepsOwnLogs)
    (entry,) = broker.read_own("disconnect").entries
    first, second = broker.read(["a"], after=0).entries
    assert first.number < entry.number < second.number


def lose(shop: Shop, batch: int, rows: list[int], holder: str) -> None:
    """The store has what it had after a batch, as after a failover."""
    broker = shop.publisher._broker
    assert isinstance(broker, MemoryBroker)
    broker._log.clear()
    broker._channels.clear()
    ranges = [[id, id] for id in rows]
    data = {"holder": holder, "batch": batch, "rows": ranges, "prior": ["", 0]}
    broker.change([ItemChange("push_outbox", "lease", json.dumps(data), kind="outbox")])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_database, "MAX_ROWS", 2)


def test_batches_that_the_store_has_lost_are_published_again_in_order(
    small: None, direct: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    rows = OutboxRows(direct.engine, direct.outbox.table)
    turns = RelayTurns("push_outbox", rows, direct.publisher)
    insert(direct, *(text(str(n)) for n in range(1, 8)))
    go(turns)
    assert turns.lease.record and turns.lease.record.batch == 4
    lose(direct, 2, [3, 4], turns.lease.name)
    insert(direct, text("8"))
    turns.lease.at = 0
    go(turns)
    go(turns)
    assert direct.sent() == ["5", "6", "7", "8"]
    assert "has lost 3 published rows" in caplog.text and "lost more" not in caplog.text


def test_the_log_says_that_the_store_has_lost_rows_which_the_relay_has_forgotten(
    direct: Shop, turns: RelayTurns, caplog: pytest.LogCaptureFixture
) -> None:
    insert(direct, text("1"))
    go(turns)
    turns.recent.trim(1e12)
    lose(direct, 0, [], turns.lease.name)
    turns.lease.at = 0
    go(turns)
    assert "has lost more rows" in caplog.text


def rename(shop: Shop, old: str, new: str) -> None:
    with shop.engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")


def test_rows_that_the_store_has_lost_are_put_back_even_if_the_database_is_away_first(
    direct: Shop, turns: RelayTurns
) -> None:
    insert(direct, text("1"))
    go(turns)
    lose(direct, 0, [], turns.lease.name)
    turns.lease.at = 0
    rename(direct, "push_outbox", "away")
    with pytest.raises(sa.exc.OperationalError):
        go(turns)
    rename(direct, "away", "push_outbox")
    go(turns)
    assert direct.sent() == ["1"]


def test_of_two_masters_that_each_stored_rows_the_one_that_stays_has_all(
    small: None, direct: Shop
) -> None:
    rows = OutboxRows(direct.engine, direct.outbox.table)
    turns = RelayTurns("push_outbox", rows, direct.publisher)
    insert(direct, *(text(str(n)) for n in range(1, 5)))
    go(turns)
    # The other master has only the first two.
    lose(direct, 1, [1, 2], turns.lease.name)
    turns.lease.at = 0
    insert(direct, text("5"))
    go(turns)
    assert direct.sent() == ["3", "4", "5"]
    # The first one is back. It has four, and not the fifth.
    lose(direct, 2, [3, 4], turns.lease.name)
    turns.lease.at = 0
    go(turns)
    assert direct.sent() == ["5"]


def test_a_holder_that_was_replaced_puts_back_what_a_failover_has_lost(
    direct: Shop, turns: RelayTurns
) -> None:
    insert(direct, text("1"), text("2"))
    go(turns)
    lose(direct, 0, [], turns.lease.name)
    other = RelayTurns("push_outbox", turns.rows, direct.publisher)
    other._hold()
    other.lease._is_silent = True
    other._write(other.lease.take())
    turns.lease.at = 0
    go(turns)
    assert not turns.lease.holds and direct.sent() == []
    go(other)
    assert direct.sent() == ["1", "2"]


def test_an_emptied_store_gets_nothing_again(
    direct: Shop, turns: RelayTurns, caplog: pytest.LogCaptureFixture
) -> None:
    lose(direct, 5, [], "")
    insert(direct, text("1"))
    go(turns)
    empty_the_store(direct)
    insert(direct, text("2"))
    turns.lease.at = 0
    go(turns)
    assert direct.sent() == ["2"]
    assert "The store was emptied" in caplog.text


def test_a_store_that_lost_even_the_lease_gets_all_of_its_first_minute(
    direct: Shop, turns: RelayTurns
) -> None:
    insert(direct, text("1"))
    go(turns)
    empty_the_store(direct)
    insert(direct, text("2"))
    turns.lease.at = 0
    go(turns)
    assert direct.sent() == ["1", "2"]


def test_many_waiting_rows_are_a_warning(
    direct: Shop,
    turns: RelayTurns,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_backlog, "_MANY", 1000)
    monkeypatch.setattr(_backlog, "_SECONDS", 0.0)
    insert(direct, *[text("x")] * 2000)
    go(turns)
    assert "2000 rows of the outbox 'push_outbox' wait" in caplog.text


def test_the_lease_is_given_back_without_rows(direct: Shop, turns: RelayTurns) -> None:
    insert(direct, text("1"))
    assert turns.turn()
    assert direct.rows() and repr(turns) == (
        "<RelayTurns 'push_outbox' [holds the lease, 1 relayed]>"
    )
    turns.release()
    assert not direct.rows() and not turns.lease.holds
    other = RelayTurns("push_outbox", turns.rows, direct.publisher)
    insert(direct, text("2"))
    go(other)
    assert direct.sent() == ["1", "2"]


def test_events_are_published_with_all_that_they_have(
    direct: Shop, turns: RelayTurns
) -> None:
    with orm.Session(direct.engine) as session:
        direct.outbox.publish_many(session, [Event("a", "1", "t", "k"), Event("a", "2")])
        session.commit()
    assert [(e.data, e.type) for e in direct.publisher.history("a", 9).events] == [
        *(("1", "t"), ("2", "message")),
    ]
    assert not direct.rows()
