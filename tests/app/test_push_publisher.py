"""A Push publishes and reads with the services of the app that is meant."""

from __future__ import annotations

import typing as t

import pytest
from flask import Flask
from flask import has_request_context
from flask import request
from jinja2 import DictLoader
from jinja2 import TemplateNotFound
from support.apps import app as app
from support.apps import make_app
from support.apps import push as push

from flask_push import Push
from flask_push.testing import read_events


def test_the_json_provider_of_the_app_makes_the_json(push: Push, app: Flask) -> None:
    class Mine(type(app.json)):  # type: ignore[misc]
        def dumps(self, data: t.Any, **kwargs: t.Any) -> str:
            return f"<{data}>"

    app.json = Mine(app)
    push.publish("a", 5)
    push.publish("a", "text")
    push.publish("a", None)
    assert [e.data for e in push.history("a", 9).events] == ["<5>", "text", "<None>"]


def test_a_template_is_rendered_and_published(push: Push, app: Flask) -> None:
    templates = {"_said.html": "<b>{{ who }}</b>\n{{ channel }}, {{ request_path }}"}
    app.jinja_env.loader = DictLoader(templates)

    @app.context_processor
    def path() -> dict[str, str]:
        return {"request_path": request.path if has_request_context() else "none"}

    @app.get("/say")
    def say() -> str:
        return push.publish_template("a", "_said.html", who="<Ann>", type="said")

    client = app.test_client()
    with client.get("/stream") as response:
        id = client.get("/say").text
        with app.app_context():
            for _ in range(2):
                push.publish_template("a", "_said.html", who="Ben", channel="c", key="k")
        first, second = read_events(response, 2)
    assert (first.id, first.type) == (id, "said")
    assert first.data == "<b>&lt;Ann&gt;</b>\n, /say"
    assert (second.type, second.data) == ("message", "<b>Ben</b>\nc, none")
    assert len(push.history("a", 9).events) == 2
    with app.app_context(), pytest.raises(TemplateNotFound):
        push.publish_template("a", "none.html")
    with pytest.raises(RuntimeError, match="application context"):
        push.publish_template("a", "_said.html")


def test_a_push_sets_and_reads_items_with_the_json_of_its_app(push: Push) -> None:
    app = make_app(push)
    with app.app_context():
        position = push.position()
        id = push.set("a", "x", {"n": 1}, ttl=60, version=1)
        assert position < id and push.items("a").events["x"].id == id
        assert push.unset("a", "x", version=2) > id
        assert push.items("a").events == {}
    two = make_app(push, "two")
    with pytest.raises(RuntimeError, match="2 apps.*app_context"):
        push.set("a", "x", 1)
    for each in app, two:
        with each.app_context():
            push._services().close()


def test_an_app_that_turned_disconnects_off_can_make_none(push: Push) -> None:
    app = make_app(push, PUSH_DISCONNECT=False)
    with app.app_context():
        with pytest.raises(RuntimeError, match="PUSH_DISCONNECT is False.*Remove that key"):
            push.disconnect(user=7)
        assert not push._services().config.options.disconnect
