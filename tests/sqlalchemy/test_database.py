"""The rows of an outbox, on each database."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from support.databases import Database

from flask_push._delivery.outbox_ids import ranges_of
from flask_push._delivery.outbox_recent import OutboxRow
from flask_push.sqlalchemy._database import MAX_BYTES
from flask_push.sqlalchemy._database import MAX_ROWS
from flask_push.sqlalchemy._database import OutboxRows
from flask_push.sqlalchemy._table import MAX_REASON
from flask_push.sqlalchemy._table import outbox_table


@pytest.fixture
def rows(database: Database) -> OutboxRows:
    metadata = sa.MetaData()
    table = outbox_table("push_outbox", metadata)
    metadata.create_all(database.engine)
    return OutboxRows(database.engine, table)


def insert(rows: OutboxRows, *texts: str) -> None:
    with rows.engine.begin() as connection:
        connection.execute(sa.insert(rows.table), [{"data": text} for text in texts])


def test_rows_are_read_in_their_order_and_deleted(rows: OutboxRows) -> None:
    insert(rows, *(str(n) for n in range(MAX_ROWS + 3)))
    found = rows.next(())
    assert [row.text for row in found] == [str(n) for n in range(MAX_ROWS)]
    assert rows.count() == MAX_ROWS + 3
    rest = rows.next(ranges_of(row.id for row in found))
    assert [row.text for row in rest] == [str(MAX_ROWS + n) for n in range(3)]
    done = ranges_of(row.id for row in rest)
    assert rows.next(done) == [] == rows.next(done)


def test_a_number_is_never_given_again(rows: OutboxRows) -> None:
    insert(rows, "1")
    (first,) = rows.next(())
    rows.next(ranges_of([first.id]))
    insert(rows, "2")
    assert rows.next(())[0].id > first.id


def test_large_rows_are_read_a_few_at_a_time(rows: OutboxRows) -> None:
    large = "x" * (MAX_BYTES // 2)
    insert(rows, "1", large, large, large, "2")
    found = rows.next(())
    assert [row.text for row in found] == ["1", large, large]
    insert(rows, "y" * (MAX_BYTES * 4))
    rest = rows.next(ranges_of(row.id for row in found))
    assert [len(row.text) for row in rest] == [len(large), 1, MAX_BYTES * 4]


def test_a_refused_row_is_skipped_until_it_is_not(rows: OutboxRows) -> None:
    insert(rows, "1", "2")
    rows.refuse(rows.next(())[0].id, "r" * 10_000)
    assert [row.text for row in rows.next(())] == ["2"] and rows.count() == 1
    with rows.engine.begin() as connection:
        refused = sa.select(rows.table.c.refused).where(rows.table.c.refused.is_not(None))
        assert connection.scalar(refused) == "r" * MAX_REASON
        connection.execute(sa.update(rows.table).values(refused=None))
    assert [row.text for row in rows.next(())] == ["1", "2"]


def test_rows_that_were_deleted_are_put_back_once(rows: OutboxRows) -> None:
    insert(rows, "1", "2", "3")
    found = rows.next(())
    rows.next(ranges_of([found[0].id, found[1].id]))
    rows.restore(found[:2])
    rows.restore(found[:2])
    rows.restore([])
    assert rows.next(()) == found
    insert(rows, "4")
    assert rows.next(())[-1].text == "4"


@pytest.mark.parametrize("count", [1, 40, MAX_ROWS - 2])
def test_a_row_that_another_transaction_has_not_committed_is_neither_read_nor_waited_for(
    database: Database, rows: OutboxRows, count: int
) -> None:
    if database.dialect == "sqlite":
        pytest.skip("SQLite has one writer at a time.")
    before = ["1"] * count
    insert(rows, *before)
    with database.engine.connect() as late:
        late.execute(sa.insert(rows.table), {"data": "2"})
        insert(rows, "3", "4")
        found = rows.next(())
        assert [row.text for row in found] == [*before, "3", "4"]
        assert rows.next(ranges_of(row.id for row in found)) == []
        # Neither does it keep others from inserting.
        insert(rows, "5")
        late.commit()
    assert [row.text for row in rows.next(())] == ["2", "5"]


def test_deleting_what_is_gone_keeps_no_transaction_from_inserting(
    database: Database, rows: OutboxRows
) -> None:
    """MariaDB would lock the gap, if it repeated reads."""
    if database.dialect == "sqlite":
        pytest.skip("SQLite has one writer at a time.")
    with rows._connect() as connection:
        rows._remove(connection, [5, 7])
        with database.engine.begin() as other:
            if database.dialect != "postgresql":
                other.exec_driver_sql("SET innodb_lock_wait_timeout = 1")
            other.execute(sa.insert(rows.table), [{"id": 6, "data": "6"}])
        connection.commit()
    assert [row.id for row in rows.next(())] == [6]


def test_an_error_does_not_close_a_database_in_memory() -> None:
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    metadata = sa.MetaData()
    rows = OutboxRows(engine, outbox_table("push_outbox", metadata))
    metadata.create_all(engine)
    insert(rows, "1")
    with pytest.raises(sa.exc.OperationalError):
        OutboxRows(engine, outbox_table("missing", metadata)).next(())
    assert [row.text for row in rows.next(())] == ["1"]
    engine.dispose()


def test_a_connection_that_fails_is_not_used_again(database: Database) -> None:
    if database.dialect == "sqlite":
        pytest.skip("A connection of SQLite can't be cut.")
    missing = OutboxRows(database.engine, outbox_table("missing", sa.MetaData()))
    with database.engine.connect() as connection:
        before = connection.connection.driver_connection
    with pytest.raises(sa.exc.DBAPIError):
        missing.next(())
    with database.engine.connect() as connection:
        assert connection.connection.driver_connection is not before


def test_other_processes_may_write_while_rows_are_read(sqlite: Database) -> None:
    metadata = sa.MetaData()
    rows = OutboxRows(sqlite.engine, outbox_table("push_outbox", metadata))
    with sqlite.engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    metadata.create_all(sqlite.engine)
    insert(rows, "1", "2")
    done = ranges_of([rows.next(())[0].id])
    impatient = sa.create_engine(sqlite.url, connect_args={"timeout": 0})

    @sa.event.listens_for(sqlite.engine, "before_cursor_execute")
    def executes(connection: object, cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("SELECT"):
            with impatient.begin() as other:
                other.execute(sa.insert(rows.table), {"data": "3"})

    assert [row.text for row in rows.next(done)] == ["2", "3"]
    impatient.dispose()


def test_an_engine_that_echoes_does_not_echo_what_the_relay_asks(
    rows: OutboxRows, caplog: pytest.LogCaptureFixture
) -> None:
    loud = OutboxRows(sa.create_engine(rows.engine.url, echo=True), rows.table)
    insert(loud, "1")
    assert "INSERT" in caplog.text
    caplog.clear()
    assert len(loud.next(())) == 1 and loud.next(ranges_of([1])) == []
    assert not [r for r in caplog.records if "push_outbox" in r.getMessage()]
    loud.engine.dispose()


def test_alembic_makes_the_table_and_then_finds_nothing_to_change(
    database: Database,
) -> None:
    metadata = sa.MetaData()
    outbox_table("push_outbox", metadata)
    with database.engine.begin() as connection:
        context = MigrationContext.configure(connection)
        ((name, table),) = compare_metadata(context, metadata)
        assert (name, table.name) == ("add_table", "push_outbox")
        operations = Operations(context)
        columns = [column._copy() for column in table.columns]
        operations.create_table(
            table.name, *columns, sqlite_autoincrement=True, if_not_exists=False
        )
        assert compare_metadata(context, metadata) == []
    rows = OutboxRows(database.engine, metadata.tables["push_outbox"])
    insert(rows, "x" * 100_000)
    assert rows.next(()) == [OutboxRow(1, "x" * 100_000)]
