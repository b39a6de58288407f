"""The page *With SQLAlchemy*: what its code does is what the page says."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import sys
import typing as t
from pathlib import Path
from types import ModuleType

import psycopg
import pytest
import sqlalchemy as sa
from flask import Flask
from flask import request
from flask.testing import FlaskClient
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column
from support.databases import Database
from support.pages import blocks
from support.pages import DOCS
from support.redises import Redis
from support.servers import until

from flask_push import Event
from flask_push import NotPublished
from flask_push import Publisher
from flask_push import Push

PAGE = DOCS["sqlalchemy"]

APP, PAY, DELETED, IMPORT, REMOVE, FLAG, ALL_FLAGS, *MORE = blocks(PAGE, "python")
ERRORS, LITE, ASYNC, PLAIN, OUTBOX, BY_CONNECTION, HELD, BY_HAND = MORE


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


class Written(t.NamedTuple):
    """What the page's code has defined, and what it needs."""

    names: dict[str, t.Any]
    client: FlaskClient
    db: t.Any

    @property
    def push(self) -> Push:
        push = self.names["push"]
        assert isinstance(push, Push)
        return push

    def post(self, path: str, **data: str) -> None:
        assert self.client.post(path, data=data).status_code == 204

    def add_order(self, text: str) -> None:
        self.post("/orders", text=text)

    def events(self, channel: str) -> list[Event]:
        return self.push.history(channel, 99).events

    def data(self, channel: str) -> list[t.Any]:
        return [event.json for event in self.events(channel)]


@pytest.fixture
def page(sqlite: Database, monkeypatch: pytest.MonkeyPatch) -> cabc.Iterator[Written]:
    app = Flask("docs_sqlalchemy")
    app.testing = True
    app.config["SQLALCHEMY_DATABASE_URI"] = sqlite.url
    db, push = SQLAlchemy(app), Push(app)
    # SQLAlchemy looks for what annotations name in the module.
    module = ModuleType("docs_sqlalchemy")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    names = vars(module)
    names |= {"app": app, "db": db, "push": push, "request": request}

    class Membership(db.Model):  # type: ignore[name-defined, misc]
        group: Mapped[int] = mapped_column(primary_key=True)
        user: Mapped[int] = mapped_column(primary_key=True)

    names["Membership"] = Membership
    for view in APP, PAY, DELETED, IMPORT, REMOVE, FLAG, ALL_FLAGS, ERRORS, BY_HAND:
        exec(view, names)
    for view in OUTBOX, BY_CONNECTION:
        exec(view, names)
    with app.app_context():
        db.create_all()
    yield Written(names, app.test_client(), db)
    with app.app_context():
        db.session.remove()
        db.engine.dispose()
    names["push"]._services().close()


def test_an_order_is_published_when_it_is_committed(page: Written) -> None:
    page.add_order("tea")
    assert page.data("orders") == [{"id": 1, "text": "tea"}]
    page.post("/orders/1/pay")
    assert [event.type for event in page.events("orders")] == ["message", "paid"]


def test_what_an_outbox_has_is_published_when_it_is_committed(page: Written) -> None:
    page.add_order("tea")
    page.post("/orders/1/ship")
    assert [event.type for event in page.events("orders")] == ["message", "shipped"]
    page.post("/orders/1/return")
    page.names["outbox"].relay()
    assert [event.type for event in page.events("orders")][2:] == ["back"]
    with page.names["app"].app_context():
        assert (
            page.db.session.scalars(sa.select(page.names["Order"].status)).one() == "back"
        )


def test_an_order_whose_commit_fails_is_not_published(page: Written) -> None:
    @sa.event.listens_for(page.db.session, "before_commit", once=True)
    def fail(session: object) -> None:
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        page.add_order("tea")
    page.add_order("milk")
    assert page.data("orders") == [{"id": 1, "text": "milk"}]


def test_the_event_of_a_savepoint_that_is_rolled_back_is_dropped(page: Written) -> None:
    done = page.client.post("/orders/import", data="tea\n\nmilk")
    assert done.status_code == 204
    assert page.data("orders") == [{"text": "tea"}, {"text": "milk"}]
    assert page.data("problems") == [{"line": ""}]
    with page.names["app"].app_context():
        assert page.db.session.scalars(sa.select(page.names["Order"].text)).all() == [
            *("tea", "milk")
        ]


def test_a_member_is_disconnected_when_the_removal_is_committed(page: Written) -> None:
    app, client = page.names["app"], page.client

    app.add_url_rule("/group", view_func=lambda: page.push.stream("group:3", user=7))
    with app.app_context():
        page.db.session.add(page.names["Membership"](group=3, user=7))
        page.db.session.commit()
    with client.get("/group", buffered=False) as response:
        page.post("/groups/3/members/7/remove")
        assert b"You were removed." in b"".join(response.iter_encoded())
    assert page.data("group:3") == [{"user": 7}]


def test_an_item_has_the_version_of_its_row(page: Written) -> None:
    with page.names["app"].app_context():
        page.db.session.add(page.names["Flag"](name="beta", on=False))
        page.db.session.commit()
    for on in "1", "0", "1":
        page.post("/flags/beta", on=on)
    event = page.push.items("flags").events["beta"]
    assert (event.json, event.version) == (True, 4)
    with page.names["app"].app_context():
        page.names["set_all_flags"]()
    assert page.push.items("flags").events["beta"].id == event.id


def test_a_deletion_is_published_by_the_model(page: Written) -> None:
    page.add_order("tea")
    with page.names["app"].app_context():
        page.db.session.delete(page.db.session.get(page.names["Order"], 1))
        assert len(page.events("orders")) == 1
        page.db.session.commit()
    assert [event.type for event in page.events("orders")] == ["message", "deleted"]


def test_what_was_not_sent_is_sent_again(page: Written, tmp_path: Path) -> None:
    waiting: list[cabc.Callable[[], str]] = []

    class Timer:
        def __init__(self, seconds: float, function: cabc.Callable[[], str]) -> None:
            waiting.append(function)

        def start(self) -> None:
            pass

    def again() -> str:
        with contextlib.suppress(NotPublished):
            return waiting[0]()
        return ""

    page.names["Timer"] = Timer
    with Redis.started(tmp_path) as redis:
        page.names["app"].config["PUSH_BROKER_URL"] = redis.url
        page.add_order("tea")
        redis.kill()
        page.add_order("milk")
        assert page.push.unsent == 1 and "1 unsent" in repr(page.push)
        redis.start()
        assert until(again) == page.events("orders")[-1].id
        assert page.data("orders") == [{"id": 2, "text": "milk"}]


def test_an_order_is_cancelled_by_hand(page: Written) -> None:
    page.add_order("tea")
    for _ in range(2):
        page.post("/orders/1/cancel")
    assert page.data("orders")[1:] == [{"id": 1, "text": "tea"}]


def test_the_other_sessions_of_the_page_publish_their_notes(sqlite: Database) -> None:
    app = Flask("docs_sqlalchemy_lite")
    app.testing = True
    app.config["SQLALCHEMY_ENGINES"] = {"default": sqlite.url}
    app.config["SQLALCHEMY_ASYNC_ENGINES"] = {
        "default": sqlite.with_driver("sqlite+aiosqlite")
    }
    push = Push(app)
    names: dict[str, t.Any] = {"app": app, "push": push, "Note": Note, "request": request}
    for code in LITE, ASYNC:
        exec(code, names)
    names["db"].init_app(app)
    Base.metadata.create_all(sqlite.engine)
    client = app.test_client()
    assert client.post("/notes", data={"text": "one"}).status_code == 204
    assert client.post("/async/notes", data={"text": "two"}).status_code == 204
    assert [event.data for event in push.history("notes", 9).events] == ["one", "two"]
    push._services().close()
    dispose(app, names["db"])


def dispose(app: Flask, db: t.Any) -> None:
    async def close() -> None:
        await db.async_engine.dispose()

    with app.app_context():
        db.engine.dispose()
        asyncio.run(close())


def test_a_script_publishes_its_note(sqlite: Database) -> None:
    Base.metadata.create_all(sqlite.engine)
    names: dict[str, t.Any] = {"Note": Note, "engine": sqlite.engine, "push_url": "memory:"}
    exec(PLAIN, names)
    publisher = names["publisher"]
    assert isinstance(publisher, Publisher)
    (event,) = publisher.history("notes", 9).events
    assert event.data == "from a script"
    publisher.close()


def test_a_transaction_of_psycopg_holds_its_events(postgresql: Database) -> None:
    app = Flask("docs_held")
    app.testing = True
    push = Push(app)
    names = {"push": push, "database": postgresql.with_driver("postgresql")}
    # The table is not there yet: nothing is sent.
    with pytest.raises(psycopg.Error):
        exec(HELD, names)
    assert push.history("user:7", 9).events == []
    with postgresql.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE account (id INTEGER, balance INTEGER)")
        connection.exec_driver_sql("INSERT INTO account VALUES (7, 10)")
    exec(HELD, names)
    assert [event.json for event in push.history("user:7", 9).events] == [
        {"balance": "changed"}
    ]
    push._services().close()
