"""Every kind of session, and what it is used with."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import gc
import os
import threading
import typing as t
import warnings
import weakref
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy_lite import SQLAlchemy as Lite
from sqlalchemy import Engine
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.exc import SAWarning
from sqlalchemy.ext.asyncio import async_scoped_session
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import object_session
from sqlalchemy.orm import scoped_session
from sqlalchemy.orm import Session
from sqlalchemy.orm import sessionmaker
from support.databases import Database
from support.sessions import Base
from support.sessions import Child
from support.sessions import engine as engine
from support.sessions import publisher as publisher
from support.sessions import Row
from support.sessions import sent
from support.sessions import session as session
from support.sessions import sqlite_engine
from werkzeug.local import LocalProxy

from flask_push import Publisher
from flask_push import Push


class Mine(Session):
    pass


@pytest.mark.parametrize("kind", ["class", "maker", "scoped", "proxy"])
def test_each_kind_of_session_sends_at_its_commit(
    engine: Engine, publisher: Publisher, kind: str
) -> None:
    bound = Session(engine)
    makers: dict[str, cabc.Callable[[], t.Any]] = {
        "class": lambda: Mine(engine),
        "maker": sessionmaker(engine, class_=Mine, info={"app": 1}),
        "scoped": lambda: scoped_session(sessionmaker(engine)),
        "proxy": lambda: LocalProxy(lambda: bound),
    }
    made = makers[kind]()
    for ends in "rollback", "commit":
        made.add(Row(text="x"))
        publisher.after(made).publish("a", ends)
        getattr(made, ends)()
    made.close()
    assert sent(publisher) == ["commit"]


def test_a_scoped_session_is_that_of_its_scope(
    engine: Engine, publisher: Publisher
) -> None:
    scoped = scoped_session(sessionmaker(engine))

    def work(n: int) -> None:
        for ends in "rollback", "commit":
            publisher.after(scoped).publish(f"{n}", ends)
            scoped.execute(sa.text("SELECT 1"))
            getattr(scoped, ends)()
        scoped.remove()

    threads = [threading.Thread(target=work, args=[n]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sent(publisher, f"{n}") for n in range(8)] == [["commit"]] * 8


def test_async_sessions_send_at_their_commit(tmp_path: Path, publisher: Publisher) -> None:
    async def work() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/rows.db")
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        make = async_sessionmaker(engine)
        scoped = async_scoped_session(make, asyncio.current_task)
        for each in make(), scoped:
            later = publisher.after(each)
            for ends in "rollback", "commit":
                each.add(Row(text="x"))
                later.publish("a", ends)
                await getattr(each, ends)()
            later.publish("a", "closed")
            await each.close()
        async with make.begin() as block:
            publisher.after(block).publish("a", "block")
            nested = await block.begin_nested()
            publisher.after(block).publish("a", "savepoint")
            await nested.rollback()
        async with engine.connect() as connection:
            transaction = await connection.begin()
            async with AsyncSession(connection) as joined:
                await joined.execute(sa.text("SELECT 1"))
                publisher.after(joined).publish("a", "joined")
                await joined.commit()
            assert sent(publisher)[-1] == "block"
            await transaction.commit()
        await scoped.remove()
        await engine.dispose()

    asyncio.run(work())
    assert sent(publisher) == ["commit", "commit", "block", "joined"]


def test_without_autobegin_a_change_needs_a_transaction(
    engine: Engine, publisher: Publisher
) -> None:
    with Session(engine, autobegin=False) as session:
        later = publisher.after(session)
        with pytest.raises(RuntimeError, match=r"session\.begin\(\)"):
            later.publish("a", "1")
        with session.begin():
            later.publish("a", "2")
        with pytest.raises(RuntimeError, match=r"session\.begin\(\)"):
            later.publish("a", "3")
        with pytest.raises(ZeroDivisionError), session.begin():
            later.publish("a", "4")
            raise ZeroDivisionError
    assert sent(publisher) == ["2"]


def test_a_session_begins_a_transaction_as_for_a_query(
    session: Session, publisher: Publisher
) -> None:
    assert not session.in_transaction()
    publisher.after(session)
    assert not session.in_transaction()
    publisher.after(session).publish("a", "1")
    assert session.in_transaction()
    with pytest.raises(InvalidRequestError, match="already begun"):
        session.begin()
    session.commit()
    assert sent(publisher) == ["1"]


def test_a_session_that_was_closed_for_good_refuses(
    engine: Engine, publisher: Publisher
) -> None:
    session = Session(engine, close_resets_only=False)
    later = publisher.after(session)
    session.close()
    with pytest.raises(InvalidRequestError, match="closed"):
        later.publish("a", "1")


def test_events_of_a_mapper_give_changes_within_a_flush(
    engine: Engine, publisher: Publisher
) -> None:
    def publish(mapper: object, connection: object, row: Row) -> None:
        publisher.after(object_session(row)).publish("a", f"{row.id} {row.text}")

    event.listen(Row, "after_insert", publish)
    try:
        with Session(engine) as session:
            session.add(Row(text="rolled back"))
            session.flush()
            session.rollback()
            session.add(Row(text="one"))
            with pytest.raises(ZeroDivisionError), session.begin_nested():
                session.add(Row(text="two"))
                session.flush()
                raise ZeroDivisionError
            session.add(Row(text="three"))
            session.commit()
            rows = session.execute(sa.select(Row.id, Row.text)).all()
    finally:
        event.remove(Row, "after_insert", publish)
    assert sent(publisher) == [f"{id} {text}" for id, text in rows]


def test_listeners_of_the_app_that_raise_or_publish_harm_nothing(
    session: Session, publisher: Publisher
) -> None:
    later = publisher.after(session)

    def after_commit(session: Session) -> None:
        later.publish("a", "2")
        raise ZeroDivisionError

    event.listen(session, "after_commit", after_commit)
    later.publish("a", "1")
    with pytest.raises(ZeroDivisionError):
        session.commit()
    event.remove(session, "after_commit", after_commit)
    session.close()
    assert sent(publisher) == ["1", "2"]

    def after_transaction_end(session: Session, transaction: object) -> None:
        later.publish("a", "4")

    event.listen(session, "after_transaction_end", after_transaction_end)
    later.publish("a", "3")
    session.commit()
    event.remove(session, "after_transaction_end", after_transaction_end)
    assert sent(publisher) == ["1", "2", "3"]
    session.rollback()
    session.commit()
    assert sent(publisher) == ["1", "2", "3"]


def test_a_session_of_two_databases_sends_if_both_have_committed(
    tmp_path: Path, engine: Engine, publisher: Publisher
) -> None:
    other = sqlite_engine(tmp_path / "other.db")
    with Session(other) as session:
        session.add(Row(id=1, text="parent"))
        session.commit()
    with Session(engine, binds={Child: other}) as session:
        session.add_all([Row(text="x"), Child(parent=1)])
        publisher.after(session).publish("a", "both")
        session.commit()
        assert sent(publisher) == ["both"]
        session.add_all([Row(text="x"), Child(parent=-1)])
        publisher.after(session).publish("a", "one")
        with pytest.raises(IntegrityError):
            session.commit()
        with warnings.catch_warnings():
            # The other one may have committed before.
            warnings.simplefilter("ignore", SAWarning)
            session.rollback()
        session.commit()
    assert sent(publisher) == ["both"]
    other.dispose()


@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_two_phases_send_after_the_second(
    publisher: Publisher, name: str, request: pytest.FixtureRequest
) -> None:
    database: Database = request.getfixturevalue(name)
    Row.__table__.create(database.engine)  # type: ignore[attr-defined]
    with Session(database.engine, twophase=True) as session:
        for ends in "rollback", "close", "commit":
            session.add(Row(text=ends))
            publisher.after(session).publish("a", ends)
            session.prepare()
            assert sent(publisher) == []
            getattr(session, ends)()
        session.add(Row(text="both"))
        publisher.after(session).publish("a", "both")
        session.commit()
        rows = session.scalars(sa.select(Row.text).order_by(Row.id)).all()
        session.rollback()
    assert sent(publisher) == rows == ["commit", "both"]


def test_what_a_session_holds_does_not_outlive_it(
    engine: Engine, publisher: Publisher
) -> None:
    session = Session(engine)
    publisher.after(session).publish("a", "1")
    session.execute(sa.text("SELECT 1"))
    reference = weakref.ref(session)
    del session
    gc.collect()
    assert reference() is None and sent(publisher) == []


def test_a_child_of_a_fork_sends_what_it_commits(engine: Engine, tmp_path: Path) -> None:
    publisher = Publisher(f"sqlite://{tmp_path}/push.db")
    with Session(engine) as session:
        later = publisher.after(session)
        later.publish("a", "parent")
        pid = os.fork()
        if not pid:
            try:
                engine.dispose(close=False)
                later.publish("a", "dropped in the child")
                session.rollback()
                later.publish("a", "child")
                session.commit()
            finally:
                os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        session.commit()
    assert sent(publisher) == ["child", "parent"]
    publisher.close()


# With the extensions.


@pytest.fixture(params=["Flask-SQLAlchemy", "Flask-SQLAlchemy-Lite"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> cabc.Iterator[Flask]:
    """An app whose view adds a row, publishes, and does what its address says."""
    app = Flask("shop", instance_path=str(tmp_path))
    app.testing = True
    push = Push(app)
    url = f"sqlite:///{tmp_path}/shop.db"
    db: t.Any
    if request.param == "Flask-SQLAlchemy":
        app.config["SQLALCHEMY_DATABASE_URI"] = url
        db = SQLAlchemy(app, metadata=Base.metadata)
    else:
        app.config["SQLALCHEMY_ENGINES"] = {"default": url}
        db = Lite(app)
    with app.app_context():
        Base.metadata.create_all(db.engine)

    @app.post("/<ends>")
    def add(ends: str) -> str:
        db.session.add(Row(text=ends))
        db.session.flush()
        push.after(db.session).publish("a", ends)
        if ends == "error":
            raise ZeroDivisionError
        if ends != "nothing":
            getattr(db.session, ends)()
        return ends

    yield app
    with app.app_context():
        db.engine.dispose()
    push._services().close()


def test_an_app_sends_what_its_views_commit(shop: Flask) -> None:
    shop.config["PROPAGATE_EXCEPTIONS"] = False
    shop.testing = True
    client = shop.test_client()
    answers = ["nothing", "commit", "rollback", "error", "close", "commit"]
    for ends in answers:
        assert client.post(f"/{ends}").status_code == (500 if ends == "error" else 200)
    push: Push = shop.extensions["push"]
    assert [event.data for event in push.history("a", 99).events] == ["commit"] * 2


def test_a_savepoint_within_a_flush_belongs_to_what_the_flush_is_in(
    session: Session, publisher: Publisher
) -> None:
    later = publisher.after(session)

    def after_flush(session: Session, context: object) -> None:
        with session.begin_nested():
            later.publish("a", "flush")

    event.listen(session, "after_flush", after_flush)
    session.add(Row(text="1"))
    session.flush()
    later.publish("a", "1")
    with session.begin_nested() as savepoint:
        session.add(Row(text="2"))
        session.flush()
        savepoint.rollback()
    session.commit()
    assert sent(publisher) == ["flush", "1"]
