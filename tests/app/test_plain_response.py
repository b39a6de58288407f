"""Runs on plain wires, for clients that take whatever ends in order for a whole answer."""

from __future__ import annotations

import socket
import typing as t

import pytest
from flask import current_app
from flask import Flask
from flask import Response
from support.apps import make_app
from support.apps import push as push
from werkzeug.test import EnvironBuilder

from flask_push import Push
from flask_push._delivery.follow import Follow
from flask_push._delivery.stream import Stream
from flask_push._plain_response import PlainResponse
from flask_push._plain_response import unavailable
from flask_push._response import respond

RUN = Stream(("a",), "c", follow=Follow("a", "1.1", "ai-sdk"))


def app_with_a_run(push: Push, **config: t.Any) -> Flask:
    app = make_app(push, **config)

    @app.get("/run")
    def run() -> Response:
        services = push._services()
        response = respond(current_app.response_class, services, RUN, False, PlainResponse)
        response.set_cookie("kept", "yes")
        return response

    return app


def assert_unavailable(response: t.Any) -> None:
    assert response.status_code == 503
    assert 1 <= int(response.headers["Retry-After"]) <= 5
    assert response.headers["x-should-retry"] == "false"
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.data.endswith(b"Try again in a few seconds.\n")


def test_a_run_that_a_full_hub_refuses_is_503_and_keeps_the_headers_of_the_view(
    push: Push,
) -> None:
    app = app_with_a_run(push, PUSH_MAX_STREAMS=1)
    client = app.test_client()
    with client.get("/stream") as stream:
        assert next(iter(stream.response))
        refused = client.get("/run")
    assert_unavailable(refused)
    assert "kept=yes" in refused.headers["Set-Cookie"]
    assert int(refused.headers["Content-Length"]) == len(refused.data)


def test_a_run_without_a_hub_or_a_relay_is_503(
    push: Push, caplog: pytest.LogCaptureFixture
) -> None:
    app = app_with_a_run(push, PUSH_RELAY_MAX=1, PUSH_BROKER_URL="memory:")
    app.testing = False
    client = app.test_client()
    with client.get("/stream") as stream:
        assert next(iter(stream.response))
        assert_unavailable(client.get("/run"))
    push._states[app].services().hub.stop()
    assert_unavailable(client.get("/run"))
    line = "Could not hand a stream over to the hub; its client got 503"
    assert caplog.text.count("Could not hand a stream") == caplog.text.count(line) == 1


def test_a_run_has_no_body_for_a_head_request(push: Push) -> None:
    response = app_with_a_run(push).test_client().head("/run")
    assert (response.status_code, response.data) == (200, b"")


def test_without_nginx_a_run_ends_with_an_error_and_not_with_nothing(
    push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_with_a_run(push, PUSH_ACCEL="/_push/")
    services = push._states[app].services()
    services.testing = False
    seen: list[Stream] = []

    def token(stream: Stream) -> str:
        seen.append(stream)
        return "word"

    monkeypatch.setattr(services.hub, "token", token)
    response = app.test_client().get("/run")
    assert response.headers["X-Accel-Redirect"] == "/_push/word"
    assert response.data.startswith(
        b'data: {"type":"error","errorText":"disconnected"}\n\n'
    )
    (stream,) = seen
    assert stream.follow.framing == "chunked", "nginx understands chunks"
    assert b"Transfer-Encoding: chunked\r\n" in stream.head
    assert b"kept=yes" not in stream.head, "nginx takes it from the view's response"


@pytest.mark.parametrize("protocol", ["HTTP/1.1", "HTTP/1.0"])
@pytest.mark.parametrize("is_unix", [False, True])
def test_a_run_is_framed_as_its_client_understands_it(
    push: Push, protocol: str, is_unix: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = app_with_a_run(push)
    with socket.socket() if not is_unix else socket.socket(socket.AF_UNIX) as sock:
        environ = EnvironBuilder().get_environ() | {"SERVER_PROTOCOL": protocol}
        with app.test_request_context():
            response = respond(
                app.response_class, push._services(), RUN, False, PlainResponse
            )
            stream = response._with_head(response.headers, environ, sock.fileno())
    chunked = protocol == "HTTP/1.1"
    assert stream.follow.framing == ("chunked" if chunked else "close")
    assert (b"Transfer-Encoding: chunked\r\n" in stream.head) == chunked
    # There is no reset on a Unix socket.
    warned = "proxy_http_version 1.1" in caplog.text
    assert warned == (is_unix and not chunked)


def test_an_app_answers_as_it_would_without_a_hub(push: Push) -> None:
    assert_unavailable(unavailable(Response))
