"""Streams that are asked for by POST, whose body has room for many channels."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import http.client
import json
import re
import typing as t
from itertools import islice
from pathlib import Path
from urllib.parse import urlencode

import pytest
from flask import Flask
from flask.testing import FlaskClient
from support.nginx import nginx
from support.reader import events_in
from support.return_tickets import CONFIG
from support.servers import gunicorn
from support.servers import serve
from support.servers import Server
from support.servers import status
from support.servers import until
from werkzeug.wrappers import Response

from flask_push import Event
from flask_push import Push
from flask_push.testing import read_events

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


@pytest.fixture
def client() -> cabc.Iterator[FlaskClient]:
    app = Flask("choosing")
    app.testing = True
    push = Push(app)

    @app.route("/choose", methods=["GET", "POST"])
    def choose() -> Response:
        return push.stream(*(name for name in push.requested() if name != "secret"))

    @app.get("/only")
    def only() -> Response:
        return push.stream(*push.requested())

    yield app.test_client()
    with app.app_context():
        push._services().close()


def granted(client: FlaskClient, path: str, body: t.Any, type: str) -> list[str]:
    with client.post(path, data=body, content_type=type) as response:
        assert response.status_code == 200, response.get_data()
        (opened,) = read_events(response, 1, own=True)
        channels: list[str] = json.loads(opened.data)["channels"]
        return channels


def test_a_form_names_channels_as_an_address_does(client: FlaskClient) -> None:
    body = urlencode([("channel", "b c"), ("channel", "ü"), ("other", "x")])
    assert granted(client, "/choose", body, FORM) == ["b c", "ü"]
    assert granted(client, "/choose?channel=a", body, FORM) == ["a", "b c", "ü"]
    assert granted(client, "/choose?channel=a&channel=a", "channel=a", FORM) == ["a"]


@pytest.mark.parametrize(
    ("body", "channels"),
    [
        ({"channel": ["b", "ü"], "other": 1}, ["a", "b", "ü"]),
        ({"channel": "b"}, ["a", "b"]),
        ({"other": 1}, ["a"]),
        ([], ["a"]),
        (None, ["a"]),
    ],
)
def test_so_does_json(body: t.Any, channels: list[str], client: FlaskClient) -> None:
    assert granted(client, "/choose?channel=a", json.dumps(body), JSON) == channels


def test_a_body_of_another_type_is_not_for_us(client: FlaskClient) -> None:
    assert granted(client, "/choose?channel=a", "channel=b", "text/plain") == ["a"]


@pytest.mark.parametrize(
    ("body", "type", "code"),
    [
        ("channel=secret", FORM, 403),
        ('{"channel": ["secret"]}', JSON, 403),
        ("", FORM, 400),
        ("channel=", FORM, 400),
        ("{", JSON, 400),
        ('{"channel": [1]}', JSON, 400),
        ('{"channel": [["a"]]}', JSON, 400),
        ('{"channel": {"a": "b"}}', JSON, 400),
        (f'{{"channel": ["{"x" * 65}"]}}', JSON, 400),
        (urlencode([("channel", n) for n in range(101)]), FORM, 400),
        (json.dumps({"channel": [f"{n}" for n in range(101)]}), JSON, 400),
    ],
)
def test_what_can_not_be_granted_is_refused(
    body: str, type: str, code: int, client: FlaskClient
) -> None:
    assert client.post("/choose", data=body, content_type=type).status_code == code


def test_a_get_has_no_body(client: FlaskClient) -> None:
    answer = client.get("/choose", data="channel=a", content_type=FORM)
    assert answer.status_code == 400


def test_a_view_without_post_refuses_it(client: FlaskClient) -> None:
    assert client.post("/only", data="channel=a", content_type=FORM).status_code == 405


# On a server.


@contextlib.contextmanager
def post(
    server: Server, *channels: str, path: str = "/choose", **headers: str
) -> cabc.Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    body = urlencode([("channel", name) for name in channels])
    with contextlib.closing(connection):
        connection.request("POST", path, body, {"Content-Type": FORM, **headers})
        with connection.getresponse() as response:
            yield response


def read(response: http.client.HTTPResponse) -> cabc.Iterator[Event]:
    """What was published, after ``push:open``."""
    for event in events_in(iter(response.read1, b"")):
        if event.type == "push:open" or not event.type.startswith("push:"):
            yield event


@pytest.fixture
def server(tmp_path: Path) -> cabc.Iterator[Server]:
    with serve(
        gunicorn, tmp_path, PUSH_MAX_CHANNELS=1000, PUSH_RETURN_TICKET=60, PUSH_RETRY=0.5
    ) as server:
        yield server


def test_a_stream_of_a_thousand_channels_is_one_like_any_other(
    server: Server, tmp_path: Path
) -> None:
    names = [f"channel number {n}" for n in range(1000)]
    with post(server, *names) as response:
        assert response.status == 200
        events = read(response)
        assert next(events).type == "push:open"
        server.publish(names[0], "first")
        server.publish(names[-1], "last")
        found = [(event.channel, event.data) for event in islice(events, 2)]
        assert found == [(names[0], "first"), (names[-1], "last")]
        until(lambda: status(tmp_path)["streams"] == 1)
    until(lambda: status(tmp_path)["streams"] == 0)


def test_a_stream_that_was_asked_for_by_post_has_no_return_ticket(server: Server) -> None:
    _, headers = ask(server, "GET", "/choose?channel=a")
    assert "push_ticket=" in headers
    with post(server, "a") as response:
        assert "push_ticket" not in str(response.headers)


def ask(server: Server, method: str, path: str) -> tuple[int, str]:
    """The head alone."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path)
        with connection.getresponse() as response:
            return response.status, str(response.headers)


def test_no_ticket_answers_a_post(server: Server, tmp_path: Path) -> None:
    config = CONFIG.replace("location = /stream", "location = /choose")
    front = nginx(tmp_path, server, config)
    try:
        first = front.stream("a", path="/choose").opened()
        cookies = "; ".join(re.findall(r"(?im)^set-cookie: ([^;]+)", first.head.decode()))
        assert "push_ticket=" in cookies
        front.publish("a", "1")
        front.publish("b", "2")
        # The same address, as far as a ticket tells, and one more channel.
        query = urlencode({"channel": "a", "last_event_id": first.last_id})
        with post(front, "b", path=f"/choose?{query}", Cookie=cookies) as response:
            assert [event.data for event in islice(read(response), 1, 3)] == ["1", "2"]
    finally:
        front.kill()
