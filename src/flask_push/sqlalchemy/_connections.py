"""What SQLAlchemy has no function for: which connections a session was given, and whether
PostgreSQL has aborted a transaction."""

from __future__ import annotations

import collections.abc as cabc

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.orm import SessionTransaction

# Of libpq, in psycopg and psycopg2.
_IN_ERROR = 3


def given_connections(
    session: Session, root: SessionTransaction
) -> cabc.Sequence[Connection]:
    """The connections that the session was given, and so did not open."""
    found = [session.bind] if isinstance(session.bind, Connection) else []
    # Of each: itself, its transaction, whether the session commits that, and whether the
    # session has opened it. Since 2.1.7, SQLAlchemy has a public way to the first of them.
    for connection, _, _, is_own in root._connections.values():
        if not is_own and connection not in found:
            found.append(connection)
    return found


def any_is_aborted(root: SessionTransaction, *, may_ask: bool = True) -> bool:
    """Whether one of its connections :func:`is_aborted`."""
    for connection, _, _, _ in root._connections.values():
        if connection.dialect.name == "postgresql":
            if is_aborted(connection, may_ask=may_ask):
                return True
    return False


def is_aborted(connection: Connection, *, may_ask: bool = True) -> bool:
    """Whether PostgreSQL has aborted the transaction, after an error that the app has
    caught. It answers the commit of such a transaction with a rollback, and the drivers
    raise nothing.

    :param may_ask: Whether PostgreSQL may be asked, if the driver does not know.
    """
    if connection.dialect.name != "postgresql" or connection.invalidated:
        return False
    if connection.dialect.driver == "asyncpg":
        return may_ask and _refuses(connection)
    driver = connection.connection.driver_connection
    status = getattr(getattr(driver, "info", None), "transaction_status", None)
    return status == _IN_ERROR


def _refuses(connection: Connection) -> bool:
    """Whether a statement fails that can only fail in an aborted transaction."""
    try:
        connection.exec_driver_sql("SELECT 1")
    except DBAPIError:
        return True
    return False
