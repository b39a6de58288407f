"""What a Flask app sees, in Flask's own test client: no server, no file, no process."""

from __future__ import annotations

import collections.abc as cabc
import gc
import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import typing as t
import weakref
from pathlib import Path

import pytest
from flask import Flask
from flask import has_request_context
from flask import request
from flask import Response
from flask import session
from flask.testing import FlaskClient
from jinja2 import DictLoader
from jinja2 import TemplateNotFound
from support.servers import until

from flask_push import _response
from flask_push import Event
from flask_push import Position
from flask_push import Push
from flask_push.testing import _reader
from flask_push.testing import read_events


def make_app(push: Push, name: str = "app", **config: t.Any) -> Flask:
    app = Flask(name, instance_path="/nonexistent")
    app.testing = True
    app.secret_key = "tests"
    app.config.update(config)
    push.init_app(app)

    @app.get("/stream")
    def stream() -> Response:
        session["seen"] = True
        return push.stream("a", "b", last=request.args.get("last", 0, int))

    return app


@pytest.fixture
def push() -> Push:
    return Push()


@pytest.fixture
def app(push: Push) -> cabc.Iterator[Flask]:
    app = make_app(push)
    yield app
    with app.app_context():
        push._parts().close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


# Everybody but the one who did it.


def connection_of(response: t.Any) -> str:
    (opened,) = read_events(response, 1, own=True)
    connection: str = json.loads(opened.data)["connection"]
    return connection


def test_who_did_it_does_not_hear_of_it(push: Push, client: FlaskClient) -> None:
    with client.get("/stream") as mine, client.get("/stream") as other:
        connection = connection_of(mine)
        push.publish("a", "1")
        last = push.publish("a", "2", exclude=connection, type="said")
        push.publish_many([Event("b", "3", exclude=connection), Event("b", "4")])
        push.publish("a", "5", exclude=connection, store=False)
        push.publish("a", "6")
        heard = read_events(other, 4)
        assert [event.data for event in read_events(mine, 3)] == ["1", "4", "6"]
    assert [event.data for event in heard] == ["1", "2", "3", "4"]
    assert heard[1].type == "said" and heard[1].id == last
    # Nor does anybody learn who that was.
    assert connection.split(".")[0] not in repr(heard)
    first, second = push.history("a", 3).events[:2]
    assert (first.data, second.data) == ("1", "2")
    assert (second.type, second.exclude) == ("said", None)


def test_it_does_not_when_it_comes_back_either(push: Push, client: FlaskClient) -> None:
    with client.get("/stream") as response:
        connection = connection_of(response)
    position = push.publish("a", "1")
    for data in "2", "3":
        push.publish("a", data, exclude=connection if data == "2" else None)
    name = connection.partition(".")[0]
    where = f"/stream?last_event_id={position}"
    with client.get(f"{where}&connection={name}") as response:
        # Its secret is not told again, for whoever has read the address would hear it.
        assert connection_of(response) == name
        push.publish("b", "4", exclude=connection)
        push.publish("b", "5")
        assert [event.data for event in read_events(response, 2)] == ["3", "5"]
    with client.get(f"{where}&connection=nonsense") as response:
        assert connection_of(response) != "nonsense"
        assert len(read_events(response, 4)) == 4


@pytest.mark.parametrize("of", ["name", "forged", "empty", "none", "odd"])
def test_nobody_is_excluded_by_who_has_not_the_secret(
    of: str, push: Push, client: FlaskClient
) -> None:
    with client.get("/stream") as response:
        name, _, secret = connection_of(response).partition(".")
        exclude = {
            **{"name": name, "forged": f"{name}.{secret[::-1]}", "empty": ""},
            **{"none": None, "odd": "\ud800.\0"},
        }[of]
        push.publish("a", "1", exclude=exclude)
        (event,) = read_events(response, 1)
        assert event.data == "1"


def test_all_connections_are_called_differently(push: Push, client: FlaskClient) -> None:
    called = set()
    for _ in range(20):
        with client.get("/stream") as response:
            called.add(connection_of(response))
    assert len({part for name in called for part in name.split(".")}) == 40


# Streams in the test client.


def test_a_test_reads_what_its_app_pushes(push: Push, client: FlaskClient) -> None:
    push.publish("a", "before")
    with client.get("/stream") as response:
        assert response.status_code == 200
        assert response.mimetype == "text/event-stream"
        assert "session=" in response.headers["Set-Cookie"]
        (opened,) = read_events(response, 1, own=True)
        assert opened.type == "push:open"
        push.publish("a", {"n": 1})
        push.publish("b", "text", type="said")
        first, second = read_events(response, 2)
        assert json.loads(first.data) == {"n": 1}
        assert (second.channel, second.type, second.data) == ("b", "said", "text")
    with client.get("/stream", headers={"Last-Event-ID": first.id}) as response:
        assert [event.data for event in read_events(response, 1)] == ["text"]


def test_a_test_does_not_wait_for_ever(push: Push, client: FlaskClient) -> None:
    with client.get("/stream") as response:
        push.publish("a", "1")
        with pytest.raises(TimeoutError, match="1 of 2 events came in time"):
            read_events(response, 2, timeout=0.2)
    with client.get("/stream?poll=1&last=9") as response:
        with pytest.raises(EOFError, match="after 1 of 2"):
            read_events(response, 2)
        with pytest.raises(EOFError, match="after 0 of 1"):
            read_events(response, 1)


def test_responses_that_are_compared_are_read_one_by_one(push: Push) -> None:
    """As those of pytest-flask, which equal a status, and so have no hash."""

    class Compared(Response):
        def __eq__(self, other: object) -> bool:
            return self.status_code == getattr(other, "status_code", other)

        __hash__ = None  # type: ignore[assignment]

    app = make_app(push)
    app.response_class = Compared
    client = app.test_client()
    with client.get("/stream") as one, client.get("/stream?last=1") as two:
        assert one == two
        # It begins with the last of what was published before.
        assert read_events(two, 1, own=True)
        push.publish("a", "1")
        push.publish("a", "2")
        assert [event.data for event in read_events(one, 1)] == ["1"]
        assert [event.data for event in read_events(two, 2)] == ["1", "2"]
        assert [event.data for event in read_events(one, 1)] == ["2"]
    before = len(_reader._readers)
    del one, two
    gc.collect()
    assert len(_reader._readers) == before - 2


def test_a_closed_response_leaves_its_stream(push: Push, client: FlaskClient) -> None:
    hub = hub_of(push)
    responses = [client.get("/stream") for _ in range(5)]
    for response in responses:
        read_events(response, 1, own=True)
    assert repr(hub) == "<ThreadDoor <Hub [2 channels, 5 connections, 0 behind]>>"
    for response in responses:
        response.close()
    until(lambda: "[0 channels, 0 connections" in repr(hub))


def hub_of(push: Push) -> t.Any:
    (state,) = push._states.values()
    return state.parts().hub


def test_a_stream_of_a_head_request_has_no_body(client: FlaskClient) -> None:
    response = client.head("/stream")
    assert (response.status_code, response.data) == (200, b"")
    assert "text/event-stream" in response.headers["Content-Type"]


def test_an_app_may_have_a_response_class_of_its_own(push: Push) -> None:
    class Mine(Response):
        def mine(self) -> str:
            return "mine"

    app = make_app(push)
    app.response_class = Mine
    seen = []

    @app.after_request
    def after(response: Response) -> Response:
        assert isinstance(response, Mine)
        seen.append(response.mine())
        return response

    with app.test_client().get("/stream") as response:
        assert read_events(response, 1, own=True)
    assert seen == ["mine"]


def test_apps_that_are_made_and_left_leave_no_classes(push: Push) -> None:
    app = make_app(push)
    client = app.test_client()
    for number in range(100):
        app.response_class = type(f"Response{number}", (Response,), {})
        assert client.head("/stream").status_code == 200
    assert len(_response._response_classes) <= _response._MOST_CLASSES


def test_a_changed_status_ends_the_stream_before_it_begins(push: Push) -> None:
    app = make_app(push)

    @app.after_request
    def after(response: Response) -> Response:
        response.status_code = 403
        return response

    response = app.test_client().get("/stream")
    assert (response.status_code, response.data) == (403, b"")


def test_what_is_to_be_done_on_close_is_done(push: Push) -> None:
    app = make_app(push)
    closed = []

    @app.after_request
    def after(response: Response) -> Response:
        response.call_on_close(lambda: closed.append(True))
        return response

    with app.test_client().get("/stream") as response:
        read_events(response, 1, own=True)
    assert closed == [True]


def test_relays_are_few_and_say_why(push: Push, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(push, PUSH_RELAY_MAX=2, PUSH_BROKER_URL="memory:")
    app.testing = False
    client = app.test_client()
    with client.get("/stream") as first, client.get("/stream") as second:
        for response in first, second:
            assert read_events(response, 1, own=True)
        third = client.get("/stream")
        assert third.status_code == 200
        assert third.data.startswith(b":\nretry: ") and third.data.count(b"\n") == 2
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "does not give us the client's socket" in caplog.text
    assert "PUSH_RELAY_MAX" in caplog.text
    with client.get("/stream") as response:
        assert read_events(response, 1, own=True)


def test_a_relay_ends_after_its_time(push: Push) -> None:
    app = make_app(push, PUSH_RELAY_LIFETIME=1)
    with app.test_client().get("/stream") as response:
        assert read_events(response, 1, own=True)
        with pytest.raises(EOFError):
            read_events(response, 1)


def test_testing_is_seen_when_it_is_first_used(push: Push) -> None:
    app = make_app(push)
    app.testing = False
    app.testing = True
    assert push.broker_url == "memory:"


# Publishing.


def test_json_is_made_by_the_app(push: Push, app: Flask) -> None:
    class Mine(type(app.json)):  # type: ignore[misc]
        def dumps(self, data: t.Any, **kwargs: t.Any) -> str:
            return f"<{data}>"

    app.json = Mine(app)
    push.publish("a", 5)
    push.publish("a", "text")
    push.publish("a", None)
    assert [e.data for e in push.history("a", 9).events] == ["<5>", "text", "<None>"]


@pytest.mark.parametrize("url", ["memory:", "sqlite:"])
def test_a_number_of_events_may_be_as_large_as_it_likes(
    url: str, push: Push, tmp_path: Path
) -> None:
    """It may come from an address. One reader's must not end what others hear."""
    app = make_app(push, PUSH_BROKER_URL=url, PUSH_RUN_DIR=str(tmp_path))
    client = app.test_client()
    with client.get("/stream") as good:
        push.publish("a", "1")
        with client.get(f"/stream?last={10**30}") as response:
            assert [event.data for event in read_events(response, 1)] == ["1"]
        push.publish("a", "2")
        assert [event.data for event in read_events(good, 2)] == ["1", "2"]
    assert len(push.history("a", last=10**30).events) == 2
    hub_of(push).stop()


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


def test_what_is_no_json_is_refused(push: Push, app: Flask) -> None:
    with pytest.raises(TypeError):
        push.publish("a", object())
    with pytest.raises(TypeError):
        push.publish("a", b"bytes")


def test_an_id_comes_back(push: Push, app: Flask) -> None:
    id = push.publish("user:1", "x")
    assert Position.parse(id).epoch and id.endswith(".user~3a1")
    assert push.publish_many([Event("a", "1"), Event("b", {"n": 2})]) > id
    assert push.publish_many([]) == ""
    assert push.publish("a", "x", key="k") == push.publish("a", "y", key="k")
    (event,) = push.history("b", 1).events
    assert (event.data, event.channel) == ('{"n": 2}', "b")


def test_history_and_position_are_of_one_moment(push: Push, app: Flask) -> None:
    ids = [push.publish("a", str(n)) for n in range(5)]
    history = push.history("a", last=3)
    assert [event.id for event in history.events] == ids[2:]
    assert ids[-1].startswith(history.position)
    assert push.position() == history.position
    assert push.history("a", last=0).events == []
    for last in -1, 1.5, True, "5":
        with pytest.raises(ValueError, match="last"):
            push.history("a", last)  # type: ignore[arg-type]


def test_history_may_take_several_pages(push: Push, app: Flask) -> None:
    push.publish_many(Event("a", f"{n} " + "x" * 10_000) for n in range(100))
    assert [event.data.split()[0] for event in push.history("a", 90).events] == [
        str(n) for n in range(10, 100)
    ]


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        (("", "x"), "non-empty"),
        (("a" * 65, "x"), "64 at most"),
        (("a", "x" * (2**20 + 1)), "PUSH_MAX_EVENT_BYTES"),
        (("a", "\ud800"), "surrogate"),
        (("a", "x", "push:mine"), "Flask-Push's own"),
        (("a", "x", "open"), "onopen"),
        (("a", "x", "a\nb"), "line break"),
        (("a", "x", "message", ""), "key"),
    ],
)
def test_what_cannot_be_published_is_an_error_that_says_why(
    event: tuple[str, ...], problem: str, push: Push, app: Flask
) -> None:
    with pytest.raises(ValueError, match=problem):
        push.publish_many([Event("a", "fine"), Event(*event)])  # type: ignore[arg-type]
    assert push.history("a", 9).events == []


@pytest.mark.parametrize(
    ("channels", "options", "problem"),
    [
        ((), {}, "at least one channel"),
        (("",), {}, "non-empty"),
        (tuple(map(str, range(101))), {}, "PUSH_MAX_CHANNELS"),
        (("a",), {"last": -1}, "last"),
        (("a",), {"lifetime": -1}, "lifetime"),
        (("a",), {"lifetime": float("nan")}, "lifetime"),
    ],
)
def test_a_stream_that_cannot_be_is_an_error_that_says_why(
    channels: tuple[str, ...],
    options: dict[str, t.Any],
    problem: str,
    push: Push,
    app: Flask,
) -> None:
    with app.test_request_context(), pytest.raises(ValueError, match=problem):
        push.stream(*channels, **options)


# What a page asks for.


def make_choosing(push: Push, **config: t.Any) -> FlaskClient:
    app = make_app(push, "choosing", **config)

    @app.get("/choose")
    def choose() -> Response:
        return push.stream(*(c for c in push.requested() if c.startswith("open:")))

    @app.get("/more")
    def more() -> Response:
        return push.stream("news", *push.requested())

    return app.test_client()


def granted(client: FlaskClient, path: str) -> list[str]:
    with client.get(path) as response:
        assert response.status_code == 200
        (opened,) = read_events(response, 1, own=True)
        channels: list[str] = json.loads(opened.data)["channels"]
        return channels


def test_a_view_grants_what_it_likes_of_what_is_asked_for(push: Push) -> None:
    client = make_choosing(push)
    asked = "channel=open:1&channel=secret&channel=open:%C3%A9&channel=open:1"
    assert granted(client, f"/choose?{asked}") == ["open:1", "open:é"]
    assert granted(client, "/more?channel=b") == ["b", "news"]
    assert granted(client, "/more") == ["news"]


@pytest.mark.parametrize(
    ("query", "status", "problem"),
    [
        ("", 400, "at least one channel"),
        ("channel=secret", 403, "none of these channels"),
        ("channel=open:1&channel=", 400, "non-empty"),
        (f"channel={'a' * 65}", 400, "64 at most"),
        ("channel=1&channel=2&channel=3&channel=4", 400, "4 channels are more"),
    ],
)
def test_what_cannot_be_granted_is_refused_for_good(
    query: str, status: int, problem: str, push: Push
) -> None:
    client = make_choosing(push, PUSH_MAX_CHANNELS=3)
    response = client.get(f"/choose?{query}")
    assert response.status_code == status
    assert problem in response.text


# Apps.


def test_an_app_in_a_thread_and_without_a_context(push: Push, app: Flask) -> None:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(push.publish("a", "x")))
    thread.start()
    thread.join()
    assert len(found) == 1


def test_several_apps_are_told_apart_by_their_context(push: Push) -> None:
    one, two = make_app(push, "one"), make_app(push, "two")
    with one.app_context():
        push.publish("a", "1")
    with two.app_context():
        push.publish("a", "2")
        assert [event.data for event in push.history("a", 9).events] == ["2"]
    with pytest.raises(RuntimeError, match="2 apps.*app_context"):
        push.publish("a", "3")


def test_an_app_that_nothing_uses_any_more_is_not_meant(push: Push) -> None:
    """As when each test makes an app of its own: an older one is in a circle of references,
    and Python has not collected it yet."""
    for name in "one", "two", "three":
        app = make_app(push, name)
        with app.test_client().get("/stream") as response:
            push.publish("a", name)
            assert [event.data for event in read_events(response, 1)] == [name]
        del app, response
    assert repr(push) == "<Push ['three']>"


def test_two_apps_that_are_in_use_are_not_mixed_up(push: Push) -> None:
    apps = [make_app(push, name) for name in ("one", "two")]
    with pytest.raises(RuntimeError, match="2 apps"):
        push.publish("a", "1")
    del apps[0]
    push.publish("a", "1")
    with apps[0].app_context():
        assert [event.data for event in push.history("a", 9).events] == ["1"]


def test_an_app_that_is_not_registered_is_an_error_that_says_what_to_do(
    push: Push, app: Flask
) -> None:
    with pytest.raises(RuntimeError, match="init_app"):
        Push().publish("a", "x")
    other = Flask("other")
    with other.app_context(), pytest.raises(RuntimeError, match="'other'.*init_app"):
        push.publish("a", "x")


def test_forks_while_a_thread_publishes_first_harm_nobody(tmp_path: Path) -> None:
    """As with ``gunicorn --preload`` and a thread that the app has started."""
    code = f"""
import os, signal, sys, threading, time
from flask import Flask
from flask_push import Push
app = Flask("app", instance_path={str(tmp_path)!r})
push = Push(app)
threading.Thread(target=lambda: [push.publish("a", "x") for _ in range(200)]).start()
children = []
for _ in range(20):
    if (child := os.fork()) == 0:
        signal.alarm(10)
        try:
            push.publish("a", "child")
            os._exit(0)
        finally:
            os._exit(1)
    children.append(child)
    time.sleep(0.003)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_child_of_a_fork_makes_its_own_choice() -> None:
    started = threading.Event()

    class SlowApp(Flask):
        @property
        def testing(self) -> bool:  # type: ignore[override]
            started.set()
            time.sleep(0.2)
            return True

    app = SlowApp("app", instance_path="/nonexistent")
    push = Push(app)
    thread = threading.Thread(target=push.publish, args=("a", "1"))
    thread.start()
    started.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        try:
            push.publish("a", "2")
            os._exit(0)
        finally:
            os._exit(1)
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    push.publish("a", "3")


def test_a_process_that_has_published_ends_without_a_warning(tmp_path: Path) -> None:
    code = f"""
import atexit
from flask import Flask
from flask_push import Push
push = Push()
app = Flask("app", instance_path={str(tmp_path)!r})
push.init_app(app)
push.publish("a", "x")
atexit.register(push.publish, "a", "y")
"""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_app_is_not_kept_alive(push: Push) -> None:
    app = make_app(push)
    client = app.test_client()
    with client.get("/stream") as response:
        read_events(response, 1, own=True)
    push.publish("a", "x")
    before = threading.active_count()
    ref = weakref.ref(app)
    del app, client, response
    gc.collect()
    assert ref() is None
    assert threading.active_count() < before, "and its hub has ended"
    with pytest.raises(RuntimeError, match="no app"):
        push.publish("a", "x")


@pytest.mark.parametrize("hub", ["process", "/nonexistent/hub.sock"])
def test_what_is_in_memory_is_streamed_from_there(push: Push, hub: str) -> None:
    """A hub elsewhere would open a memory of its own, in which nothing happens."""
    app = make_app(push, PUSH_HUB=hub)
    with app.test_client().get("/stream") as response:
        push.publish("a", "x")
        (event,) = read_events(response, 1)
    assert event.data == "x"
    assert not hasattr(hub_of(push), "all_files")


def test_a_configuration_that_cannot_be_is_refused_at_once(push: Push) -> None:
    with pytest.raises(ValueError, match="PUSH_HEARTBEAT = 0"):
        make_app(push, PUSH_HEARTBEAT=0)
    with pytest.raises(ValueError, match="PUSH_HARTBEAT.*Did you mean PUSH_HEARTBEAT"):
        make_app(push, PUSH_HARTBEAT=5)


def test_an_extension_is_found_where_extensions_are(push: Push, app: Flask) -> None:
    assert app.extensions["push"] is push
    assert repr(push) == "<Push ['app']>"
    with app.app_context():
        assert repr(Push(app)) == "<Push ['app']>"


def test_the_default_is_a_file_that_a_publisher_finds(tmp_path: Path) -> None:
    from flask_push import Publisher

    push = Push()
    app = Flask("shop", instance_path=str(tmp_path))
    push.init_app(app)
    assert push.broker_url == f"sqlite://{tmp_path}/push-shop/push.db"
    publisher = Publisher(push.broker_url)
    id = publisher.publish("a", {"n": 1})
    assert [event.id for event in push.history("a", 9).events] == [id]
    assert publisher.position() == push.position()
    publisher.close()
    push._parts().close()


def test_a_history_has_no_more_than_was_asked_for_and_no_seam(tmp_path: Path) -> None:
    """While somebody publishes, and the store forgets."""
    app = Flask("app", instance_path=str(tmp_path))
    app.config.update(PUSH_KEEP=30)
    push = Push(app)
    stop = threading.Event()

    def speak() -> None:
        for n in itertools.count():
            push.publish("a", f"{n} {'x' * 200_000}")
            if stop.is_set():
                break

    # To open the file takes the lock, which somebody who never stops has nearly always.
    push.history("a", last=25)
    thread = threading.Thread(target=speak)
    thread.start()
    try:
        until(lambda: push.history("a", last=25).events)
        for _ in range(10):
            found = push.history("a", last=25)
            numbers = [int(event.data.split()[0]) for event in found.events]
            assert len(numbers) <= 25
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            assert found.position == found.events[-1].id.partition(".")[0]
    finally:
        stop.set()
        thread.join()
        push._parts().close()
