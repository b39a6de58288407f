"""Publishing and reading history, from a Push or a Publisher."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import pytest
from flask import Flask
from support.apps import app as app
from support.apps import client as client
from support.apps import hub_of
from support.apps import make_app
from support.apps import push as push
from support.servers import until

from flask_push import Event
from flask_push import Position
from flask_push import Push
from flask_push.testing import read_events

# Publishing.


@pytest.mark.parametrize("url", ["memory:", "sqlite:"])
def test_a_very_large_last_is_accepted(url: str, push: Push, tmp_path: Path) -> None:
    """It may come from an address. An invalid one must not affect other readers."""
    app = make_app(push, PUSH_BROKER_URL=url, PUSH_RUN_DIR=str(tmp_path))
    client = app.test_client()
    with client.get("/stream") as good:
        push.publish("a", "1")
        with client.get(f"/stream?last={10**30}") as response:
            assert [event.data for event in read_events(response, 1)] == ["1"]
        push.publish("a", "2")
        assert [event.data for event in read_events(good, 2)] == ["1", "2"]
    assert len(push.history("a", last=10**30).events) == 2
    hub_of(push).stop()


def test_data_that_is_not_json_is_refused(push: Push, app: Flask) -> None:
    with pytest.raises(TypeError):
        push.publish("a", object())
    with pytest.raises(TypeError):
        push.publish("a", b"bytes")


def test_publish_returns_the_id_that_the_browser_gets(push: Push, app: Flask) -> None:
    id = push.publish("user:1", "x")
    assert Position.parse(id).epoch and id.endswith(".user~3a1")
    assert push.publish_many([Event("a", "1"), Event("b", {"n": 2})]) > id
    assert push.publish_many([]) == ""
    assert push.publish("a", "x", key="k") == push.publish("a", "y", key="k")
    (event,) = push.history("b", 1).events
    assert (event.data, event.channel) == ('{"n": 2}', "b")


def test_history_and_its_position_belong_together(push: Push, app: Flask) -> None:
    ids = [push.publish("a", str(n)) for n in range(5)]
    history = push.history("a", last=3)
    assert [event.id for event in history.events] == ids[2:]
    assert ids[-1].startswith(history.position)
    assert push.position() == history.position
    assert push.history("a", last=0).events == []
    for last in -1, 1.5, True, "5":
        with pytest.raises(ValueError, match="last"):
            push.history("a", last)  # type: ignore[arg-type]


def test_history_may_take_several_pages(push: Push, app: Flask) -> None:
    push.publish_many(Event("a", f"{n} " + "x" * 10_000) for n in range(100))
    assert [event.data.split()[0] for event in push.history("a", 90).events] == [
        str(n) for n in range(10, 100)
    ]


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        (("", "x"), "non-empty"),
        (("a" * 65, "x"), "64 at most"),
        (("a", "x" * (2**20 + 1)), "PUSH_MAX_EVENT_BYTES"),
        (("a", "\ud800"), "surrogate"),
        (("a", "x", "push:mine"), "Flask-Push's own"),
        (("a", "x", "open"), "onopen"),
        (("a", "x", "a\nb"), "line break"),
        (("a", "x", "message", ""), "key"),
    ],
)
def test_an_event_that_cannot_be_published_raises_an_error_with_the_reason(
    event: tuple[str, ...], problem: str, push: Push, app: Flask
) -> None:
    with pytest.raises(ValueError, match=problem):
        push.publish_many([Event("a", "fine"), Event(*event)])  # type: ignore[arg-type]
    assert push.history("a", 9).events == []


def test_a_history_has_at_most_last_events_and_a_stream_continues_it_exactly(
    tmp_path: Path,
) -> None:
    """While a thread publishes, and the store deletes old events."""
    app = Flask("app", instance_path=str(tmp_path))
    app.config.update(PUSH_KEEP=30)
    push = Push(app)
    stop = threading.Event()

    def speak() -> None:
        for n in itertools.count():
            push.publish("a", f"{n} {'x' * 200_000}")
            if stop.is_set():
                break

    # Opening the file takes the lock, which the thread that publishes holds nearly always.
    push.history("a", last=25)
    thread = threading.Thread(target=speak)
    thread.start()
    try:
        until(lambda: push.history("a", last=25).events)
        for _ in range(10):
            found = push.history("a", last=25)
            numbers = [int(event.data.split()[0]) for event in found.events]
            assert len(numbers) <= 25
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            assert found.position == found.events[-1].id.partition(".")[0]
    finally:
        stop.set()
        thread.join()
        push._services().close()
