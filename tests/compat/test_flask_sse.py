"""The calls of Flask-SSE, in an app that was written for it."""

from __future__ import annotations

import collections.abc as cabc
import itertools
import json
import os
import threading
import typing as t

import flask_sse as original
import pytest
from flask import abort
from flask import Blueprint
from flask import Flask
from flask import request
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from support.listeners import in_thread
from support.servers import until

from flask_push import Push
from flask_push import sse as wire
from flask_push.compat.flask_sse import Message
from flask_push.compat.flask_sse import ServerSentEventsBlueprint
from flask_push.compat.flask_sse import sse
from flask_push.testing import assert_silent
from flask_push.testing import captured
from flask_push.testing import make_gap
from flask_push.testing import read_events


def make_app(**config: t.Any) -> Flask:
    app = Flask("moved", instance_path=os.path.abspath("/nonexistent"))
    app.config.update(TESTING=True, **config)
    return app


@pytest.fixture
def app() -> cabc.Iterator[Flask]:
    app = make_app()
    app.register_blueprint(sse, url_prefix="/stream")
    with app.app_context():
        yield app
    app.extensions["push"]._services_of(app).close()


def test_what_is_published_reaches_the_pages_of_its_channel(app: Flask) -> None:
    client = app.test_client()
    with client.get("/stream") as first, client.get("/stream?channel=news") as second:
        sse.publish({"message": "Hello!"}, type="greeting")
        sse.publish("text", channel="news")
        (event,) = read_events(first, 1)
        assert (event.type, event.json) == ("greeting", {"message": "Hello!"})
        (event,) = read_events(second, 1)
        assert (event.type, event.data) == ("message", "text")
        assert_silent(first)


def test_an_empty_channel_is_the_default_one(app: Flask) -> None:
    with app.test_client().get("/stream?channel=") as response:
        sse.publish("hi")
        assert read_events(response, 1)[0].data == "hi"


def test_the_view_leads_to_no_other_channel_of_the_app(app: Flask) -> None:
    push: Push = app.extensions["push"]
    with app.test_client().get("/stream?channel=user:7") as response:
        push.publish("user:7", "private")
        assert_silent(response)
        sse.publish("public", channel="user:7")
        assert [event.data for event in read_events(response, 1)] == ["public"]


def test_a_guard_of_the_blueprint_decides_who_may_listen() -> None:
    app = make_app()
    guarded = ServerSentEventsBlueprint("guarded", __name__)
    guarded.add_url_rule(rule="", endpoint="stream", view_func=guarded.stream)

    @guarded.before_request
    def check_access() -> None:
        if request.args.get("channel") == "analytics":
            abort(403)

    app.register_blueprint(guarded, url_prefix="/sse")
    client = app.test_client()
    assert client.get("/sse?channel=analytics").status_code == 403
    with client.get("/sse") as response:
        assert response.status_code == 200
    app.extensions["push"]._services_of(app).close()


def test_a_channel_that_can_not_exist_is_a_bad_request(app: Flask) -> None:
    assert app.test_client().get(f"/stream?channel={'x' * 65}").status_code == 400
    with pytest.raises(ValueError, match="64"):
        sse.publish("hi", channel="x" * 65)


@pytest.mark.parametrize(("given", "words"), [("id", "missed"), ("retry", "PUSH_RETRY")])
def test_what_is_not_sent_is_warned_of(app: Flask, given: str, words: str) -> None:
    values: dict[str, t.Any] = {given: 5}
    with app.test_client().get("/stream") as response:
        with pytest.warns(UserWarning, match=words) as warned:
            id = sse.publish("hi", **values)
        assert warned[0].filename == __file__
        (event,) = read_events(response, 1)
        assert event.data == "hi" and event.id == id


# The messages.


def test_messages_are_those_that_are_published(app: Flask) -> None:
    sent = [{"a": 1}, [1, 2], "text", "{no json", "", 5, None]
    found: list[Message] = []
    ready, push = threading.Event(), app.extensions["push"]
    listen = push.listen

    def listening(*channels: str) -> t.Any:
        listener = listen(*channels)
        ready.set()
        return listener

    push.listen = listening

    def read() -> None:
        with app.app_context():
            messages = sse.messages(channel="news")
            for message in itertools.islice(messages, len(sent)):
                found.append(message)
            t.cast(t.Any, messages).close()

    thread = in_thread(read)
    assert ready.wait(20)
    for data in sent:
        sse.publish(data, type="said", channel="news")
        if data == "":
            until(lambda: len(found) == 5)
            make_gap("sse:news")
    until(lambda: len(found) == len(sent))
    thread.join(20)
    gap = found.pop(5)
    assert gap.type == "push:gap" and gap.data["reason"] == "trimmed"
    assert {message.type for message in found} == {"said"}
    assert [message.data for message in found] == [*sent[:5], "5"]


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"))
DATA = TEXT | st.recursive(st.none() | st.integers() | TEXT, st.lists)
NAMES = st.text("abcXYZ019-_", min_size=1, max_size=9)


@settings(deadline=None)
@given(
    DATA,
    st.none() | NAMES.filter(lambda name: name not in ("load", "abort", "open", "error")),
    st.none() | NAMES,
    st.none() | st.integers(500, 9999),
)
def test_a_message_is_that_of_flask_sse(
    data: t.Any, type: str | None, id: str | None, retry: int | None
) -> None:
    ours, theirs = Message(data, type, id, retry), original.Message(data, type, id, retry)
    assert ours.to_dict() == theirs.to_dict()
    assert repr(ours) == repr(theirs)
    assert ours == Message(data, type=type, id=id, retry=retry)
    assert ours != theirs and ours != Message(data, "another", id, retry)
    text = data if isinstance(data, str) else json.dumps(data)
    if text and text.splitlines() == text.split("\n") and "\n " not in f"\n{text}":
        # It splits text at more characters than browsers do, sends none that is empty, and
        # browsers take away the first space of each of its lines.
        assert heard(str(ours)) == heard(str(theirs))


def heard(text: str) -> tuple[t.Any, ...]:
    parser = wire.Parser()
    found = parser.feed(text.encode())
    return [(e.type, e.data) for e in found], parser.last_event_id, parser.retry


# The app.


def test_the_push_of_the_app_is_used() -> None:
    app = make_app()
    push = Push(app)
    app.register_blueprint(sse, url_prefix="/stream")
    assert app.extensions["push"] is push
    with app.app_context(), captured(push) as events:
        sse.publish("hi", channel="news")
    assert [(event.channel, event.data) for event in events] == [("sse:news", "hi")]
    push._services_of(app).close()


def test_it_may_be_registered_in_another_blueprint_and_in_several_apps() -> None:
    for _ in range(2):
        app = make_app()
        outer = Blueprint("outer", __name__, url_prefix="/outer")
        outer.register_blueprint(sse, url_prefix="/stream")
        app.register_blueprint(outer)
        app.register_blueprint(sse, url_prefix="/push", name="again")
        for path in "/outer/stream", "/push":
            with app.test_client().get(path) as response, app.app_context():
                sse.publish("hi")
                assert read_events(response, 1)[0].data == "hi"
        app.extensions["push"]._services_of(app).close()


@pytest.mark.parametrize(
    ("config", "url"),
    [
        ({}, None),
        ({"REDIS_URL": ""}, None),
        ({"REDIS_URL": "redis://one"}, "redis://one"),
        ({"REDIS_URL": "redis://:password@one"}, "redis://:password@one"),
        ({"REDIS_URL": "redis://one", "SSE_REDIS_URL": "redis://two"}, "redis://two"),
        ({"REDIS_URL": "redis://one", "PUSH_BROKER_URL": "memory:"}, "memory:"),
    ],
)
def test_the_store_is_the_redis_that_is_configured(
    config: dict[str, str], url: str | None
) -> None:
    app = make_app(**config)
    app.register_blueprint(sse, url_prefix="/stream")
    assert app.config.get("PUSH_BROKER_URL") == url


def test_a_redis_url_that_can_not_be_one_is_named_by_its_key() -> None:
    app = make_app(REDIS_URL="redis://one?unknown=1")
    with pytest.raises(ValueError, match="REDIS_URL, as PUSH_BROKER_URL = 'redis://one"):
        app.register_blueprint(sse, url_prefix="/stream")
    app = make_app(REDIS_URL="redis://one", PUSH_KEEPS=5)
    with pytest.raises(ValueError, match="^PUSH_KEEPS is not a key"):
        app.register_blueprint(sse, url_prefix="/stream")


def test_a_redis_that_the_push_of_the_app_does_not_use_is_an_error() -> None:
    app = make_app(REDIS_URL="redis://one")
    Push(app)
    with pytest.raises(RuntimeError, match="Set PUSH_BROKER_URL to the same URL"):
        app.register_blueprint(sse, url_prefix="/stream")
    app.config["PUSH_BROKER_URL"] = "memory:"
    app.register_blueprint(sse, url_prefix="/stream")


def test_a_redis_that_is_set_too_late_is_an_error() -> None:
    app = make_app()
    app.register_blueprint(sse, url_prefix="/stream")
    app.config["REDIS_URL"] = "redis://one"
    with app.app_context(), pytest.raises(RuntimeError, match="before 'app.register"):
        sse.publish("hi")


def test_without_a_blueprint_or_a_context_nothing_is_published() -> None:
    with make_app().app_context(), pytest.raises(RuntimeError, match="lacks the blueprint"):
        sse.publish("hi")
    with pytest.raises(RuntimeError, match="outside of application context"):
        sse.publish("hi")


def test_there_is_no_redis_connection() -> None:
    with pytest.raises(AttributeError, match="from_url"):
        assert sse.redis
