"""The page *Notifications*: what its code does is what the page says."""

from __future__ import annotations

import collections.abc as cabc
import threading
import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from playwright.sync_api import Page
from sqlalchemy import ForeignKey
from sqlalchemy import update
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column
from support.browser import Windows
from support.pages import blocks
from support.pages import DOCS
from support.servers import flask_run
from support.servers import serve
from support.servers import Server

from flask_push import Push
from flask_push.testing import read_events

NOTIFY, MODEL, CHANNELS, EVERYONE, AWAY = blocks(DOCS["notifications"], "python")
(IN_PAGE,) = blocks(DOCS["notifications"], "js")


class Written(t.NamedTuple):
    app: Flask
    push: Push
    names: dict[str, t.Any]

    def notify(self, user: int, text: str, function: str = "notify") -> None:
        with self.app.app_context():
            self.names[function](user, text)


@pytest.fixture
def page(tmp_path: Path) -> cabc.Iterator[Written]:
    app = Flask("page", instance_path=str(tmp_path))
    app.testing = True
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///rows.db"

    class Base(DeclarativeBase):
        pass

    db, push = SQLAlchemy(app, model_class=Base), Push(app)
    names: dict[str, t.Any] = {"app": app, "push": push, "db": db, "update": update}
    names |= {"Mapped": Mapped, "mapped_column": mapped_column, "ForeignKey": ForeignKey}
    names |= {"login_required": lambda view: view, "current_user": SimpleNamespace(id=7)}
    for code in MODEL, NOTIFY, CHANNELS, AWAY:
        # Without the annotations of this module.
        exec(compile(code, "page", "exec", dont_inherit=True), names)
    with app.app_context():
        db.create_all()
        db.session.add_all([names["User"](id=7), names["User"](id=8)])
        db.session.commit()
    yield Written(app, push, names)
    push._services().close()
    with app.app_context():
        for engine in db.engines.values():
            engine.dispose()


def unread(page: Written, user: int) -> t.Any:
    return page.push.items(f"user:{user}").events["unread"].json


def test_a_notice_reaches_its_user_and_is_counted(page: Written) -> None:
    client = page.app.test_client()
    page.notify(7, "before")
    with client.get("/stream") as response:
        # The number comes first. The old notice does not.
        (number,) = read_events(response, 1)
        assert (number.item, number.json) == ("unread", 1)
        page.notify(8, "for another")
        page.notify(7, "now")
        found = read_events(response, 2)
        assert {event.type or event.item for event in found} == {"notice", "message"}
        (notice,) = (event for event in found if event.type == "notice")
        assert notice.json == {"text": "now"}
    assert (unread(page, 7), unread(page, 8)) == (2, 1)
    assert client.post("/notices/read").status_code == 204
    assert (unread(page, 7), unread(page, 8)) == (0, 1)
    with page.app.app_context():
        notices = page.names["db"].session.query(page.names["Notice"])
        assert [notice.text for notice in notices] == ["before", "for another", "now"]


def test_notices_at_once_are_all_counted(page: Written) -> None:
    threads = [threading.Thread(target=page.notify, args=(7, "x")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert unread(page, 7) == 8


def test_a_notice_that_is_rolled_back_is_not_sent(page: Written) -> None:
    def refuse() -> None:
        raise OSError

    with page.app.app_context():
        session = page.names["db"].session
        with pytest.MonkeyPatch.context() as patch, pytest.raises(OSError):
            patch.setattr(session, "commit", refuse)
            page.names["notify"](7, "x")
        session.rollback()
    assert (
        not page.push.items("user:7").events and not page.push.history("user:7", 9).events
    )


def test_a_user_has_the_channels_of_all_groups(page: Written) -> None:
    user = SimpleNamespace(id=7, groups=[SimpleNamespace(id=3)])
    channels = page.names["streams_of"](user)
    assert channels == ["user:7", "everyone", "group:3"]
    with page.app.test_request_context():
        exec(EVERYONE, page.names)
    (event,) = page.push.history("everyone", 9).events
    assert event.type == "notice" and "restart" in event.json["text"]


def test_who_has_no_page_open_gets_a_mail(page: Written) -> None:
    mails: list[tuple[int, str]] = []
    page.names["send_mail"] = lambda *mail: mails.append(mail)
    with page.app.test_client().get("/present/stream") as response:
        read_events(response, 1, own=True)
        page.notify(7, "here", "notify_or_mail")
        page.notify(8, "away", "notify_or_mail")
    assert mails == [(8, "away")]


# In a browser.

APP = f"""
import os
from types import SimpleNamespace

from flask import *
from flask_push import Push
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import ForeignKey, update
from sqlalchemy.orm import Mapped, mapped_column

app = Flask("page", instance_path=os.environ["INSTANCE"])
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///rows.db"
db = SQLAlchemy(app)
push = Push(app)
login_required = lambda view: view
current_user = SimpleNamespace(id=7)

{MODEL}

{NOTIFY}

with app.app_context():
    db.create_all()
    db.session.add(User(id=7))
    db.session.commit()


@app.post("/notify")
def notify_one():
    notify(7, request.form["text"])
    return "", 204


@app.get("/")
def index():
    return '<body data-user=7><button id="bell"><b id="badge"></b></button>'
"""


@pytest.fixture
def server(tmp_path: Path) -> cabc.Iterator[Server]:
    (tmp_path / "page.py").write_text(APP)
    with serve(flask_run, tmp_path, app=str(tmp_path / "page.py")) as server:
        yield server


def test_each_page_shows_a_notice_once_and_the_same_number(
    server: Server, windows: Windows
) -> None:
    def show() -> Page:
        page = windows.open(server.url)
        code = f"window.toasts = [];\nconst toast = (text) => toasts.push(text);\n{IN_PAGE}"
        page.add_script_tag(content=f"{code}\nwindow.push = push;", type="module")
        page.wait_for_function("window.push?.state == 'open'")
        return page

    def notify(text: str) -> None:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        status, _, _ = server.request("POST", "/notify", f"text={text}".encode(), **form)
        assert status == 204, server.log

    def has(page: Page, number: str, *toasts: str) -> None:
        page.wait_for_function("number => badge.textContent == number", arg=number)
        page.wait_for_function(
            "toasts => window.toasts.join() == toasts", arg=",".join(toasts)
        )

    first = show()
    notify("a")
    has(first, "1", "a")
    second = show()
    has(second, "1")
    notify("b")
    has(first, "2", "a", "b")
    has(second, "2", "b")
    second.click("#bell")
    has(first, "", "a", "b")
    has(second, "", "b")
