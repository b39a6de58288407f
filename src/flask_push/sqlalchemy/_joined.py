"""Changes of sessions that use a connection whose own transaction goes on.

``Session(bind=connection)`` joins the transaction of the connection, as test suites do that
roll everything back. Its commit may still be rolled back, so its changes wait for the end
of that transaction, or of its savepoint.

SQLAlchemy calls no listener after the commit of a connection, only before it. So the
transaction gets a subclass of its class, whose public methods call us when they are done.
"""

from __future__ import annotations

import collections.abc as cabc

from sqlalchemy import Connection
from sqlalchemy.engine import Transaction
from sqlalchemy.orm import Session
from sqlalchemy.orm import SessionTransaction

from .._changes import Entry
from .._later import send_committed
from ._connections import given_connections
from ._connections import is_aborted
from ._layers import Layers

# Of ``vars(connection)``: its ``info`` is that of the driver's connection, which the next
# user of the pool gets.
_HELD = "flask_push.after"


class _Joined(Layers):
    """What the open transaction of a connection holds."""

    __slots__ = ("others",)

    def __init__(self, root: Transaction) -> None:
        super().__init__(root)
        #: Connections whose transactions have to commit as well.
        self.others: list[Connection] = []


def outer_connections(session: Session, root: SessionTransaction) -> list[Connection]:
    """The connections that the session was given, and whose transactions go on."""
    return [each for each in given_connections(session, root) if each.in_transaction()]


def held_by(connection: Connection) -> Layers | None:
    """What earlier transactions of sessions hold for the connection's."""
    held: _Joined | None = vars(connection).get(_HELD)
    return held if held and held.root is connection.get_transaction() else None


def hold(connections: cabc.Sequence[Connection], entries: cabc.Collection[Entry]) -> None:
    """Send these when the transactions of the connections have committed: the first, and
    then the others."""
    connection, *others = connections
    transactions = _transactions(connection)
    held = held_by(connection)
    if held is None:
        held = vars(connection)[_HELD] = _Joined(transactions[0])
    for transaction in transactions:
        transaction.__class__ = _watched(type(transaction))
        held.add(transaction, ())
    held.add(transactions[-1], entries)
    assert isinstance(held, _Joined)
    held.others += [each for each in others if each not in held.others]


def _transactions(connection: Connection) -> list[Transaction]:
    """Those that are open: the root first, the innermost savepoint last."""
    root, savepoint = connection.get_transaction(), connection.get_nested_transaction()
    assert root is not None
    found: list[Transaction] = []
    while savepoint is not None:
        found.append(savepoint)
        savepoint = savepoint._previous_nested
    return [root, *reversed(found)]


class _Watched(Transaction):
    __slots__ = ()

    def commit(self) -> None:
        connection = self.connection
        held: _Joined | None = vars(connection).get(_HELD)
        if held is None:
            super().commit()
            return
        held.is_aborted = held.root is self and is_aborted(connection)
        super().commit()
        if held.root is not self:
            held.release(self, connection.get_nested_transaction() or held.root)
            return
        del vars(connection)[_HELD]
        if held.was_aborted():
            return
        others = [each for each in held.others if each.in_transaction()]
        if others:
            hold(others, held.entries())
        else:
            send_committed(held.entries())

    def rollback(self) -> None:
        try:
            super().rollback()
        finally:
            self._drop()

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._drop()

    def _drop(self) -> None:
        held: _Joined | None = vars(self.connection).get(_HELD)
        if held is None:
            return
        if held.root is self:
            del vars(self.connection)[_HELD]
        else:
            held.drop(self)


def _watched(kind: type[Transaction]) -> type[Transaction]:
    """The class with our methods. It has no slots of its own, so that a transaction may
    become one of it."""
    if issubclass(kind, _Watched):
        return kind
    if kind not in _WATCHED:
        _WATCHED[kind] = type(kind.__name__, (_Watched, kind), {"__slots__": ()})
    return _WATCHED[kind]


# By the class of SQLAlchemy's, of which there are three.
_WATCHED: dict[type[Transaction], type[Transaction]] = {}
