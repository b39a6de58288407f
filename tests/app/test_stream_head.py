"""The headers of a stream, in each way in which it gets to its client."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import http.client
import typing as t
from pathlib import Path

import pytest
from apps.labels import label
from apps.labels import LABELS
from flask import Flask
from flask.testing import FlaskClient
from support.asgi_servers import SERVERS
from support.nginx import granian
from support.nginx import nginx
from support.return_tickets import come
from support.return_tickets import CONFIG
from support.return_tickets import views
from support.servers import gunicorn
from support.servers import serve
from support.servers import Server

from flask_push import Push
from flask_push._delivery import wire
from flask_push.testing import read_events

WAYS = ["handed over", "relayed", "by ASGI", "by nginx"]


@pytest.fixture
def start(tmp_path: Path) -> cabc.Iterator[cabc.Callable[..., Server]]:
    with contextlib.ExitStack() as stack:

        def start(way: str, **config: t.Any) -> Server:
            command = {"handed over": gunicorn, "by ASGI": SERVERS["uvicorn"]}
            if way == "by nginx":
                config["PUSH_ACCEL"] = "/_push/"
            context = serve(
                command.get(way, granian), tmp_path, app="apps.labelled", **config
            )
            server = stack.enter_context(context)
            if way == "by nginx":
                server = nginx(tmp_path, server)
                stack.callback(server.kill)
            return server

        yield start


# What each server may say of its own connection to the client.
OF_THE_SERVER = {
    "connection": {"close", "keep-alive"},
    "transfer-encoding": {"chunked"},
    "keep-alive": set[str](),
}


def wrong(headers: cabc.Mapping[str, str]) -> dict[str, str]:
    """Those that are not true of a stream."""
    found = {name: headers[name] for name in headers.keys() & wire.NOT_OF_A_STREAM}
    return {k: v for k, v in found.items() if v not in OF_THE_SERVER.get(k, ())}


def test_the_headers_in_this_test_are_all_that_a_stream_must_not_have() -> None:
    ours = {name.lower() for name in LABELS}
    # Of requests, and no use in a response.
    assert ours == wire.NOT_OF_A_STREAM - {"te", "proxy-authorization"}


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_has_no_header_that_describes_another_body(
    way: str, start: cabc.Callable[..., Server]
) -> None:
    server = start(way)
    reader = server.stream("a").opened()
    assert reader.status == 200 and not wrong(reader.headers), reader.head
    assert reader.headers["x-after-request"] == "yes"
    server.publish("a", "1")
    assert reader.read_data(1) == ["1"]


@pytest.mark.parametrize("way", WAYS)
def test_only_the_encoding_of_the_hub_is_in_the_head(
    way: str, start: cabc.Callable[..., Server]
) -> None:
    server = start(way, PUSH_GZIP=True)
    for accepted, encoding in ("br, gzip", {"content-encoding": "gzip"}), ("br", {}):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        with contextlib.closing(connection):
            headers = {"Accept-Encoding": accepted}
            connection.request("GET", "/stream?channel=a", headers=headers)
            response = connection.getresponse()
            assert wrong(lower(response.headers.items())) == encoding
            assert response.read1(2) == (b"\x1f\x8b" if encoding else b":\n")


@pytest.fixture
def client() -> cabc.Iterator[FlaskClient]:
    app = Flask("app")
    app.testing = True
    app.after_request(label)
    push = Push(app)
    app.add_url_rule("/stream", view_func=lambda: push.stream("a"))
    yield app.test_client()
    push._services().close()


def lower(headers: cabc.Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers}


def test_a_stream_in_the_test_client_has_no_header_that_describes_another_body(
    client: FlaskClient,
) -> None:
    with client.get("/stream") as response:
        assert not wrong(lower(response.headers))
        assert read_events(response, 1, own=True)


def test_a_head_request_gets_the_headers_of_a_stream(client: FlaskClient) -> None:
    response = client.head("/stream")
    assert response.status_code == 200
    assert not wrong(lower(response.headers))


def test_a_response_that_is_not_a_stream_keeps_its_headers(client: FlaskClient) -> None:
    response = client.get("/stream?forbid=1")
    assert response.status_code == 403
    assert response.headers["Content-Encoding"] == "br"


def test_a_stream_resumed_by_ticket_has_no_header_that_describes_another_body(
    tmp_path: Path,
) -> None:
    config: dict[str, t.Any] = {"PUSH_RETURN_TICKET": 60, "PUSH_RETRY": 0.5}
    with serve(gunicorn, tmp_path, app="apps.labelled", **config) as server:
        front = nginx(tmp_path, server, CONFIG)
        try:
            cookies: dict[str, str] = {}
            first = come(front, cookies)
            before = views(front)
            again = come(front, cookies, first.last_id)
            assert views(front) == before + 1, "which was the question itself"
            assert not wrong(again.headers), again.head
        finally:
            front.kill()
