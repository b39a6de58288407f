"""Hypothesis state machines that use sessions at random, and judge what was sent.

Each change comes with a row that is inserted in the same place. So the database decides:
what was sent has to be what its table has, in the order in which it was given.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import typing as t

import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import invariant
from hypothesis.stateful import rule
from hypothesis.stateful import RuleBasedStateMachine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.orm import SessionTransaction

from flask_push import Event
from flask_push import Later
from flask_push import Position
from flask_push import Publisher
from flask_push._event import item_of
from flask_push.brokers import DISCONNECT_LOG
from flask_push.brokers import KeepsOwnLogs
from support.sessions import Base
from support.sessions import Child
from support.sessions import Row

Mode = t.Literal[
    "conditional_savepoint", "rollback_only", "create_savepoint", "control_fully"
]
MODES: list[Mode] = [*t.get_args(Mode)]

ENDS = "commit", "commit", "rollback"

KINDS = "publish", "many", "set", "disconnect", "publish", "unset"
HOWS = "execute", "flush", "add"


class Interrupted(Exception):
    """Leaves a block."""


class SessionMachine(RuleBasedStateMachine):
    """Two sessions of one database, each with savepoints."""

    engine: t.ClassVar[sa.Engine]
    can_fail_at_the_commit = True
    closing_undoes = True

    def __init__(self) -> None:
        super().__init__()
        self.publisher = Publisher("memory:")
        self.publisher.publish_many(Event("unset", n, item=f"{n}") for n in range(200))
        with self.engine.begin() as connection:
            for table in reversed(Base.metadata.sorted_tables):
                connection.execute(table.delete())
        self.count = 0
        self.sessions = [Session(self.engine), Session(self.engine)]
        self.laters: list[Later] = [self.publisher.after(each) for each in self.sessions]
        self.savepoints: list[list[SessionTransaction]] = [[], []]

    def teardown(self) -> None:
        for session in self.sessions:
            session.close()
        self.publisher.close()

    # What a program does.

    which = st.integers(0, 1)

    @rule(which=which, kind=st.sampled_from(KINDS), how=st.sampled_from(HOWS))
    def change(self, which: int, kind: str, how: str) -> None:
        with self.errors(which):
            self._change(which, kind, how)

    def _change(self, which: int, kind: str, how: str) -> None:
        session, later = self.sessions[which], self.laters[which]
        self.count += 1
        n = self.count
        row = {"id": n, "text": f"{kind} {which}"}
        if how == "execute":
            session.execute(sa.insert(Row), [row])
        else:
            session.add(Row(**row))
            if how == "flush":
                session.flush()
        if kind == "publish":
            later.publish("a", n)
        elif kind == "many":
            later.publish_many([Event("a", n), Event("items", n, item=f"{n}")])
        elif kind == "set":
            later.set("items", n, n)
        elif kind == "disconnect":
            later.disconnect(user=n)
        else:
            later.unset("unset", n % 200)

    @rule(which=which)
    def begin(self, which: int) -> None:
        if not self.sessions[which].in_transaction():
            self.sessions[which].begin()

    @rule(which=which)
    def begin_nested(self, which: int) -> None:
        with self.errors(which):
            self.savepoints[which].append(self.sessions[which].begin_nested())

    @rule(which=which, depth=st.integers(0, 2), commits=st.booleans())
    def end_savepoint(self, which: int, depth: int, commits: bool) -> None:
        """The innermost, or one with others in it."""
        open = [each for each in self.savepoints[which] if each.is_active]
        if open:
            savepoint = open[max(0, len(open) - 1 - depth)]
            with self.errors(which):
                savepoint.commit() if commits else savepoint.rollback()

    @rule(which=which)
    def commit(self, which: int) -> None:
        with self.errors(which, ends=True):
            self.sessions[which].commit()

    @rule(which=which)
    def rollback(self, which: int) -> None:
        self.sessions[which].rollback()

    @rule(which=which)
    def close(self, which: int) -> None:
        if not self.closing_undoes:
            self.sessions[which].rollback()
        self.sessions[which].close()

    @rule(which=which)
    def fail_at_a_flush(self, which: int) -> None:
        """Two rows have one key: the transaction, or its savepoint, can only be undone."""
        session = self.sessions[which]
        self._try(lambda: session.add_all([Row(id=-1, text="x"), Row(id=-1, text="x")]))
        with contextlib.suppress(SQLAlchemyError):
            session.flush()
            raise AssertionError("two rows have one key")
        with contextlib.suppress(SQLAlchemyError):
            self._change(which, "publish", "execute")
        if self.savepoints[which]:
            self._try(self.savepoints[which][-1].rollback)

    @rule(which=which)
    def fail_at_the_commit(self, which: int) -> None:
        """A row lacks its parent, which SQLite and PostgreSQL notice at the commit."""
        if self.can_fail_at_the_commit:
            with self.errors(which):
                self.sessions[which].execute(sa.insert(Child), [{"parent": -5}])

    @rule(which=which)
    def fail_in_a_statement(self, which: int) -> None:
        """And the program goes on. On PostgreSQL, the transaction can only be undone."""
        with contextlib.suppress(SQLAlchemyError):
            self.sessions[which].execute(sa.text("SELECT * FROM nowhere"))

    @rule(which=which)
    def commit_after_an_error(self, which: int) -> None:
        """PostgreSQL answers with a rollback, and the driver does not raise it."""
        with self.errors(which):
            self._change(which, "set", "flush")
            self.fail_in_a_statement(which)
            self.sessions[which].commit()

    @rule(which=which, raises=st.booleans(), how=st.sampled_from(HOWS))
    def block_of_a_savepoint(self, which: int, raises: bool, how: str) -> None:
        with self.errors(which), contextlib.suppress(Interrupted):
            with self.sessions[which].begin_nested():
                self._change(which, "publish", how)
                with contextlib.suppress(Interrupted), self.sessions[which].begin_nested():
                    self._change(which, "set", how)
                    raise Interrupted
                self._change(which, "disconnect", how)
                if raises:
                    raise Interrupted

    @rule(which=which, raises=st.booleans(), how=st.sampled_from(HOWS))
    def block_of_a_transaction(self, which: int, raises: bool, how: str) -> None:
        self.sessions[which].rollback()
        with self.errors(which, ends=True), contextlib.suppress(Interrupted):
            with self.sessions[which].begin():
                self._change(which, "publish", how)
                if raises:
                    raise Interrupted

    def _try(self, call: cabc.Callable[[], object]) -> None:
        with contextlib.suppress(SQLAlchemyError):
            call()

    @contextlib.contextmanager
    def errors(self, which: int, ends: bool = False) -> cabc.Iterator[None]:
        """After an error of the database, a program rolls back."""
        try:
            yield
        except SQLAlchemyError:
            self.sessions[which].rollback()

    # The judge.

    @invariant()
    def what_was_sent_is_what_was_committed(self) -> None:
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(Row.id, Row.text).order_by(Row.id)).all()
        for which in 0, 1:
            expected, unset = [], set()
            for id, text in rows:
                kind, of = text.split()
                if kind == "unset":
                    unset.add(f"{id % 200}")
                elif of == str(which):
                    expected += [id, id] if kind == "many" else [id]
            numbers = self.sent(which, {id: text for id, text in rows})
            assert numbers == expected, (numbers, expected)
        left = self.publisher.items("unset").events
        assert {f"{n}" for n in range(200)} - left.keys() == {
            f"{id % 200}" for id, text in rows if text.startswith("unset")
        }

    def sent(self, which: int, rows: dict[int, str]) -> list[int]:
        """The numbers of the changes of one session, in the order of the store."""
        found = [
            (Position.parse(event.id).number, event.json)
            for event in self.publisher.history("a", 10_000).events
        ]
        found += [
            (Position.parse(event.id).number, int(item_of(event.id)))
            for event in self.publisher.items("items").events.values()
        ]
        broker = t.cast(KeepsOwnLogs, self.publisher._broker)
        found += [
            (entry.number, int(json.loads(entry.data)["user"]))
            for entry in broker.read_own(DISCONNECT_LOG).entries
        ]
        numbers = [n for _, n in sorted(found)]
        assert set(numbers) <= rows.keys(), "sent and not committed"
        return [n for n in numbers if rows[n].endswith(f" {which}")]


class JoinedMachine(SessionMachine):
    """One session after another, which join the transaction of a connection."""

    # What a session has flushed remains in the transaction of the connection, unless it had
    # a savepoint of its own.
    closing_undoes = False

    def __init__(self) -> None:
        self.connection = self.engine.connect()
        # After a commit that has failed, SQLAlchemy does not roll back, and SQLite goes on.
        self.can_fail_at_the_commit = self.engine.dialect.name != "sqlite"
        self.outer: list[sa.Transaction] = []
        super().__init__()
        self._use(Session(self.connection))

    def _use(self, session: Session) -> None:
        """Both numbers are this one."""
        self.sessions = [session] * 2
        self.laters = [self.publisher.after(session)] * 2
        self.savepoints = [[]] * 2

    def teardown(self) -> None:
        super().teardown()
        self.connection.close()

    @rule(mode=st.sampled_from(MODES), ends=st.sampled_from(ENDS))
    def next_session(self, mode: Mode, ends: str) -> None:
        self._end_session(ends)
        self._use(Session(self.connection, join_transaction_mode=mode))

    def _end_session(self, ends: str = "commit") -> None:
        with self.errors(0):
            getattr(self.sessions[0], ends)()
        self.savepoints[0].clear()

    @rule(nested=st.booleans())
    def begin_outside(self, nested: bool) -> None:
        self._end_session()
        if not self.connection.in_transaction():
            self.outer = [self.connection.begin()]
        elif nested:
            with self.outside():
                self.outer.append(self.connection.begin_nested())

    @rule(depth=st.integers(0, 2), commits=st.sampled_from([True, True, False]))
    def end_outside(self, depth: int, commits: bool) -> None:
        self._end_session()
        open = [each for each in self.outer if each.is_active]
        if open:
            ended = open[max(0, len(open) - 1 - depth)]
            with self.outside():
                ended.commit() if commits else ended.rollback()

    @rule()
    def end_all_outside(self) -> None:
        self._end_session()
        with self.outside():
            self.connection.commit()

    @contextlib.contextmanager
    def outside(self) -> cabc.Iterator[None]:
        try:
            yield
        except SQLAlchemyError:
            self.connection.rollback()
