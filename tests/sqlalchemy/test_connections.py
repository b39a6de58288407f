"""What the database does without saying so."""

from __future__ import annotations

import asyncio
import logging

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session
from support.databases import Database
from support.sessions import Base
from support.sessions import publisher as publisher
from support.sessions import Row
from support.sessions import sent

from flask_push import Publisher


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
@pytest.mark.parametrize("joined", [False, True])
def test_a_commit_that_postgresql_answers_with_a_rollback_sends_nothing(
    postgresql: Database,
    publisher: Publisher,
    caplog: pytest.LogCaptureFixture,
    driver: str,
    joined: bool,
) -> None:
    engine = sa.create_engine(postgresql.with_driver(f"postgresql+{driver}"))
    Base.metadata.create_all(engine)
    with engine.connect() as connection:
        transaction = connection.begin()
        with Session(connection if joined else engine) as session:
            session.add(Row(id=1, text="x"))
            session.flush()
            publisher.after(session).publish("a", "1")
            with pytest.raises(SQLAlchemyError):
                session.execute(sa.text("SELECT * FROM nowhere"))
            session.commit()
            transaction.commit()
    with Session(engine) as session:
        assert session.get(Row, 1) is None
        assert sent(publisher) == []
        publisher.after(session).publish("a", "2")
        session.commit()
    assert sent(publisher) == ["2"]
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert line.startswith("Dropped 1 changes: their commit rolled back")
    engine.dispose()


def test_a_listener_of_the_app_publishes_nothing_from_a_commit_that_is_a_rollback(
    postgresql: Database, publisher: Publisher
) -> None:
    Base.metadata.create_all(postgresql.engine)
    with Session(postgresql.engine) as session:

        @sa.event.listens_for(session, "before_commit")
        def before_commit(_: Session) -> None:
            publisher.after(session).publish("a", "no")

        session.add(Row(id=1, text="x"))
        session.flush()
        with pytest.raises(SQLAlchemyError):
            session.execute(sa.text("SELECT * FROM nowhere"))
        session.commit()
        assert session.get(Row, 1) is None
    assert sent(publisher) == []


def test_asyncpg_is_asked_whether_postgresql_has_aborted_the_transaction(
    postgresql: Database, publisher: Publisher
) -> None:
    async def use() -> None:
        engine = create_async_engine(postgresql.with_driver("postgresql+asyncpg"))
        async with AsyncSession(engine) as session:
            await session.execute(sa.text("SELECT 1"))
            publisher.after(session).publish("a", "no")
            with pytest.raises(SQLAlchemyError):
                await session.execute(sa.text("SELECT * FROM nowhere"))
            await session.commit()
            assert sent(publisher) == []
            publisher.after(session).publish("a", "yes")
            await session.execute(sa.text("SELECT 1"))
            await session.commit()
        await engine.dispose()

    asyncio.run(use())
    assert sent(publisher) == ["yes"]
