"""Changes that wait for the commit of a session.

A session's changes lie in its ``info``, by transaction and savepoint. Listeners on the
class ``Session`` move, drop and send them; in a session that holds none they look once.

``after_commit`` is called for savepoints, too, and before the session has given back its
connection. So it only marks the root as committed, and ``after_transaction_end`` sends: the
connection is back in its pool then, and the session can be used again. If the session uses
a connection whose own transaction goes on, that one decides: see ``_joined.py``.
"""

from __future__ import annotations

import collections.abc as cabc
import sys
import typing as t

from sqlalchemy.event import listen
from sqlalchemy.orm import scoped_session
from sqlalchemy.orm import Session
from sqlalchemy.orm import SessionTransaction
from sqlalchemy.orm.session import SessionTransactionState

from .._changes import Change
from .._changes import check_room
from .._changes import Sender
from .._changes import size_of
from .._later import send_committed
from ._connections import any_is_aborted
from ._connections import given_connections
from ._joined import held_by
from ._joined import hold
from ._joined import outer_connections
from ._layers import Layers

# Of ``Session.info``.
_HELD = "flask_push.after"


def keep_in(session: object) -> cabc.Callable[[Sender, cabc.Sequence[Change]], None]:
    """
    :raises TypeError: If it is not a session.
    """
    found = session_of(session)

    def keep(sender: Sender, changes: cabc.Sequence[Change]) -> None:
        _keep(found, sender, changes)

    return keep


def session_of(given: t.Any) -> Session:
    """The session itself, of what stands for one.

    :raises TypeError: If it is none.
    """
    # Most are one. `isinstance` takes a proxy for what it stands for.
    if issubclass(type(given), Session):
        return t.cast(Session, given)
    # One of Werkzeug's proxies.
    session = getattr(given, "_get_current_object", lambda: given)()
    if isinstance(session, scoped_session):
        session = session()
    # Imported by each program that has one. It is not needed for any other.
    asyncio = sys.modules.get("sqlalchemy.ext.asyncio")
    if asyncio is not None:
        if isinstance(session, asyncio.async_scoped_session):
            session = session()
        if isinstance(session, asyncio.AsyncSession):
            session = session.sync_session
    if not isinstance(session, Session):
        raise TypeError(
            "after takes a session of SQLAlchemy, such as db.session, not"
            f" {given!r:.80}. For a transaction of another package, use 'with push.held()"
            " as later:', and call later.send() after its commit."
        )
    return session


def _keep(session: Session, sender: Sender, changes: cabc.Sequence[Change]) -> None:
    root = session.get_transaction()
    if root is None:
        if not session.autobegin:
            raise RuntimeError(
                "This session has no transaction, and autobegin=False. Call"
                " session.begin() first."
            )
        root = session.begin()
    held: Layers | None = session.info.get(_HELD)
    if held is not None and held.root is not root:
        # An error in closing the last transaction left it there.
        _end(session, held)
        held = None
    if held is None:
        held = Layers(root)
        # In a listener of the app that is called after ours, before a commit.
        held.is_aborted = any_is_aborted(root, may_ask=False)
    entries = [(sender, change, size_of(change)) for change in changes]
    count, size = len(entries) + held.count, held.bytes
    for entry in entries:
        size += entry[2]
    for connection in given_connections(session, root):
        outer = held_by(connection)
        if outer is not None:
            count += outer.count
            size += outer.bytes
    check_room(count, size)
    innermost = session.get_nested_transaction() or root
    if _has_committed(innermost):
        # In a listener of the app, after ours.
        innermost = _boundary(innermost.parent) or root
    session.info[_HELD] = held
    held.add(innermost, entries)
    if _has_committed(root) and not held.is_aborted:
        _committed(session, root, held)


def _before_commit(session: Session) -> None:
    held: Layers | None = session.info.get(_HELD)
    root = session.get_transaction()
    if held is not None and root is not None:
        held.is_aborted = any_is_aborted(root)


def _after_commit(session: Session) -> None:
    held: Layers | None = session.info.get(_HELD)
    if held is None:
        return
    savepoint = session.get_nested_transaction()
    if savepoint is not None:
        held.release(savepoint, _boundary(savepoint.parent))
        return
    root = session.get_transaction()
    if root is not None and held.root is root and not held.was_aborted():
        _committed(session, root, held)


def _committed(session: Session, root: SessionTransaction, held: Layers) -> None:
    outer = outer_connections(session, root)
    if outer:
        hold(outer, held.entries())
        del session.info[_HELD]
    else:
        held.is_committed = True


def _has_committed(transaction: SessionTransaction) -> bool:
    """Whether it is between its commit and its end."""
    return transaction._state is SessionTransactionState.COMMITTED


def _after_transaction_end(session: Session, transaction: SessionTransaction) -> None:
    held: Layers | None = session.info.get(_HELD)
    if held is None:
        return
    if transaction.parent is None:
        _end(session, held)
    elif transaction.nested:
        # Unless it was released.
        held.drop(transaction)


def _end(session: Session, held: Layers) -> None:
    # First, because functions that are called below may begin the next transaction.
    del session.info[_HELD]
    if held.is_committed:
        held.is_committed = False
        send_committed(held.entries())


def _boundary(transaction: SessionTransaction | None) -> SessionTransaction | None:
    """The savepoint or root to which a transaction of a flush belongs."""
    while transaction and not transaction.nested and transaction.parent is not None:
        transaction = transaction.parent
    return transaction


listen(Session, "before_commit", _before_commit)
# Before those of the app, one of which may raise.
listen(Session, "after_commit", _after_commit, insert=True)
listen(Session, "after_transaction_end", _after_transaction_end, insert=True)
