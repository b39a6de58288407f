"""A stream carries what its process knew before the app read who the user is."""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from pathlib import Path

import pytest
from flask import Flask
from flask import Response
from flask import session
from flask.sessions import SecureCookieSession
from flask.sessions import SecureCookieSessionInterface
from support.apps import app as app
from support.apps import make_app
from support.apps import push as push

from flask_push import NotRead
from flask_push import Position
from flask_push import Push
from flask_push._delivery.stream import Stream
from flask_push.brokers import KeepsOwnLogs
from flask_push.brokers.memory import MemoryBroker

Seen = list[Position]


@pytest.fixture
def seen(push: Push, app: Flask) -> Seen:
    """What the streams of the view ``/seen`` carry."""
    return carrying(push, app)


def carrying(push: Push, app: Flask) -> Seen:
    seen: Seen = []

    @app.get("/seen")
    def view() -> Response:
        response = push.stream("a")
        stream: Stream = response.stream_
        seen.append(Position.parse(stream.seen))
        return response

    return seen


def now(push: Push) -> Position:
    return Position.parse(push.position())


def get(app: Flask, path: str = "/seen") -> None:
    with app.test_client() as client, client.get(path) as response:
        assert response.status_code == 200


def test_a_stream_carries_the_position_from_before_everything_of_the_app(
    push: Push, app: Flask, seen: Seen
) -> None:
    """The session, the hooks and the view each publish an event."""
    begun: Seen = []

    class Sessions(SecureCookieSessionInterface):
        def open_session(self, *args: t.Any) -> SecureCookieSession | None:
            begun.append(now(push))
            push.publish("a", "session")
            return super().open_session(*args)

    app.session_interface = Sessions()
    app.before_request(lambda: push.publish("a", "hook") and None)

    @app.url_value_preprocessor
    def publish(*_: t.Any) -> None:
        push.publish("a", "preprocessor")

    for _ in range(3):
        get(app)
    assert seen == begun
    assert seen == sorted({*seen}) and now(push) > seen[-1], "and each is another one"


def test_middleware_may_stand_around_the_app_or_within(
    push: Push, app: Flask, seen: Seen
) -> None:
    inner = app.wsgi_app
    app.wsgi_app = lambda *given: inner(*given)  # type: ignore[method-assign]
    push.publish("a", "x")
    get(app)
    assert seen == [now(push)]


def test_an_app_whose_wsgi_app_was_replaced_says_how_to_wrap_it(push: Push) -> None:
    app = Flask("app")
    before = app.wsgi_app
    app.config.update(PUSH_BROKER_URL="memory:")
    push.init_app(app)
    seen = carrying(push, app)
    app.wsgi_app = before  # type: ignore[method-assign]
    with (
        app.test_request_context("/seen"),
        pytest.raises(RuntimeError, match=r"what it was before 'push.init_app\(app\)'"),
    ):
        push.stream("a")
    assert app.test_client().get("/seen").status_code == 500
    assert seen == []


def test_in_a_test_a_stream_needs_no_request_that_arrives(push: Push, app: Flask) -> None:
    push.publish("a", "x")
    with app.test_request_context():
        stream: Stream = push.stream("a").stream_
    assert stream.seen == push.position()


def test_calling_init_app_again_does_not_wrap_the_app_again(push: Push, app: Flask) -> None:
    wrapped, seen = app.wsgi_app, carrying(push, app)
    push.init_app(app)
    assert app.wsgi_app is wrapped
    get(app)
    assert seen == [now(push)]


def test_each_of_two_pushes_of_an_app_has_its_own_position(push: Push, app: Flask) -> None:
    other = Push(app)
    seen, others = carrying(push, app), []

    @app.get("/other")
    def another() -> Response:
        response = other.stream("a")
        others.append(response.stream_.seen)
        return response

    get(app)
    get(app, "/other")
    assert seen == [now(push)] and others == [other.position()]
    assert now(push).epoch != Position.parse(others[0]).epoch
    with app.app_context():
        other._services().close()


def test_streams_carry_nothing_if_disconnects_are_turned_off(push: Push) -> None:
    app = make_app(push, PUSH_DISCONNECT=False)
    seen = carrying(push, app)
    get(app)
    assert seen == [Position("", 0)]
    with app.test_request_context():
        assert push.stream("a").stream_.seen == ""


class Other:
    """A broker that keeps no logs of Flask-Push's own."""

    def __init__(self) -> None:
        self._memory = MemoryBroker()
        self.url = "other:"

    def publish(self, *args: t.Any) -> t.Any:
        return self._memory.publish(*args)

    def read(self, *args: t.Any, **more: t.Any) -> t.Any:
        return self._memory.read(*args, **more)

    def feed(self, *args: t.Any, **more: t.Any) -> t.Any:
        return self._memory.feed(*args, **more)

    def close(self) -> None:
        self._memory.close()


def test_a_broker_without_own_logs_has_streams_and_no_disconnect(
    push: Push, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not isinstance(Other(), KeepsOwnLogs)
    monkeypatch.setattr("flask_push._state.open_broker", lambda *_: Other())
    seen = carrying(push, app)
    get(app)
    assert seen == [Position("", 0)]
    with pytest.raises(RuntimeError, match="Other does not keep disconnects.*sqlite:"):
        push.disconnect(user=7)


def fails(*args: t.Any, **more: t.Any) -> t.NoReturn:
    raise NotRead("The store is away.")


def test_a_store_that_fails_does_not_harm_other_requests(
    push: Push, app: Flask, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.add_url_rule("/", view_func=lambda: "hello")
    app.testing = False
    with monkeypatch.context() as patched:
        patched.setattr(MemoryBroker, "read", fails)
        app.config["PUSH_BROKER_URL"] = "memory:"
        assert app.test_client().get("/").text == "hello"
        get(app)
    assert seen == [Position("", 0)], "the hub sends the stream back"


def test_services_that_can_not_be_made_do_not_harm_other_requests(
    push: Push, tmp_path: Path
) -> None:
    (directory := tmp_path / "run").mkdir()
    directory.chmod(0o777)
    app = Flask("app", instance_path=str(tmp_path))
    app.config.update(PUSH_RUN_DIR=str(directory), TESTING=False)
    push.init_app(app)
    carrying(push, app)
    app.add_url_rule("/", view_func=lambda: session.get("x", "hello"))
    assert app.test_client().get("/").text == "hello"
    app.config["PROPAGATE_EXCEPTIONS"] = True
    with pytest.raises(RuntimeError, match="Every user of the machine may write"):
        app.test_client().get("/seen")


def test_a_wsgi_server_may_call_the_app_in_any_way(push: Push, app: Flask) -> None:
    """Not every server has a dict of its own for each request."""
    seen = carrying(push, app)
    environ: dict[str, t.Any] = {}
    with app.test_request_context("/seen") as context:
        environ = {
            key: value
            for key, value in context.request.environ.items()
            if not key.startswith(("werkzeug.", "flask_push."))
        }
    status: list[str] = []

    def start(given: str, *_: t.Any) -> cabc.Callable[[bytes], object]:
        status.append(given)
        return lambda data: None

    for number in range(2):
        push.publish("a", str(number))
        t.cast(t.Any, app(environ, start)).close()
        assert seen[-1] == now(push)
    assert status == ["200 OK"] * 2
