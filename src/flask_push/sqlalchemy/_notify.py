"""How PostgreSQL wakes the relay of an outbox: each transaction that inserts rows also
notifies, and the relay listens on a connection of its own."""

from __future__ import annotations

import typing as t

import sqlalchemy as sa

# The drivers that can listen without a thread.
_DRIVERS = ("psycopg", "psycopg2")
# Bytes of a name of PostgreSQL's.
_MAX_NAME = 63


def channel_of(table: sa.Table) -> str:
    """The name under which PostgreSQL notifies of the table's rows. If two tables have the
    same, their relays only look too often."""
    return f"push_{table.fullname}".encode()[:_MAX_NAME].decode(errors="ignore")


def may_listen(engine: sa.Engine) -> bool:
    return engine.dialect.name == "postgresql" and engine.driver in _DRIVERS


class Listening:
    """A connection that listens. The relay's thread.

    It is not in the engine's pool: no other thread may use it, and it counts for no limit.

    :raises SQLAlchemyError: As all methods, if the connection fails; or an exception of the
        driver.
    """

    def __init__(self, engine: sa.Engine, channel: str) -> None:
        self._is_new = engine.driver == "psycopg"
        #: Whether a notification has arrived. Behind some pools of connections, none does.
        self.works = False
        taken = engine.raw_connection()
        connection: t.Any = taken.driver_connection
        self._connection = connection
        taken.detach()
        try:
            connection.rollback()
            connection.autocommit = True
            with connection.cursor() as cursor:
                quoted = channel.replace('"', '""')
                cursor.execute(f'LISTEN "{quoted}"')
            # From another connection, as the app does it.
            with engine.begin() as other:
                other.execute(sa.select(sa.func.pg_notify(channel, "")))
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        return int(self._connection.fileno())

    def take(self) -> None:
        """Read what has come. Does not wait."""
        if self._is_new:
            connection = self._connection.pgconn
            connection.consume_input()
            while connection.notifies() is not None:
                self.works = True
        else:
            self._connection.poll()
            self.works = self.works or bool(self._connection.notifies)
            self._connection.notifies.clear()

    def close(self) -> None:
        self._connection.close()
