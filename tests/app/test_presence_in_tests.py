"""While an app is tested, presence is true as soon as a test asks for it."""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from pathlib import Path

import flask
import pytest
from flask import Response
from flask.testing import FlaskClient
from support.apps import hub_of
from support.apps import make_app
from support.apps import push as push

from flask_push import Member
from flask_push import NotPublished
from flask_push import Push
from flask_push._hub import thread
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.memory.feed import MemoryFeed
from flask_push.brokers.sqlite import SqliteBroker
from flask_push.brokers.sqlite.feed import SqliteFeed
from flask_push.testing import read_events


@pytest.fixture(params=["memory:", "sqlite:"])
def client(
    push: Push, tmp_path: Path, request: pytest.FixtureRequest
) -> cabc.Iterator[FlaskClient]:
    app = make_app(push, PUSH_BROKER_URL=request.param, PUSH_RUN_DIR=str(tmp_path))

    @app.get("/show")
    def show() -> Response:
        user, info = flask.request.args["user"], flask.request.args.get("info")
        return push.stream("a", user=user, present={"a": info}, watch=["a"])

    yield app.test_client()
    push._services().close()


def members(push: Push) -> list[str]:
    return [*push.presence("a").members]


def test_a_user_is_present_as_soon_as_the_response_is_there(
    push: Push, client: FlaskClient
) -> None:
    assert members(push) == []
    with client.get("/show?user=ann&info=1"):
        assert push.presence("a").members == {"ann": Member("ann", "1")}
    assert members(push) == []


def test_a_user_is_present_until_the_last_stream_is_closed(
    push: Push, client: FlaskClient
) -> None:
    with client.get("/show?user=ann&info=1") as first:
        with client.get("/show?user=ann&info=2"), client.get("/show?user=ben"):
            assert push.presence("a").members["ann"].info == "2"
            first.close()
            assert members(push) == ["ann", "ben"]
        assert members(push) == []


def test_a_stream_returns_who_joins_and_leaves(push: Push, client: FlaskClient) -> None:
    with client.get("/show?user=ann") as response:
        (joined,) = read_events(response, 1)
        assert (joined.type, joined.item, joined.channel) == ("push:joined", "ann", "a")
        with client.get("/show?user=ben&info=x"):
            (joined,) = read_events(response, 1)
            assert joined.json == {"channel": "a", "user": "ben", "info": "x"}
        (left,) = read_events(response, 1)
        assert (left.type, left.json) == ("push:left", {"channel": "a", "user": "ben"})


def test_a_stream_begins_with_all_who_are_there(push: Push, client: FlaskClient) -> None:
    with client.get("/show?user=ann"), client.get("/show?user=ben"):
        assert members(push) == ["ann", "ben"]
        with client.get("/show?user=ann") as response:
            types = [event.type for event in read_events(response, 5, own=True)]
    begun = ["push:open", "push:items", "push:joined", "push:joined", "push:whole"]
    assert types == begun


def test_a_stream_that_begins_late_is_waited_for(
    push: Push, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is slow to say that it watches the channels of the stream."""
    for feed in MemoryFeed, SqliteFeed:
        watch: t.Any = feed.watch

        def late(self: t.Any, channels: list[str], watch: t.Any = watch) -> None:
            self._loop.call_soon_threadsafe(
                self._loop.call_later, 0.2, watch, self, channels
            )

        monkeypatch.setattr(feed, "watch", late)
    with client.get("/show?user=ann"):
        assert members(push) == ["ann"]
    monkeypatch.undo()


def test_nothing_is_waited_for_without_a_stream_or_after_the_hub_has_ended(
    push: Push, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread, "SETTLE_SECONDS", 3600)
    assert members(push) == []
    with client.get("/show?user=ann"):
        assert members(push) == ["ann"]
        hub_of(push).stop()
        # A hub that ends unsets no user.
        assert members(push) == ["ann"]


def test_a_store_that_refuses_does_not_keep_a_test_waiting(
    push: Push, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise NotPublished("full")

    monkeypatch.setattr(thread, "SETTLE_SECONDS", 0.2)
    for broker in MemoryBroker, SqliteBroker:
        monkeypatch.setattr(broker, "change", refuse)
    with client.get("/show?user=ann"):
        assert members(push) == []
    monkeypatch.undo()
    assert members(push) == []
