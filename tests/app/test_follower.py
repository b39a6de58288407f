"""What a view answers that lets its client follow a run, and from where."""

from __future__ import annotations

import time
import typing as t

import pytest
from flask import Flask
from flask import Response
from support.apps import app as app
from support.apps import push as push
from support.plain_broker import Plain
from support.servers import until
from werkzeug.exceptions import BadRequest

from flask_push import Push
from flask_push import Run
from flask_push._delivery.follow import Follow
from flask_push._delivery.stream import Stream
from flask_push._event import base62
from flask_push._event import Position
from flask_push._follower import WireName
from flask_push._plain_response import PlainResponse
from flask_push._response import StreamResponse
from flask_push.brokers import Broker
from flask_push.brokers import NotRead
from flask_push.brokers.runs import RUN

PLAIN: tuple[WireName, ...] = ("ai-sdk", "ag-ui", "openai")


@pytest.fixture(autouse=True)
def of_the_app(app: Flask) -> None:
    """The app that the tests use."""


def ask(
    push: Push, run: Run | str, path: str = "/", last_id: str = "", **how: t.Any
) -> Response:
    """The answer to a request for the run."""
    (app,) = push._states
    headers = {"Last-Event-ID": last_id} if last_id else {}
    with app.test_request_context(path, headers=headers):
        return push.follow(run, **how)


def stream_of(response: Response) -> Stream:
    assert isinstance(response, StreamResponse) and response.status_code == 200
    return response.stream_


def begins(push: Push, run: Run | str, last_id: str = "", **how: t.Any) -> Follow:
    return stream_of(ask(push, run, last_id=last_id, **how)).follow


def ids_of(push: Push, channel: str) -> list[str]:
    """The ids of the rows of the channel's runs, in their order."""
    page = (
        push._services().publisher._runs()[0].store.broker.read_items([channel], kind=RUN)
    )
    return [str(row.position) for row in page.rows if row.item != "now"]


def at(id: str, move: int = 0) -> str:
    position = Position.parse(id)
    return f"{position.epoch}-{base62(position.number + move)}"


def test_a_stream_follows_the_run_that_is_active(push: Push) -> None:
    run = push.run("a")
    queued = begins(push, "a")
    with run:
        running = begins(push, "a")
        assert running == queued == begins(push, run)
        assert (running.channel, running.tag, running.wire) == ("a", "1.1", "push")
        record = push._services().publisher._runs()[0].store.record("a")
        assert record is not None
        assert running.after == record.start and running.epoch == record.position.epoch
        assert not running.skip and running.framing == "none"


def test_a_browser_that_was_cut_off_gets_the_rest(push: Push) -> None:
    with push.run("a") as run:
        run.write("1")
        run.write("2")
        *_, last = ids = ids_of(push, "a")
        for id in ids:
            found = begins(push, "a", f"{id}.a")
            assert (found.tag, found.after, found.skip) == ("1.1", number(id), 0)
        packed = begins(push, "a", f"{at(last, -1)}.a.3")
        assert (packed.after, packed.skip) == (number(last) - 1, 3)
        query = f"/?last_event_id={last}.a"
        assert stream_of(ask(push, "a", query)).follow.after == number(last)
    # After the end too, up to the end.
    assert begins(push, "a", f"{last}.a").after == number(last)
    end = ids_of(push, "a")[-1]
    assert ask(push, "a", last_id=f"{end}.a").status_code == 204
    assert ask(push, run, last_id=f"{end}.a").status_code == 204


def number(id: str) -> int:
    return Position.parse(id).number


def test_a_run_that_nothing_holds_any_more_has_ended(push: Push) -> None:
    push.run("a", wait=0.001)
    until(lambda: ask(push, "a").status_code == 204, what="the view finds that it is lost")
    assert begins(push, "a", late=600).tag == "1.1"


def test_a_page_that_knows_a_position_of_the_store_gets_the_run_from_its_first_event(
    push: Push,
) -> None:
    with push.run("a") as run:
        run.write("1")
        since = push.position()
        run.write("2")
        found = stream_of(ask(push, "a", f"/?since={since}")).follow
        assert found == begins(push, "a")


def test_the_next_run_is_no_continuation_of_one_that_has_ended(push: Push) -> None:
    with push.run("a") as first:
        first.write("1")
    inside, end = ids_of(push, "a")[-2:]
    with push.run("a") as second:
        assert ask(push, "a", last_id=f"{end}.a").status_code == 204
        assert begins(push, "a", f"{inside}.a").tag == "1.1"
        assert begins(push, "a", f"{at(inside, -(10**9))}.a").tag == "2.1"
        assert begins(push, "a", "other-1.a").tag == "2.1"
        assert begins(push, first, f"{inside}.a").tag == "1.1"
        assert begins(push, first).tag == "1.1" and begins(push, second).tag == "2.1"


def test_a_run_that_the_store_has_forgotten_is_nothing(push: Push) -> None:
    runs = []
    for _ in range(4):
        with push.run("a") as run:
            runs.append(run)
    assert [begins(push, run).tag for run in runs[1:]] == ["2.1", "3.1", "4.1"]
    assert ask(push, runs[0]).status_code == 204


def test_a_run_that_has_failed_is_followed_in_its_next_attempt(push: Push) -> None:
    run = push.run("a", key="k")
    with pytest.raises(ZeroDivisionError), run:
        run.write("1")
        raise ZeroDivisionError
    inside, end = ids_of(push, "a")[-2:]
    assert begins(push, run).tag == "1.1"
    with push.run("a", key="k") as again:
        for asked in "a", run, again:
            assert begins(push, asked).tag == "1.2"
            assert begins(push, asked, f"{inside}.a").tag == "1.2"
            assert ask(push, asked, last_id=f"{end}.a").status_code == 204


@pytest.mark.parametrize("wire", ["push", *PLAIN])
def test_where_nothing_runs_the_client_learns_it(push: Push, wire: WireName) -> None:
    def assert_nothing() -> None:
        response = ask(push, "a", wire=wire)
        if wire in ("push", "ai-sdk"):
            assert response.status_code == 204 and not response.data
            assert "Content-Type" not in response.headers
        else:
            # These take a response without a body for an empty run.
            assert response.status_code == 404 and response.data
        assert response.headers["Cache-Control"] == "no-store"

    assert_nothing()
    with push.run("a") as run:
        assert begins(push, "a", wire=wire).wire == wire
    assert_nothing()
    assert begins(push, "a", wire=wire, late=600).tag == "1.1"
    assert begins(push, run, wire=wire).tag == "1.1", "this run, over or not"


def test_a_run_that_has_ended_long_ago_is_not_late(
    push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    with push.run("a"):
        pass
    assert begins(push, "a", late=0.5 + 3600).tag == "1.1"
    hour = 3600 * 10**9
    now = time.time_ns
    monkeypatch.setattr("flask_push._holder.look.time.time_ns", lambda: now() + hour)
    assert ask(push, "a", late=3599).status_code == 204
    monkeypatch.setattr("flask_push._holder.look.time.time_ns", lambda: now() - hour)
    push.publish("b", "the store's own clock goes on")
    assert begins(push, "a", late=600).tag == "1.1"


@pytest.mark.parametrize("wire", PLAIN)
def test_a_plain_wire_begins_at_the_first_event_whatever_the_request_says(
    push: Push, wire: WireName
) -> None:
    with push.run("a") as run:
        run.write("1")
        (*_, last) = ids_of(push, "a")
        path = f"/?last_event_id={last}.a&poll=1&visible=1&connection={'c' * 16}"
        response = ask(push, "a", path, f"{last}.a", wire=wire)
        assert isinstance(response, PlainResponse)
        stream = response.stream_
        assert stream.follow == begins(push, "a", wire=wire)
        assert not (stream.poll or stream.visible or stream.position or stream.lifetime)
        assert not stream.connection.startswith("c" * 16)
        name = "x-vercel-ai-ui-message-stream"
        assert response.headers.get(name) == ("v1" if wire == "ai-sdk" else None)
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-store, no-transform"
        assert response.headers["X-Accel-Buffering"] == "no"


def test_the_wire_of_browsers_has_what_a_stream_has(push: Push) -> None:
    push.run("a")
    path = f"/?poll=1&visible=1&connection={'c' * 16}"
    how: dict[str, t.Any] = {"user": 7, "session": "login"}
    response = ask(push, "a", path, **how)
    stream = stream_of(response)
    assert stream.poll and stream.visible and stream.connection.startswith("c" * 16)
    assert (stream.user, stream.session, stream.channels) == ("7", "login", ("a",))
    assert stream.seen, "disconnect() knows since when the client has been asking"
    assert isinstance(response, StreamResponse) and not response.may_return


def test_a_store_that_can_not_be_read_is_asked_again_later(
    push: Push, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: t.Any, **__: t.Any) -> t.NoReturn:
        raise NotRead("The store is away.")

    monkeypatch.setattr(push._services().broker, "find", fail)
    browser = ask(push, "a")
    assert browser.status_code == 200, "EventSource gives up at any other"
    assert browser.data.startswith(b":\nretry: ")
    assert browser.headers["Content-Type"].startswith("text/event-stream")
    for wire in PLAIN:
        response = ask(push, "a", wire=wire)
        assert response.status_code == 503 and response.headers["Retry-After"]
        assert response.headers["x-should-retry"] == "false"
    assert caplog.text.count("The store is away.") == 1


def test_a_run_has_no_body_for_a_head_request(push: Push, app: Flask) -> None:
    @app.get("/follow")
    def follow() -> Response:
        return push.follow("a", wire="ag-ui")

    client = app.test_client()
    assert client.head("/follow").status_code == 404
    push.run("a")
    response = client.head("/follow")
    assert (response.status_code, response.data) == (200, b"")
    assert response.headers["Content-Type"].startswith("text/event-stream")


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        ({"wire": "aisdk"}, ValueError, "wire is one of 'push', 'ai-sdk', 'ag-ui'"),
        ({"wire": None}, ValueError, "wire is one of"),
        ({"wire": ["push"]}, ValueError, "wire is one of"),
        ({"late": "30"}, TypeError, "as in late=30"),
        ({"late": True}, TypeError, "as in late=30"),
        ({"late": None}, TypeError, "as in late=30"),
        ({"late": -1}, ValueError, "from 0 on"),
        ({"late": float("nan")}, ValueError, "from 0 on"),
        ({"late": float("inf")}, ValueError, "from 0 on"),
        ({"user": ""}, ValueError, "user is empty"),
        ({"session": {}}, TypeError, "session is text"),
    ],
)
def test_what_a_view_passes_by_mistake_is_an_error(
    push: Push, wrong: dict[str, t.Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        ask(push, "a", **wrong)


def test_what_is_no_run_and_no_channel_is_an_error(push: Push) -> None:
    for wrong in None, 7, ["a"]:
        with pytest.raises(TypeError, match="a run, or the name of a channel"):
            ask(push, wrong)  # type: ignore[arg-type]
    # The name may come from the request.
    with pytest.raises(BadRequest):
        ask(push, "x" * 65)
    with pytest.raises(ValueError):
        ask(push, "")


def test_a_broker_that_keeps_no_runs_is_named(push: Push) -> None:
    publisher = push._services().publisher
    kept, publisher._broker = publisher._broker, t.cast(Broker, Plain())
    with pytest.raises(RuntimeError, match="keeps no runs"):
        ask(push, "a")
    publisher._broker = kept
