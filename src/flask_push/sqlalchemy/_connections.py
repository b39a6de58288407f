"""What SQLAlchemy does not tell of a session's connections."""

from __future__ import annotations

import collections.abc as cabc

from sqlalchemy import Connection
from sqlalchemy.orm import Session
from sqlalchemy.orm import SessionTransaction

# Of libpq, in psycopg and psycopg2.
_IN_ERROR = 3


def connections_of(root: SessionTransaction) -> set[Connection]:
    """Those that the transaction uses. SQLAlchemy has a public way since 2.1.7."""
    return {connection for connection, _, _, _ in root._connections.values()}


def given_connections(
    session: Session, root: SessionTransaction
) -> cabc.Collection[Connection]:
    """The connections that the session was given, and so did not open."""
    found: dict[Connection, None] = {}
    if isinstance(session.bind, Connection):
        found[session.bind] = None
    # Of each: itself, its transaction, whether the session commits that, and whether the
    # session has opened it.
    for connection, _, _, is_own in root._connections.values():
        if not is_own:
            found[connection] = None
    return found


def is_aborted(connection: Connection) -> bool:
    """Whether PostgreSQL has aborted the transaction, after an error that the app has
    caught. It answers the commit of such a transaction with a rollback, and the drivers
    raise nothing."""
    if connection.dialect.name != "postgresql" or connection.invalidated:
        return False
    driver = connection.connection.driver_connection
    status = getattr(getattr(driver, "info", None), "transaction_status", None)
    return status == _IN_ERROR
