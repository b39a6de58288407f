"""Runs that the test client follows, as tests of an app do."""

from __future__ import annotations

import collections.abc as cabc
import threading
import typing as t

import pytest
from flask import Flask
from flask import request
from flask import Response
from flask.testing import FlaskClient
from support.apps import make_app
from support.apps import push as push
from support.each_store import url as url

from flask_push import Event
from flask_push import Push
from flask_push import sse
from flask_push.testing import lose
from flask_push.testing import read_events


@pytest.fixture
def app(push: Push, request: pytest.FixtureRequest) -> cabc.Iterator[Flask]:
    app = make_app(push, PUSH_MAX_STREAMS=20, PUSH_GZIP=True)
    add_follow(app, push)
    yield app
    push._states[app].services().close()


def add_follow(app: Flask, push: Push) -> None:
    @app.get("/follow/<wire>")
    def follow(wire: t.Any) -> Response:
        asked = request.args
        late = 60 if "late" in asked else 0
        return push.follow("a", wire=wire, user=asked.get("user"), late=late)


def test_an_answer_is_followed_while_it_is_written(app: Flask, push: Push) -> None:
    client = app.test_client()
    with push.run("a", key=1) as run:
        run.write("Hel")
        with client.get("/follow/push") as response:
            run.write("lo")
            assert [e.data for e in read_events(response, 2)] == ["Hel", "lo"]
    assert client.get("/follow/push").status_code == 204


def test_a_browser_goes_on_where_it_was_and_asks_no_more_at_the_end(
    app: Flask, push: Push
) -> None:
    client = app.test_client()
    with push.run("a") as run:
        for word in "123":
            run.write(word)
        with client.get("/follow/push") as response:
            first = read_events(response, 1)[0]
    # It is over now.
    with client.get("/follow/push", headers={"Last-Event-ID": first.id}) as response:
        events = read_events(response, 4, own=True)
        assert [e.data for e in events if e.type == "message"] == ["2", "3"]
        assert events[-1].json["status"] == "done"
        with pytest.raises(EOFError):
            read_events(response, 1, own=True)
    last = {"Last-Event-ID": events[-1].id}
    assert client.get("/follow/push", headers=last).status_code == 204
    with push.run("a"):
        assert client.get("/follow/push", headers=last).status_code == 204


def test_each_store_sends_a_browser_the_rest_behind_any_event(url: str, push: Push) -> None:
    app = make_app(push, PUSH_BROKER_URL=url)
    add_follow(app, push)
    client = app.test_client()

    def follow(last_id: str = "") -> list[Event]:
        headers = {"Last-Event-ID": last_id} if last_id else {}
        response = client.get("/follow/push?late", headers=headers)
        found = list(sse.Parser().feed(response.data))
        return [event for event in found if event.type != "push:open"]

    with pytest.raises(ZeroDivisionError), push.run("a", key="k") as run:
        run.write("of the first attempt")
        older = follow_once(client)
        raise ZeroDivisionError
    with push.run("a", key="k") as run:
        # Some of them are stored together.
        run.write_all(map(str, range(40)))
    whole = follow()
    words = [event.data for event in whole if event.type == "message"]
    assert words == list(map(str, range(40)))
    assert [e.json["status"] for e in whole if e.type == "push:run"] == ["running", "done"]
    for n, event in enumerate(whole[:-1]):
        assert follow(event.id) == whole[n + 1 :]
    assert follow(whole[-1].id) == []
    assert follow(older) == whole, "all of the newest attempt"
    push._states[app].services().close()


def follow_once(client: FlaskClient) -> str:
    """The id of the first event of the run."""
    with client.get("/follow/push") as response:
        (event,) = read_events(response, 1)
    return event.id


@pytest.mark.parametrize("wire", ["ai-sdk", "ag-ui", "openai"])
def test_a_whole_answer_is_read_on_each_plain_wire(
    app: Flask, push: Push, wire: str
) -> None:
    client = app.test_client()
    with push.run("a") as run:
        run.write('{"n":1}')
        writer = threading.Timer(0.1, run.write, ['{"n":2}'])
        writer.start()
        response = client.get(f"/follow/{wire}", headers={"Accept-Encoding": "gzip"})
        writer.join()
    body = response.data.replace(b":\n", b"")
    assert "Content-Encoding" not in response.headers
    assert body.startswith(b'data: {"n":1}\n\ndata: {"n":2}\n\n')
    assert body.endswith(b"data: [DONE]\n\n") == (wire != "ag-ui")
    again = client.get(f"/follow/{wire}?late")
    assert again.data.replace(b":\n", b"") == body


def test_a_run_that_is_lost_ends_with_an_error(app: Flask, push: Push) -> None:
    client = app.test_client()
    run = push.run("a")
    response = client.get("/follow/openai")
    lose(run)
    assert b'"code":"lost"' in response.data and response.data.endswith(b"[DONE]\n\n")


def test_a_client_that_is_disconnected_gets_an_error(app: Flask, push: Push) -> None:
    client = app.test_client()
    with push.run("a") as run:
        run.write("1")
        response = client.get("/follow/ai-sdk?user=ann")
        chunks = iter(t.cast("cabc.Iterator[bytes]", response.response))
        body = b""
        while b"data: 1\n\n" not in body:
            body += next(chunks)
        push.disconnect(user="ann")
        body += b"".join(chunks)
        response.close()
    error = b'data: {"type":"error","errorText":"disconnected"}\n\ndata: [DONE]\n\n'
    assert body.endswith(error)


@pytest.mark.parametrize("develops", ["in tests", "with flask run"])
def test_more_pages_follow_than_streams_are_relayed(
    push: Push, develops: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(push, PUSH_RELAY_MAX=0, PUSH_BROKER_URL="memory:")
    if develops == "with flask run":
        app.testing = False
        monkeypatch.setenv("FLASK_RUN_FROM_CLI", "true")
    add_follow(app, push)
    client = app.test_client()
    push.run("a")
    responses = [client.get(f"/follow/{wire}") for wire in ("push", "openai") * 5]
    assert {response.status_code for response in responses} == {200}
    push.stop("a")
    for response in responses:
        assert b"stopped" in response.data
    push._states[app].services().close()
