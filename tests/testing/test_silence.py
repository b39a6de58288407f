"""A test asserts that a stream has nothing more."""

from __future__ import annotations

import collections.abc as cabc
import threading
import typing as t

import pytest
from flask import Flask
from flask import request
from flask import Response
from flask.testing import FlaskClient
from support.apps import app as app
from support.apps import client as client
from support.apps import hub_of
from support.apps import make_app
from support.apps import push as push
from support.each_store import url as url

from flask_push import Push
from flask_push import sse
from flask_push.testing import _silence
from flask_push.testing import assert_silent
from flask_push.testing import read_events
from flask_push.testing import read_to_end


def assert_not_silent(response: t.Any, text: str) -> None:
    with pytest.raises(AssertionError, match=text):
        assert_silent(response)


def test_a_stream_is_silent_until_something_is_published(
    push: Push, client: FlaskClient
) -> None:
    with client.get("/stream") as response:
        assert_silent(response)
        push.publish("elsewhere", "1")
        assert_silent(response)
        push.publish("a", "2")
        assert_not_silent(response, "1 of its events.*'2'")
        assert_not_silent(response, "1 of its events.*'2'")
        push.publish("b", "3")
        assert [e.data for e in read_events(response, 2)] == ["2", "3"]
        assert_silent(response)
        push.publish("a", "4")
        assert [e.data for e in read_events(response, 1)] == ["4"]


def test_events_of_flask_push_are_no_noise_and_can_still_be_read(
    push: Push, client: FlaskClient
) -> None:
    with client.get("/stream") as response:
        assert_silent(response)
        assert_silent(response)
        push.disconnect(channel="a")
        types = [e.type for e in read_to_end(response, own=True)]
        assert types == ["push:open", "push:disconnect"]
        assert_silent(response)


def test_whatever_was_published_before_is_noise(url: str) -> None:
    """Each time, though it is on its way for a while."""
    push = Push()
    app = make_app(push, PUSH_BROKER_URL=url)
    with app.app_context(), app.test_client().get("/stream") as response:
        read_events(response, 1, own=True)
        for n in range(100):
            if n % 3 == 0:
                push.publish("a", str(n))
            elif n % 3 == 1:
                # The end of a Redis does not prove that these have arrived.
                push.publish("b", str(n), store=url.startswith("redis"))
            else:
                push.set("a", "x", n)
            assert_not_silent(response, f"'{n}'")
            (event,) = read_events(response, 1)
            assert event.data == str(n)
            assert_silent(response)
        push._services().close()


def test_many_events_before_the_call_are_all_noise(push: Push, client: FlaskClient) -> None:
    with client.get("/stream") as response:
        for n in range(500):
            push.publish("a", "x" * 2000 + str(n))
        assert_not_silent(response, "500 of its events")
        assert len(read_events(response, 500)) == 500
        assert_silent(response)


def test_the_stream_of_an_excluded_connection_is_silent(
    push: Push, client: FlaskClient
) -> None:
    with client.get("/stream") as mine, client.get("/stream") as other:
        (opened,) = read_events(mine, 1, own=True)
        push.publish("a", "1", exclude=opened.json["connection"])
        assert_silent(mine)
        assert_not_silent(other, "'1'")


def test_a_marker_reaches_one_stream_and_no_test(push: Push, client: FlaskClient) -> None:
    with client.get("/stream") as one, client.get("/stream") as two:
        for _ in range(3):
            assert_silent(one)
        push.disconnect(channel="a")
        for response in one, two:
            types = [e.type for e in read_to_end(response, own=True)]
            assert types == ["push:open", "push:disconnect"]


def test_no_test_reads_a_marker_that_another_stream_of_the_page_gets(
    push: Push, client: FlaskClient
) -> None:
    """Both have the id of their page."""
    page = {"connection": "a" * 16}
    with (
        client.get("/stream", query_string=page) as one,
        client.get("/stream", query_string=page) as two,
    ):
        for response in one, two:
            (opened,) = read_events(response, 1, own=True)
            assert opened.json["connection"] == page["connection"]
        assert_silent(one)
        push.publish("a", "1")
        assert [e.data for e in read_events(two, 1, own=True)] == ["1"]
        read_events(one, 1)
        assert_silent(one)
        assert_silent(two)
        push.publish("a", "2")
        assert [e.data for e in read_events(two, 1, own=True)] == ["2"]


def test_a_stream_that_begins_with_items_is_not_silent_before_they_are_read(
    push: Push, client: FlaskClient
) -> None:
    push.set("a", "x", 1)
    push.set("a", "y", 2)
    with client.get("/stream") as response:
        assert_not_silent(response, "2 of its events")
        read_events(response, 2)
        assert_silent(response)


@pytest.fixture
def more(push: Push, app: Flask) -> None:
    @app.get("/paced")
    def paced() -> Response:
        return push.stream("a", every=0.05)

    @app.get("/follow")
    def follow() -> Response:
        return push.follow("a")

    @app.get("/room")
    def room() -> Response:
        user = request.args["user"]
        return push.stream("a", user=user, present={"a": {}}, watch=["a"])


@pytest.mark.usefixtures("more")
def test_a_stream_that_is_written_to_seldom_is_not_silent_while_something_waits(
    push: Push, client: FlaskClient
) -> None:
    with client.get("/paced") as response:
        for n in range(5):
            push.publish("a", str(n))
            assert_not_silent(response, f"'{n}'")
            read_events(response, 1)


@pytest.mark.usefixtures("more")
def test_a_stream_that_follows_a_run_is_silent_while_nothing_is_written(
    push: Push, client: FlaskClient
) -> None:
    with push.run("a") as run, client.get("/follow") as response:
        assert_silent(response)
        push.publish("a", "elsewhere")
        assert_silent(response)
        for n in range(5):
            run.write(str(n))
            assert_not_silent(response, f"'{n}'")
            assert [e.data for e in read_events(response, 1)] == [str(n)]
            assert_silent(response)
    assert read_to_end(response) == []
    assert_silent(response)


@pytest.mark.usefixtures("more")
def test_a_user_who_joins_or_leaves_is_noise(client: FlaskClient) -> None:
    with client.get("/room?user=ada") as response:
        read_events(response, 1)
        assert_silent(response)
        with client.get("/room?user=bob"):
            assert_not_silent(response, "push:joined")
            read_events(response, 1)
            assert_silent(response)
        assert_not_silent(response, "push:left")


def test_a_stream_whose_end_was_read_is_silent(push: Push, client: FlaskClient) -> None:
    push.publish("a", "1")
    with client.get("/stream?poll=1&last=9") as response:
        assert_not_silent(response, "'1'")
        read_to_end(response)
        assert_silent(response)


def test_a_stream_of_a_hub_that_has_ended_is_silent(
    push: Push, client: FlaskClient
) -> None:
    with client.get("/stream") as response:
        read_events(response, 1, own=True)
        push.publish("a", "1")
        read_events(response, 1)
        hub_of(push).stop()
        assert_silent(response)


def test_only_a_stream_can_be_silent(client: FlaskClient) -> None:
    with pytest.raises(ValueError, match="is no stream"):
        assert_silent(client.get("/nowhere"))
    with pytest.raises(TypeError, match="takes the response of a test client"):
        assert_silent(None)  # type: ignore[arg-type]


def test_whether_a_stream_of_another_process_is_silent_is_not_known(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()

    @app.get("/elsewhere")
    def elsewhere() -> Response:
        def body() -> cabc.Iterator[bytes]:
            yield sse.encode('{"connection": "of-another-hub"}', type="push:open")
            goes_on.wait()

        return Response(body(), mimetype="text/event-stream")

    monkeypatch.setattr(_silence, "SECONDS", 0.1)
    with client.get("/elsewhere") as response:
        with pytest.raises(RuntimeError, match="needs a hub in a thread of the test"):
            assert_silent(response)
        goes_on.set()
        assert [e.type for e in read_to_end(response, own=True)] == ["push:open"]
        assert_silent(response)
