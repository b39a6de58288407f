"""A test makes gaps on open streams."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient
from support.apps import app as app
from support.apps import client as client
from support.apps import make_app
from support.apps import push as push
from support.each_store import url as url

from flask_push import Push
from flask_push.testing import make_gap
from flask_push.testing import read_events


def test_a_stream_gets_a_gap_after_what_was_published_before(url: str) -> None:
    push = Push()
    app = make_app(push, PUSH_BROKER_URL=url)
    with app.app_context(), app.test_client().get("/stream") as response:
        for n in range(50):
            push.publish("a", str(n))
        make_gap(response)
        push.publish("b", "after")
        *before, gap, after = read_events(response, 53, own=True)
        assert [e.data for e in before[1:]] == [str(n) for n in range(50)]
        assert gap.type == "push:gap"
        assert gap.json["channels"] == ["a", "b"]
        assert gap.json["reason"] == "trimmed"
        assert after.data == "after"
        push._services().close()


def test_the_other_streams_get_none(push: Push, client: FlaskClient) -> None:
    with client.get("/stream") as one, client.get("/stream") as other:
        make_gap(one)
        push.publish("a", "1")
        assert [e.type for e in read_events(one, 3, own=True)][1] == "push:gap"
        assert [e.data for e in read_events(other, 2, own=True)][1] == "1"


def test_all_streams_of_a_channel_get_a_gap_of_it(push: Push, client: FlaskClient) -> None:
    with client.get("/stream") as one, client.get("/stream") as other:
        for response in one, other:
            read_events(response, 1, own=True)
        make_gap("b", reason="restarted")
        for response in one, other:
            (gap,) = read_events(response, 1, own=True)
            assert gap.json["channels"] == ["b"]
            assert gap.json["reason"] == "restarted"


def test_a_gap_loses_and_doubles_nothing_for_a_page_that_resumes(
    push: Push, client: FlaskClient
) -> None:
    with client.get("/stream") as response:
        push.publish("a", "1")
        make_gap(response)
        *_, gap = read_events(response, 3, own=True)
    push.publish("a", "2")
    with client.get("/stream", headers={"Last-Event-ID": gap.id}) as response:
        _, event = read_events(response, 2, own=True)
        assert event.data == "2"


def test_a_gap_needs_an_open_stream(push: Push, client: FlaskClient) -> None:
    with pytest.raises(RuntimeError, match="found no such stream"):
        make_gap("a")
    with (
        client.get("/stream") as response,
        pytest.raises(RuntimeError, match="found no such"),
    ):
        make_gap("elsewhere")
    with pytest.raises(ValueError, match="reason is one of"):
        make_gap(response, reason="lost")  # type: ignore[arg-type]
