"""The rows of an outbox in the app's database. Each call is one short transaction."""

from __future__ import annotations

import collections.abc as cabc
import contextlib

import sqlalchemy as sa

from .._delivery.outbox_ids import ids_in
from .._delivery.outbox_ids import Ranges
from .._delivery.outbox_recent import OutboxRow
from ._table import MAX_REASON

#: How many rows are published together, and how many bytes of them, unless it is one row.
MAX_ROWS, MAX_BYTES = 500, 2**20
# A row that has more is read alone, so that 500 rows are never too many to be read.
_LARGE = 8192
_MYSQL = "mysql", "mariadb"


class OutboxRows:
    def __init__(self, engine: sa.Engine, table: sa.Table) -> None:
        self.engine, self.table = engine, table
        self._dbapi_error: type[Exception] = engine.dialect.loaded_dbapi.Error
        id, data, refused = table.c.id, table.c.data, table.c.refused
        small = sa.case((sa.func.length(data) <= _LARGE, data))
        self._waiting = (
            sa.select(id, small).where(refused.is_(None)).order_by(id).limit(MAX_ROWS)
        )
        self._large = sa.select(data).where(id == sa.bindparam("row"))
        ids = sa.bindparam("ids", expanding=True, literal_execute=True, type_=id.type)
        self._delete = sa.delete(table).where(id.in_(ids))
        self._there = sa.select(id, data).where(id.in_(ids))
        self._first = sa.select(sa.func.min(id)).where(refused.is_(None))
        self._count = sa.select(sa.func.count()).where(refused.is_(None))
        self._refuse = (
            sa.update(table)
            .where(id == sa.bindparam("row"))
            .values(refused=sa.bindparam("reason"))
        )

    def next(self, done: Ranges) -> list[OutboxRow]:
        """Delete rows that are published, and read those that are next.

        When this returns, the rows are deleted: otherwise they would be read again.
        """
        with self._connect() as connection:
            if done:
                self._remove(connection, ids_in(done))
                if connection.dialect.name == "sqlite":
                    # No other process can write while this one does.
                    connection.commit()
            rows = self._read(connection)
            connection.commit()
            return rows

    def _remove(self, connection: sa.Connection, ids: list[int]) -> None:
        if connection.dialect.name not in _MYSQL:
            connection.execute(self._delete, {"ids": ids})
            return
        # Looks up each row by its number. Otherwise, in a small table, it would look at
        # all rows, and wait for those that are not committed.
        name = connection.dialect.identifier_preparer.format_table(self.table)
        numbers = " UNION ALL SELECT ".join(map(str, ids))
        connection.exec_driver_sql(
            f"DELETE {name} FROM (SELECT {ids[0]} AS id UNION ALL SELECT {numbers}) AS done"
            f" STRAIGHT_JOIN {name} ON {name}.id = done.id"
        )

    def _read(self, connection: sa.Connection) -> list[OutboxRow]:
        rows: list[OutboxRow] = []
        size = 0
        for id, text in connection.execute(self._waiting).all():
            if size >= MAX_BYTES:
                break
            if text is None:
                text = connection.scalar(self._large, {"row": id})
            # A row that is gone was deleted by hand.
            if text is not None:
                size += len(text)
                rows.append(OutboxRow(id, text))
        return rows

    def read(self, ranges: Ranges) -> list[OutboxRow]:
        """Those of these rows that are there."""
        with self._connect() as connection:
            found = connection.execute(self._there, {"ids": ids_in(ranges)})
            return [OutboxRow(*row) for row in found]

    def first(self) -> int | None:
        """The number of the row that waits for longest."""
        with self._connect() as connection:
            found: int | None = connection.scalar(self._first)
            return found

    def count(self) -> int:
        """How many rows wait."""
        with self._connect() as connection:
            return connection.scalar(self._count) or 0

    def refuse(self, id: int, reason: str) -> None:
        """Skip a row from now on."""
        with self._connect() as connection:
            values = {"row": id, "reason": reason[:MAX_REASON]}
            connection.execute(self._refuse, values)
            connection.commit()

    def restore(self, rows: cabc.Sequence[OutboxRow]) -> None:
        """Put back rows that were deleted, each with the number that it had."""
        if not rows:
            return
        with self._connect() as connection:
            ids = [row.id for row in rows]
            there = {*connection.scalars(self._there, {"ids": ids})}
            missing = [
                {"id": row.id, "data": row.text} for row in rows if row.id not in there
            ]
            if missing:
                connection.execute(sa.insert(self.table), missing)
            connection.commit()

    @contextlib.contextmanager
    def _connect(self) -> cabc.Iterator[sa.Connection]:
        try:
            with self.engine.connect() as connection:
                # An engine with echo=True must not log what is read ten times a second.
                connection._echo = False
                try:
                    if connection.dialect.name in _MYSQL:
                        # Otherwise it would lock the gaps in which others insert.
                        connection.execution_options(isolation_level="READ COMMITTED")
                    yield connection
                except Exception:
                    # It may be broken, also in a way that SQLAlchemy does not know. One of
                    # SQLite's can't be, and may be the whole database.
                    if connection.dialect.name != "sqlite":
                        connection.invalidate()
                    raise
        except self._dbapi_error as error:
            # SQLAlchemy lets some of the driver's own pass.
            raise sa.exc.SQLAlchemyError(f"{type(error).__name__}: {error}") from error
