"""What a request asks for: its channels, and the connection that it excludes."""

from __future__ import annotations

import json
import typing as t

import pytest
from flask import Flask
from flask import Response
from flask.testing import FlaskClient
from support.apps import app as app
from support.apps import client as client
from support.apps import make_app
from support.apps import push as push

from flask_push import Event
from flask_push import Push
from flask_push.testing import read_events

# Excluding the sender.


def connection_of(response: t.Any) -> str:
    (opened,) = read_events(response, 1, own=True)
    connection: str = json.loads(opened.data)["connection"]
    return connection


def test_the_excluded_connection_does_not_receive_the_event(
    push: Push, client: FlaskClient
) -> None:
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


def test_exclude_also_holds_after_a_reconnect(push: Push, client: FlaskClient) -> None:
    with client.get("/stream") as response:
        connection = connection_of(response)
    position = push.publish("a", "1")
    for data in "2", "3":
        push.publish("a", data, exclude=connection if data == "2" else None)
    name = connection.partition(".")[0]
    where = f"/stream?last_event_id={position}"
    with client.get(f"{where}&connection={name}") as response:
        # The secret is not sent again, because others may have read the address.
        assert connection_of(response) == name
        push.publish("b", "4", exclude=connection)
        push.publish("b", "5")
        assert [event.data for event in read_events(response, 2)] == ["3", "5"]
    with client.get(f"{where}&connection=nonsense") as response:
        assert connection_of(response) != "nonsense"
        assert len(read_events(response, 4)) == 4


@pytest.mark.parametrize("of", ["name", "forged", "empty", "none", "odd"])
def test_exclude_needs_the_secret_of_the_connection(
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


def test_each_connection_has_its_own_id(push: Push, client: FlaskClient) -> None:
    called = set()
    for _ in range(20):
        with client.get("/stream") as response:
            called.add(connection_of(response))
    assert len({part for name in called for part in name.split(".")}) == 40


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


def test_a_view_may_grant_some_of_the_requested_channels(push: Push) -> None:
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
def test_an_invalid_request_for_channels_gets_a_final_status(
    query: str, status: int, problem: str, push: Push
) -> None:
    client = make_choosing(push, PUSH_MAX_CHANNELS=3)
    response = client.get(f"/choose?{query}")
    assert response.status_code == status
    assert problem in response.text


# What a page knows about items.


@pytest.mark.parametrize(
    ("query", "items", "holds"),
    [
        ("items=1&holds=5f0a&last_event_id=e-1", True, "5f0a"),
        ("items=true&holds=5f0a&last_event_id=e-1", False, "5f0a"),
        # Without a position, the page may lack what has changed.
        ("items=1&holds=5f0a", True, ""),
        (f"holds={'x' * 65}&last_event_id=e-1", False, ""),
        ("", False, ""),
    ],
)
def test_a_page_may_ask_for_items_and_say_which_it_has(
    query: str, items: bool, holds: str, push: Push, app: Flask
) -> None:
    with app.test_request_context(f"/stream?{query}"):
        stream = push.stream("a").stream_
        again = push.stream("a", replay=False).stream_
    assert (stream.items, stream.holds) == (items, holds)
    assert (again.items, again.holds) == (items, ""), "its position is ignored"


def test_a_view_may_grant_a_stream_with_a_pause_but_a_poll_has_none(
    push: Push, app: Flask
) -> None:
    for query, every in ("", 0.5), ("?poll=1", 0):
        with app.test_request_context(f"/stream{query}"):
            stream = push.stream("a", every=0.5).stream_
            assert stream.every == every
            assert push.stream("a").stream_.every == 0
