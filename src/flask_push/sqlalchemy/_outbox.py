"""An outbox: events are rows of the app's database until they are published."""

from __future__ import annotations

import collections.abc as cabc
import typing as t
import weakref

import sqlalchemy as sa
from sqlalchemy.pool import SingletonThreadPool
from sqlalchemy.pool import StaticPool

from .._changes import Change
from .._event import Event
from .._event import Name
from .._event_checks import unset_change
from .._item_publisher import given_item
from .._names import channel_name
from .._publisher import Publisher
from .._selectors import disconnect_of
from .._selectors import NOT_GIVEN
from ._commits import connection_of
from ._commits import note
from ._commits import Target
from ._database import OutboxRows
from ._notify import channel_of
from ._relaying import Relay
from ._row_text import to_text
from ._table import outbox_table

if t.TYPE_CHECKING:
    from .._extension import Push


class Outbox:
    """Publish in a transaction of the app's database: what is published is sent if the
    transaction commits, once, even if processes are killed.

    It adds one table to the metadata. What is published are rows of this table, inserted
    in the caller's transaction. A thread of one of the app's processes, the relay, sends
    committed rows and deletes them.

    :param push: The app's Push, or a Publisher.
    :param metadata: That of the app's models: ``db.metadata``, or ``Base.metadata``.
    :param engine: The database in which the relay finds the table. By default, that of the
        app's Flask-SQLAlchemy or Flask-SQLAlchemy-Lite.
    :param name: The name of the table. Two outboxes that share a store need two names.
    :raises ValueError: If the metadata has a table of this name.
    :raises RuntimeError: If the broker of a Publisher keeps no items, or without an engine.
        A Push raises it when the app is used first.
    """

    def __init__(
        self,
        push: Push | Publisher,
        metadata: sa.MetaData,
        *,
        engine: sa.Engine | None = None,
        name: str = "push_outbox",
    ) -> None:
        if engine is not None and not isinstance(engine, sa.Engine):
            raise TypeError(
                f"engine is an Engine of SQLAlchemy, not {engine!r:.80}. The relay can't"
                " use an async one: make another with create_engine."
            )
        self._push, self._engine, self._name = push, engine, channel_name(name)
        self._relays: weakref.WeakSet[Relay] = weakref.WeakSet()
        self._own: Relay | None = None
        #: The table, for migrations and the like.
        self.table = outbox_table(name, metadata)
        self._insert = sa.insert(self.table)
        notify = sa.func.pg_notify(channel_of(self.table), "")
        self._insert_and_notify = self._insert.returning(notify)
        if isinstance(push, Publisher):
            if engine is None:
                raise RuntimeError(
                    "An Outbox of a Publisher needs to know the database: pass engine=."
                )
            self._own = self._relay_of(push, engine)
            weakref.finalize(self, self._own.stop).atexit = False
        else:
            push._outboxes.append(self)

    def __repr__(self) -> str:
        relays = ", ".join(repr(relay)[len("<Relay ") : -1] for relay in self._relays)
        return f"<Outbox {relays or repr(self._name)}>"

    # In the caller's transaction.

    def publish(
        self,
        within: Target,
        /,
        channel: str,
        data: t.Any,
        *,
        type: str = "message",
        key: str | None = None,
        store: bool = True,
        exclude: str | None = None,
    ) -> None:
        """Publish an event if the transaction commits. Otherwise as :meth:`.Push.publish`.

        The session is flushed first. So of two transactions that change the same row and
        then publish, the one that commits first is sent first. More generally: events are
        sent in the order in which these calls have inserted their rows.

        :param within: A session or a connection of SQLAlchemy.
        """
        event = Event(channel, data, type, key, store, "", exclude)
        self.publish_many(within, [event])

    def publish_many(self, within: Target, /, events: cabc.Iterable[Event]) -> None:
        """Publish events in this order if the transaction commits. As :meth:`publish`, for
        events as :meth:`.Push.publish_many` takes them."""
        self._add(within, self._publisher()._checks.check_all(events))

    def set(
        self,
        within: Target,
        /,
        channel: str,
        item: Name,
        data: t.Any,
        *,
        ttl: float | None = None,
        version: int | None = None,
        type: str = "message",
    ) -> None:
        """Set an item if the transaction commits. As :meth:`publish` and
        :meth:`.Push.set`."""
        event = given_item(channel, item, data, type, ttl, version)
        self.publish_many(within, [event])

    def unset(
        self, within: Target, /, channel: str, *items: Name, version: int | None = None
    ) -> None:
        """Unset items if the transaction commits. As :meth:`publish` and
        :meth:`.Push.unset`."""
        self._add(within, [unset_change(channel, item, version) for item in items])

    def disconnect(
        self,
        within: Target,
        /,
        *,
        user: Name = NOT_GIVEN,
        session: Name = NOT_GIVEN,
        channel: str = NOT_GIVEN,
        reason: str = "",
    ) -> None:
        """End streams if the transaction commits. As :meth:`publish` and
        :meth:`.Push.disconnect`.

        If the relay is killed at that moment, they are ended twice.
        """
        selected = disconnect_of(user, session, channel, reason)
        self._publisher()._keeper_of_logs()
        self._add(within, [selected])

    def _add(self, within: Target, changes: cabc.Sequence[Change]) -> None:
        self._publisher()
        if self._own is not None:
            self._own.start()
        connection = connection_of(within, self._insert)
        if not changes:
            return
        rows = [{"data": to_text(change)} for change in changes]
        notifies = connection.dialect.name == "postgresql"
        statement = self._insert_and_notify if notifies else self._insert
        connection.execute(statement, rows if len(rows) > 1 else rows[0])
        note(self, within, connection)

    # The relay.

    def relay(self) -> None:
        """Send the committed rows now, in this thread, and return when none is left.

        The relay does so by itself. This is for tests, and for programs that end.

        :raises NotPublished: If it can't be done now, or another exception of the store or
            of the database. The rows stay.
        """
        self._publisher()
        for relay in [*self._relays]:
            relay.relay()

    def close(self) -> None:
        """End the relay in this process, which gives its lease to another one. The next
        call that publishes starts it again."""
        for relay in [*self._relays]:
            relay.stop()
        for relay in [*self._relays]:
            relay.join()

    def committed(self, engine: sa.Engine | None) -> None:
        """Rows may have been committed.

        :param engine: That of the session, if the rows are certainly no longer in a
            transaction, and its thread may publish them.
        """
        for relay in [*self._relays]:
            if not relay.is_direct:
                relay.ring()
            elif engine is not None and engine.pool is relay.rows.engine.pool:
                relay.relay_quietly()

    def open(self, app: t.Any, publisher: Publisher, *, is_direct: bool) -> Relay:
        """Make the relay of an app in this process.

        :raises RuntimeError: If the database is not known, or the broker keeps no items.
        """
        engine = self._engine or self._engine_of(app)
        return self._relay_of(publisher, engine, is_direct)

    def _relay_of(
        self, publisher: Publisher, engine: sa.Engine, is_direct: bool = False
    ) -> Relay:
        # Another thread would see another database, or this one in the middle of a
        # transaction.
        is_direct |= isinstance(engine.pool, (StaticPool, SingletonThreadPool))
        rows = OutboxRows(engine, self.table)
        relay = Relay(self._name, rows, publisher, is_direct)
        self._relays.add(relay)
        return relay

    def _engine_of(self, app: t.Any) -> sa.Engine:
        extension: t.Any = app.extensions.get("sqlalchemy")
        if extension is None:
            raise RuntimeError(
                f"The outbox {self._name!r} does not know the database of the app"
                f" {app.name!r}. Pass engine= to the Outbox, or call init_app of"
                " Flask-SQLAlchemy first."
            )
        bind = self.table.metadata.info.get("bind_key")
        with app.app_context():
            engine = extension.engine if bind is None else extension.engines[bind]
        return t.cast(sa.Engine, engine)

    def _publisher(self) -> Publisher:
        push = self._push
        return push if isinstance(push, Publisher) else push._services().publisher
