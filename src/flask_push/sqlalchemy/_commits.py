"""When rows that a transaction has inserted may be committed.

SQLAlchemy calls listeners just before the commit. So this waits until the connection is
given back, or the session's transaction is over. If there was no commit, the relay finds no
row.
"""

from __future__ import annotations

import typing as t
import weakref

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy import orm
from sqlalchemy import pool

#: In whose transaction something is published.
Target: t.TypeAlias = orm.Session | orm.scoped_session[t.Any] | sa.Connection

# Where connections and sessions keep the outboxes of which they have rows.
_KEY = "flask_push.outboxes"


class Committed(t.Protocol):
    """An outbox."""

    def committed(self, engine: sa.Engine | None) -> None: ...


def connection_of(target: Target, clause: sa.Insert) -> sa.Connection:
    """The connection that has the transaction. If it is that of a session, the session is
    flushed: its rows are locked before those of the outbox get their numbers.

    :raises TypeError: If it is something else.
    """
    if isinstance(target, orm.scoped_session):
        target = target()
    if isinstance(target, sa.Connection):
        return target
    if not isinstance(target, orm.Session):
        raise TypeError(
            f"An Outbox takes a session or a connection of SQLAlchemy, not {target!r:.80}."
            " Within an AsyncSession, call: await session.run_sync(lambda session:"
            " outbox.publish(session, ...))"
        )
    target.flush()
    return target.connection(bind_arguments={"clause": clause})


def note(outbox: Committed, target: Target, connection: sa.Connection) -> None:
    """Call the outbox when its rows may be committed."""
    connection.info.setdefault(_KEY, weakref.WeakSet()).add(outbox)
    if isinstance(target, orm.scoped_session):
        target = target()
    if isinstance(target, orm.Session):
        known = target.info.setdefault(_KEY, weakref.WeakKeyDictionary())
        known[outbox] = connection


@event.listens_for(pool.Pool, "checkin")
def _given_back(_: object, record: pool.ConnectionPoolEntry) -> None:
    for outbox in record.info.pop(_KEY, ()):
        outbox.committed(None)


@event.listens_for(orm.Session, "after_transaction_end")
def _ended(session: orm.Session, transaction: orm.SessionTransaction) -> None:
    if transaction.parent is not None:
        return
    for outbox, connection in [*session.info.pop(_KEY, {}).items()]:
        # A session may have joined a transaction that goes on.
        is_over = connection.closed or not connection.in_transaction()
        outbox.committed(connection.engine if is_over else None)
