"""Streams in the test client of Flask."""

from __future__ import annotations

import gc
import json

import pytest
from flask import Flask
from flask import Response
from flask.testing import FlaskClient
from support.apps import app as app
from support.apps import client as client
from support.apps import hub_of
from support.apps import make_app
from support.apps import push as push
from support.servers import until

from flask_push import Push
from flask_push.testing import _reader
from flask_push.testing import read_events
from flask_push.testing import read_to_end


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


def test_a_test_reads_the_items_that_its_app_sets(push: Push, client: FlaskClient) -> None:
    push.set("a", "x", 1)
    with client.get("/stream") as response:
        (first,) = read_events(response, 1)
        assert (first.channel, first.item, first.json) == ("a", "x", 1)
        push.set("a", "y", {"n": 2}, type="said")
        push.publish("a", "event")
        push.unset("a", "x")
        events = read_events(response, 3)
        assert [(e.channel, e.item, e.type) for e in events] == [
            *(("a", "y", "said"), ("a", "", "message"), ("a", "x", "push:unset")),
        ]
        assert events[0].json == {"n": 2}
    with client.get("/stream", headers={"Last-Event-ID": events[-1].id}) as response:
        types = [event.type for event in read_events(response, 4, own=True)]
        assert types == ["push:open", "push:items", "said", "push:whole"]


def test_reading_events_in_a_test_has_a_timeout(push: Push, client: FlaskClient) -> None:
    with client.get("/stream") as response:
        push.publish("a", "1")
        with pytest.raises(TimeoutError, match="1 of 2 events came in time"):
            read_events(response, 2, timeout=0.2)
    with client.get("/stream?poll=1&last=9") as response:
        with pytest.raises(EOFError, match="after 1 of 2"):
            read_events(response, 2)
        with pytest.raises(EOFError, match="after 0 of 1"):
            read_events(response, 1)


def test_responses_that_equal_each_other_are_read_separately(push: Push) -> None:
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


def test_closing_a_response_ends_its_stream(push: Push, client: FlaskClient) -> None:
    hub = hub_of(push)
    responses = [client.get("/stream") for _ in range(5)]
    for response in responses:
        read_events(response, 1, own=True)
    assert repr(hub) == "<ThreadDoor <Hub [2 channels, 5 connections, 0 behind]>>"
    for response in responses:
        response.close()
    until(lambda: "[0 channels, 0 connections" in repr(hub))


def test_a_test_reads_a_stream_to_its_end(push: Push, client: FlaskClient) -> None:
    with client.get("/stream") as response:
        push.publish("a", "1")
        (first,) = read_events(response, 1)
        push.disconnect(channel="a", reason="closed")
        push.publish("a", "late")
        (last,) = read_to_end(response, own=True)
        assert last.type == "push:disconnect"
        assert read_to_end(response) == read_to_end(response, own=True) == []


def test_a_run_is_read_to_its_end(push: Push, app: Flask, client: FlaskClient) -> None:
    @app.get("/follow")
    def follow() -> Response:
        return push.follow("a")

    with push.run("a") as run:
        response = client.get("/follow")
        run.write("Hel")
        run.write("lo")
    assert [event.data for event in read_to_end(response)] == ["Hel", "lo"]
    response.close()


def test_a_poll_is_read_to_its_end(push: Push, client: FlaskClient) -> None:
    push.publish("a", "1")
    with client.get("/stream?poll=1&last=9") as response:
        assert [event.data for event in read_to_end(response)] == ["1"]


def test_reading_a_stream_that_goes_on_to_its_end_has_a_timeout(
    push: Push, client: FlaskClient
) -> None:
    with client.get("/stream") as response:
        push.publish("a", "1")
        with pytest.raises(TimeoutError, match="has not ended in time.*had 1 events.*'1'"):
            read_to_end(response, timeout=0.2)


def test_only_a_stream_is_read(client: FlaskClient) -> None:
    response = client.get("/nowhere")
    with pytest.raises(ValueError, match="404 NOT FOUND with text/html, is no stream"):
        read_to_end(response)
    with pytest.raises(TypeError, match="takes the response of a test client"):
        read_to_end("response")  # type: ignore[arg-type]
