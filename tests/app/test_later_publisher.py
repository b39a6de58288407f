"""The methods of a Push and of a Publisher that send later."""

from __future__ import annotations

import sys

import pytest
from flask import Flask
from sqlalchemy.orm import Session
from support.apps import app as app
from support.apps import push as push
from support.sessions import engine as engine
from support.sessions import publisher as publisher
from support.sessions import sent
from support.sessions import session as session

from flask_push import Publisher
from flask_push import Push


def test_without_sqlalchemy_the_error_names_the_extra(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*sys.modules]:
        if name.startswith("flask_push.sqlalchemy"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("sqlalchemy.__version__", "1.4.54")
    with pytest.raises(RuntimeError, match=r'pip install -U "Flask-Push\[sqlalchemy\]"'):
        publisher.after(None)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(RuntimeError, match=r'pip install -U "Flask-Push\[sqlalchemy\]"'):
        publisher.after(None)


def test_a_template_is_rendered_at_the_call(
    push: Push, app: Flask, session: Session
) -> None:
    shown = app.jinja_env.from_string("<b>{{ text }}</b>")
    app.jinja_env.get_or_select_template = lambda *_: shown  # type: ignore[method-assign]
    text = ["now"]
    with app.app_context():
        push.after(session).publish_template("a", "_text.html", text=text)
        text[0] = "later"
        session.commit()
        with push.held() as later:
            later.publish_template("a", "_text.html", text="held", type="t")
            later.send()
    events = push.history("a", 9).events
    assert [event.data for event in events] == ["<b>[&#39;now&#39;]</b>", "<b>held</b>"]
    assert [event.type for event in events] == ["message", "t"]
    assert push.unsent == 0


def test_a_publisher_sends_for_itself_alone(
    publisher: Publisher, push: Push, app: Flask, session: Session
) -> None:
    push.after(session).publish("a", "app")
    publisher.after(session).publish("a", "alone")
    session.commit()
    assert sent(publisher) == ["alone"]
    assert [event.data for event in push.history("a", 9).events] == ["app"]
