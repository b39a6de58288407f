"""A test sees what its app does when publishing fails."""

from __future__ import annotations

import collections.abc as cabc
import threading
import typing as t

import pytest
from flask import Flask
from flask import Response
from flask.testing import FlaskClient
from support.apps import app as app
from support.apps import client as client
from support.apps import push as push

from flask_push import Event
from flask_push import NotPublished
from flask_push import Publisher
from flask_push import PublishUncertain
from flask_push import Push
from flask_push.testing import captured
from flask_push.testing import failing
from flask_push.testing import read_events
from flask_push.testing import read_to_end

CALLS: list[cabc.Callable[[Push], object]] = [
    lambda push: push.publish("a", "1"),
    lambda push: push.publish("a", "1", store=False),
    lambda push: push.publish_many([Event("a", "1"), Event("a", "2", item="y")]),
    lambda push: push.set("a", "x", 2),
    lambda push: push.unset("a", "x"),
    lambda push: push.disconnect(channel="a"),
]


@pytest.mark.parametrize("call", CALLS)
def test_nothing_is_stored_while_publishing_fails(
    push: Push, app: Flask, call: cabc.Callable[[Push], object]
) -> None:
    push.set("a", "x", 1)
    before = push.position()
    with failing(push):
        with pytest.raises(NotPublished, match="nothing was stored"):
            call(push)
        assert push.position() == before
        assert push.items("a").events["x"].json == 1
    call(push)


@pytest.mark.parametrize("call", CALLS)
def test_what_is_uncertain_is_stored(
    push: Push, client: FlaskClient, call: cabc.Callable[[Push], object]
) -> None:
    push.set("a", "x", 1)
    with client.get("/stream") as response:
        read_events(response, 4, own=True)
        with (
            failing(push, PublishUncertain),
            pytest.raises(PublishUncertain, match="it was stored"),
        ):
            call(push)
        (event,) = read_events(response, 1, own=True)
    assert event.channel == "a" or event.type == "push:disconnect"


def test_streams_and_runs_go_on_while_publishing_fails(
    push: Push, app: Flask, client: FlaskClient
) -> None:
    @app.get("/follow")
    def follow() -> Response:
        return push.follow("a")

    with failing(push):
        with client.get("/stream") as response:
            assert read_events(response, 1, own=True)
        with push.run("a") as run:
            response = client.get("/follow")
            run.write("Hello")
        assert [e.data for e in read_to_end(response)] == ["Hello"]
        response.close()


def test_publishing_fails_in_all_threads_until_the_last_block_ends() -> None:
    push = Publisher("memory:")
    results: list[Exception] = []

    def publish() -> None:
        try:
            push.publish("a", "1")
        except NotPublished as error:
            results.append(error)

    with failing(push):
        with failing(push):
            pass
        thread = threading.Thread(target=publish)
        thread.start()
        thread.join()
        assert len(results) == 1
    publish()
    assert len(results) == 1


def test_the_inner_block_decides_how_publishing_fails() -> None:
    push = Publisher("memory:")
    with failing(push):
        with failing(push, PublishUncertain), pytest.raises(PublishUncertain):
            push.publish("a", "1")
        with pytest.raises(NotPublished):
            push.publish("a", "2")
    push.publish("a", "3")
    assert [e.data for e in push.history("a", 9).events] == ["1", "3"]


@pytest.mark.parametrize("error", [NotPublished, PublishUncertain])
def test_publishing_works_again_after_an_error_in_the_block(
    error: type[NotPublished] | type[PublishUncertain],
) -> None:
    push = Publisher("memory:")
    broker: t.Any = push._broker
    with pytest.raises(error), failing(push, error):
        push.publish("a", "1")
    assert push._broker is broker and push._keeper() is broker
    push.publish("a", "2")


def test_what_is_captured_was_stored_however_the_blocks_are_nested() -> None:
    push = Publisher("memory:")
    for error, count in ((NotPublished, 0), (PublishUncertain, 1)):
        with captured(push) as outer, failing(push, error), captured(push) as inner:
            with pytest.raises(error):
                push.publish("a", "1")
        assert len(outer) == len(inner) == count


def test_publishing_fails_only_with_what_a_store_raises() -> None:
    with pytest.raises(TypeError, match="error is NotPublished or PublishUncertain, not"):
        failing(Publisher("memory:"), ValueError).__enter__()  # type: ignore[arg-type]
