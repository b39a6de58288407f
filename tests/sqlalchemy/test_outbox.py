"""What is published in a transaction of the app's database is sent if it commits."""

from __future__ import annotations

import collections.abc as cabc
import gc
import json
import typing as t
import weakref
from pathlib import Path

import flask_sqlalchemy
import flask_sqlalchemy_lite
import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.asyncio import create_async_engine
from support.apps import make_app
from support.outboxes import direct as direct
from support.outboxes import opened
from support.outboxes import Shop
from support.outboxes import shop as shop
from support.plain_broker import Plain
from support.servers import free_port
from support.servers import until

from flask_push import Event
from flask_push import NotRead
from flask_push import Publisher
from flask_push import Push
from flask_push.brokers.memory import MemoryBroker
from flask_push.sqlalchemy import Outbox


def test_committed_rows_are_sent_in_order_and_deleted(shop: Shop) -> None:
    with orm.Session(shop.engine) as session:
        for n in range(5):
            shop.outbox.publish(session, "a", {"n": n})
        assert shop.sent() == []
        session.commit()
    until(lambda: len(shop.sent()) == 5)
    assert shop.sent() == [f'{{"n": {n}}}' for n in range(5)]
    until(lambda: not shop.rows())


def test_a_rollback_takes_the_rows_with_it(direct: Shop) -> None:
    with orm.Session(direct.engine) as session:
        direct.outbox.publish(session, "a", "no")
        session.rollback()
        with session.begin_nested() as savepoint:
            direct.outbox.publish(session, "a", "no")
            savepoint.rollback()
        with session.begin_nested():
            direct.outbox.publish(session, "a", "yes")
        session.commit()
    assert direct.sent() == ["yes"]


def test_all_that_a_push_sends_can_be_sent(direct: Shop) -> None:
    big = "x" * 100_000
    with orm.Session(direct.engine) as session:
        outbox = direct.outbox
        outbox.publish(session, "a", "ä\x00\u2028", type="said", key="k", exclude="me.x")
        outbox.publish(session, "a", "again", key="k")
        outbox.publish(session, "a", "passing", store=False)
        outbox.publish_many(session, [Event("a", {"b": 1}), Event("b", big)])
        outbox.publish_many(session, [])
        outbox.set(session, "c", "one", 1, version=2, ttl=60)
        outbox.set(session, "c", "two", 2, type="t")
        outbox.unset(session, "c", "one", version=3)
        outbox.disconnect(session, user="u", session="s", channel="a", reason="why")
        session.commit()
    events = direct.publisher.history("a", 10).events
    assert [(e.data, e.type) for e in events] == [
        *(("ä\x00\u2028", "said"), ('{"b": 1}', "message")),
    ]
    assert direct.sent("b") == [big]
    items = direct.publisher.items("c").events
    assert [(e.item, e.data, e.type) for e in items.values()] == [("two", "2", "t")]
    broker = direct.publisher._broker
    assert isinstance(broker, MemoryBroker)
    (entry,) = broker.read_own("disconnect").entries
    assert json.loads(entry.data) == {
        **{"user": "u", "session": "s", "channel": "a", "reason": "why"},
    }


def test_a_scoped_session_and_a_connection_will_do(shop: Shop) -> None:
    scoped = orm.scoped_session(orm.sessionmaker(shop.engine))
    shop.outbox.publish(scoped, "a", "1")
    scoped.commit()
    scoped.remove()
    with shop.engine.begin() as connection:
        shop.outbox.publish(connection, "a", "2")
        shop.outbox.publish_many(connection, [Event("a", str(n)) for n in range(3, 3000)])
    until(lambda: len(shop.sent()) == 1000)
    until(lambda: shop.sent()[-1] == "2999")


def test_what_is_no_session_is_refused(direct: Shop) -> None:
    for wrong in direct.engine, None, "a":
        with pytest.raises(TypeError, match="a session or a connection"):
            direct.outbox.publish(wrong, "a", 1)  # type: ignore[arg-type]
    session = AsyncSession(create_async_engine("sqlite+aiosqlite://"))
    with pytest.raises(TypeError, match="await session.run_sync"):
        direct.outbox.publish(session, "a", 1)  # type: ignore[arg-type]
    session = orm.Session(direct.engine, autobegin=False)  # type: ignore[assignment]
    with pytest.raises(sa.exc.InvalidRequestError, match=r"session.begin\(\)"):
        direct.outbox.publish(session, "a", 1)  # type: ignore[arg-type]


def test_what_can_not_be_sent_is_refused_at_the_call(direct: Shop) -> None:
    with orm.Session(direct.engine) as session:
        outbox = direct.outbox
        for call, error in (
            (lambda: outbox.publish(session, "a", object()), TypeError),
            (lambda: outbox.publish(session, "a", "x" * 2**21), ValueError),
            (lambda: outbox.publish(session, "a" * 65, "x"), ValueError),
            (lambda: outbox.publish(session, "a", "x", type="push:x"), ValueError),
            (lambda: outbox.publish_many(session, 1), TypeError),  # type: ignore[arg-type]
            (lambda: outbox.set(session, "a", "", 1), ValueError),
            (lambda: outbox.unset(session, "a", ""), ValueError),
            (lambda: outbox.disconnect(session), TypeError),
        ):
            with pytest.raises(error):
                call()  # type: ignore[no-untyped-call]
        outbox.publish(session, "a", "right")
        session.commit()
    assert direct.sent() == ["right"]


def test_a_session_is_flushed_before_the_row_gets_its_number(direct: Shop) -> None:
    class Base(orm.DeclarativeBase):
        pass

    class Order(Base):
        __table__ = sa.Table(
            "orders2", Base.metadata, sa.Column("id", sa.Integer, primary_key=True)
        )

    Base.metadata.create_all(direct.engine)
    with orm.Session(direct.engine) as session:
        session.add(order := Order())
        direct.outbox.publish(session, "a", 1)
        assert sa.inspect(order).persistent


def test_a_session_that_joined_a_transaction_sends_nothing_while_that_goes_on(
    direct: Shop,
) -> None:
    """As in test suites that roll everything back."""
    with direct.engine.connect() as connection:
        outer = connection.begin()
        with orm.Session(connection, join_transaction_mode="create_savepoint") as session:
            direct.outbox.publish(session, "a", "1")
            session.commit()
        assert direct.sent() == []
        outer.rollback()
    direct.outbox.relay()
    assert direct.sent() == []


def test_a_connection_in_tests_sends_when_relay_is_called(direct: Shop) -> None:
    with direct.engine.begin() as connection:
        direct.outbox.publish(connection, "a", "1")
    assert direct.sent() == []
    direct.outbox.relay()
    assert direct.sent() == ["1"]


def test_a_commit_in_a_test_is_never_hidden_by_an_error_of_the_store(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    with opened(engine, f"redis://127.0.0.1:{free_port()}") as shop:
        with orm.Session(engine) as session:
            shop.outbox.publish(session, "a", 1)
            session.commit()
        assert len(shop.rows()) == 1
        assert "Could not relay the outbox 'push_outbox' to the store" in caplog.text
        with pytest.raises(NotRead):
            shop.outbox.relay()
    engine.dispose()


def test_an_outbox_needs_a_name_of_its_own_and_a_database(direct: Shop) -> None:
    publisher = direct.publisher
    metadata = sa.MetaData(schema="shop")
    outbox = Outbox(publisher, metadata, engine=direct.engine)
    assert outbox.table.fullname == "shop.push_outbox"
    with pytest.raises(ValueError, match="name="):
        Outbox(publisher, metadata, engine=direct.engine)
    Outbox(publisher, metadata, engine=direct.engine, name="other")
    with pytest.raises(RuntimeError, match="engine="):
        Outbox(publisher, sa.MetaData())
    with pytest.raises(TypeError, match="create_engine"):
        Outbox(publisher, sa.MetaData(), engine=create_async_engine("sqlite+aiosqlite://"))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="Plain keeps no items"):
        Outbox(Publisher(Plain()), sa.MetaData(), engine=direct.engine)


# With an app.


@pytest.fixture(params=["flask_sqlalchemy", "flask_sqlalchemy_lite"])
def extension(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Made(t.NamedTuple):
    app: Flask
    push: Push
    db: t.Any
    outbox: Outbox


@pytest.fixture
def made(extension: str, tmp_path: Path) -> cabc.Iterator[Made]:
    push = Push()
    main, other = f"sqlite:///{tmp_path}/app.db", f"sqlite:///{tmp_path}/other.db"
    if extension == "flask_sqlalchemy":
        db: t.Any = flask_sqlalchemy.SQLAlchemy()
        metadata = db.metadata
        other_metadata = sa.MetaData(info={"bind_key": "other"})
        config: dict[str, t.Any] = {
            "SQLALCHEMY_DATABASE_URI": main,
            "SQLALCHEMY_BINDS": {"other": other},
        }
    else:
        db = flask_sqlalchemy_lite.SQLAlchemy()
        metadata, other_metadata = sa.MetaData(), sa.MetaData(info={"bind_key": "other"})
        config = {"SQLALCHEMY_ENGINES": {"default": main, "other": other}}
    outbox = Outbox(push, metadata)
    elsewhere = Outbox(push, other_metadata, name="elsewhere")
    app = make_app(push, **config)
    db.init_app(app)
    with app.app_context():
        metadata.create_all(db.engine)
        other_metadata.create_all(db.engines["other"])
    yield Made(app, push, db, outbox)
    with app.app_context():
        found = {relay.rows.engine.url.database for relay in elsewhere._relays}
        assert found == {f"{tmp_path}/other.db"}
        push._services().close()
        for engine in db.engines.values():
            engine.dispose()


def test_in_a_test_the_commit_of_a_view_has_sent(made: Made) -> None:
    @made.app.post("/say")
    def say() -> str:
        made.outbox.publish(made.db.session, "a", {"said": 1})
        made.db.session.commit()
        return ""

    made.app.test_client().post("/say")
    assert [event.json for event in made.push.history("a", 5).events] == [{"said": 1}]
    assert repr(made.outbox) == (
        "<Outbox 'push_outbox' [does not hold the lease, 1 relayed]>"
    )


def test_an_app_without_a_database_is_an_error_at_its_first_use() -> None:
    push = Push()
    Outbox(push, sa.MetaData())
    app = make_app(push)
    with pytest.raises(RuntimeError, match=r"'app'.*engine="):
        push.publish("a", 1)
    with app.app_context():
        push._states[app]._services.close()  # type: ignore[union-attr]


def test_an_outbox_keeps_no_app_alive(tmp_path: Path) -> None:
    push = Push()
    engine = sa.create_engine(f"sqlite:///{tmp_path}/app.db")
    outbox = Outbox(push, sa.MetaData(), engine=engine)
    outbox.table.metadata.create_all(engine)
    app = make_app(push, TESTING=False, PUSH_BROKER_URL="memory:")
    push.publish("a", 1)
    (relay,) = outbox._relays
    until(lambda: relay._turns.lease.holds)
    reference = weakref.ref(app)
    del app
    until(lambda: gc.collect() is not None and reference() is None)
    until(lambda: relay._thread is None)
    engine.dispose()
