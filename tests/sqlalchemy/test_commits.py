"""An outbox learns of each commit with rows of its own."""

from __future__ import annotations

import collections.abc as cabc
import gc
import typing as t
import weakref

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from support.sessions import engine as engine
from support.sessions import Row

from flask_push.sqlalchemy._commits import connection_of
from flask_push.sqlalchemy._commits import note

INSERT: t.Any = sa.insert(Row.__table__)  # type: ignore[arg-type]


class Told:
    """An outbox."""

    def __init__(self) -> None:
        self.engines: list[sa.Engine | None] = []

    def committed(self, engine: sa.Engine | None) -> None:
        self.engines.append(engine)


@pytest.fixture
def told() -> Told:
    return Told()


def test_a_session_tells_when_its_transaction_is_over(
    engine: sa.Engine, told: Told
) -> None:
    with orm.Session(engine) as session:
        for _ in range(3):
            note(told, session, connection_of(session, INSERT))
        with session.begin_nested():
            pass
        session.flush()
        assert told.engines == []
        session.commit()
        # The connection is back in its pool first.
        assert told.engines == [None, engine]
        session.commit()
    assert len(told.engines) == 2


def test_a_connection_tells_when_it_is_given_back(engine: sa.Engine, told: Told) -> None:
    with engine.begin() as connection:
        note(told, connection, connection_of(connection, INSERT))
        assert told.engines == []
    assert told.engines == [None]
    with engine.begin():
        pass
    assert told.engines == [None]


def test_a_session_within_a_transaction_says_that_this_goes_on(
    engine: sa.Engine, told: Told
) -> None:
    with engine.connect() as connection, connection.begin():
        with orm.Session(connection) as session:
            note(told, session, connection_of(session, INSERT))
            session.commit()
        assert told.engines == [None]


def test_nothing_keeps_an_outbox_alive(engine: sa.Engine) -> None:
    told: Told | None = Told()
    with orm.Session(engine) as session:
        assert told is not None
        note(told, session, connection_of(session, INSERT))
        reference: cabc.Callable[[], object] = weakref.ref(told)
        told = None
        gc.collect()
        assert reference() is None
        session.commit()
