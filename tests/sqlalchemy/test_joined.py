"""A session that joins the transaction of a connection waits for that to end."""

from __future__ import annotations

import typing as t

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from support.sessions import engine as engine
from support.sessions import publisher as publisher
from support.sessions import Row
from support.sessions import sent

from flask_push import Publisher

Mode = t.Literal["conditional_savepoint", "rollback_only", "create_savepoint"]
MODES: list[Mode] = ["conditional_savepoint", "rollback_only", "create_savepoint"]


@pytest.mark.parametrize("mode", MODES)
def test_it_sends_when_the_connection_commits(
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
