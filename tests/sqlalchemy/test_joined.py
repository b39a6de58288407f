"""A session that joins the transaction of a connection waits for that to end."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from support.sessions import Child
from support.sessions import engine as engine
from support.sessions import publisher as publisher
from support.sessions import Row
from support.sessions import sent
from support.sessions import sqlite_engine

from flask_push import _changes
from flask_push import Publisher

Mode = t.Literal["conditional_savepoint", "rollback_only", "create_savepoint"]
MODES: list[Mode] = ["conditional_savepoint", "rollback_only", "create_savepoint"]


@pytest.mark.parametrize("mode", MODES)
def test_a_session_that_joined_a_connection_sends_when_that_commits(
    engine: Engine, publisher: Publisher, mode: Mode
) -> None:
    with engine.connect() as connection:
        for ends in "rollback", "commit":
            transaction = connection.begin()
            with Session(connection, join_transaction_mode=mode) as session:
                session.add(Row(text="x"))
                publisher.after(session).publish("a", ends)
                session.commit()
            assert sent(publisher) == []
            getattr(transaction, ends)()
        assert sent(publisher) == ["commit"]


def test_a_session_that_controls_the_connection_sends_at_its_commit(
    engine: Engine, publisher: Publisher
) -> None:
    with engine.connect() as connection, connection.begin():
        with Session(connection, join_transaction_mode="control_fully") as session:
            session.add(Row(text="x"))
            publisher.after(session).publish("a", "1")
            session.commit()
        assert sent(publisher) == ["1"]


def test_a_session_that_ran_no_statement_waits_for_its_connection_too(
    engine: Engine, publisher: Publisher
) -> None:
    with engine.connect() as connection:
        for ends in "rollback", "commit":
            transaction = connection.begin()
            with Session(connection) as session:
                publisher.after(session).publish("a", ends)
                session.commit()
            assert sent(publisher) == []
            getattr(transaction, ends)()
    assert sent(publisher) == ["commit"]


def test_a_session_of_two_connections_waits_for_both(
    engine: Engine, publisher: Publisher, tmp_path: Path
) -> None:
    other = sqlite_engine(tmp_path / "other.db")
    with engine.connect() as first, other.connect() as second:
        transactions = first.begin(), second.begin()
        with Session(first, binds={Child: second}) as session:
            session.add_all([Row(text="x"), Child(parent=1)])
            publisher.after(session).publish("a", "1")
            second.execute(sa.insert(Row), [{"id": 1, "text": "x"}])
            session.commit()
        for transaction in transactions:
            assert sent(publisher) == []
            transaction.commit()
        assert sent(publisher) == ["1"]
    other.dispose()


def test_what_a_connection_holds_counts_for_the_bound(
    engine: Engine, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_changes, "MAX_CHANGES", 3)
    with engine.connect() as connection, connection.begin():
        for text in "1", "2", "3":
            with Session(connection) as session:
                publisher.after(session).publish("a", text)
                session.commit()
        with Session(connection) as session, pytest.raises(ValueError, match="4 changes"):
            publisher.after(session).publish("a", "4")
    assert sent(publisher) == ["1", "2", "3"]
