"""The response of a view that answers with a stream."""

from __future__ import annotations

import logging

import pytest
from flask import Response
from flask.testing import FlaskClient
from support.apps import app as app
from support.apps import client as client
from support.apps import make_app
from support.apps import push as push

from flask_push import _response
from flask_push import Push
from flask_push.testing import read_events


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


@pytest.mark.parametrize("asked", ["", "a" * 16, "a page may send anything"])
def test_a_view_knows_the_connection_of_its_stream_before_the_page(
    push: Push, asked: str
) -> None:
    app = make_app(push)
    known = []

    @app.get("/known")
    def view() -> Response:
        response = push.stream("a")
        known.append(response.connection)
        return response

    with app.test_client().get("/known", query_string={"connection": asked}) as response:
        (opened,) = read_events(response, 1, own=True)
        assert known == [opened.json["connection"]]
        push.publish("a", "excluded", exclude=known[0])
        push.publish("a", "sent")
        (first, *_) = read_events(response, 1)
    # Of a connection that continues, a page names only the public part.
    assert first.data == ("excluded" if known == ["a" * 16] else "sent")


def test_response_classes_of_old_apps_are_dropped(push: Push) -> None:
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


def test_functions_registered_with_call_on_close_are_called(push: Push) -> None:
    app = make_app(push)
    closed = []

    @app.after_request
    def after(response: Response) -> Response:
        response.call_on_close(lambda: closed.append(True))
        return response

    with app.test_client().get("/stream") as response:
        read_events(response, 1, own=True)
    assert closed == [True]


def test_relays_are_limited_and_log_their_reason(
    push: Push, caplog: pytest.LogCaptureFixture
) -> None:
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


def test_a_relay_ends_after_its_lifetime(push: Push) -> None:
    app = make_app(push, PUSH_RELAY_LIFETIME=1)
    with app.test_client().get("/stream") as response:
        assert read_events(response, 1, own=True)
        with pytest.raises(EOFError):
            read_events(response, 1)
