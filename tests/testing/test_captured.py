"""A test sees what its app publishes."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import threading
import typing as t

import pytest
from flask import Flask
from flask.testing import FlaskClient
from support.apps import app as app
from support.apps import client as client
from support.apps import make_app
from support.apps import push as push
from support.each_store import url as url
from support.servers import until

from flask_push import Event
from flask_push import Publisher
from flask_push import Push
from flask_push.brokers import Retention
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing import captured
from flask_push.testing import read_events


@pytest.fixture
def publisher(url: str) -> cabc.Iterator[Publisher]:
    with contextlib.closing(Publisher(url)) as publisher:
        yield publisher


def test_a_test_sees_what_is_published_and_its_streams_get_it(
    push: Push, client: FlaskClient
) -> None:
    push.publish("a", "before")
    with client.get("/stream") as response, captured(push) as events:
        id = push.publish("a", {"n": 1}, type="said")
        assert [(e.channel, e.type, e.json, e.id) for e in events] == [
            ("a", "said", {"n": 1}, id)
        ]
        push.publish("elsewhere", "2")
        push.publish_many([Event("a", "3"), Event("b", 4, item="x"), Event("b", "5")])
        push.set("b", "y", {"n": 6})
        push.unset("b", "x")
        received = read_events(response, 4)
    push.publish("a", "after")
    assert [(e.channel, e.item, e.type, e.data) for e in events] == [
        ("a", "", "said", '{"n": 1}'),
        ("elsewhere", "", "message", "2"),
        ("a", "", "message", "3"),
        ("b", "x", "message", "4"),
        ("b", "", "message", "5"),
        ("b", "y", "message", '{"n": 6}'),
        ("b", "x", "push:unset", events[-1].data),
    ]
    about = {(e.id, e.channel, e.item, e.type, e.data) for e in events}
    # The first value of x is never sent if the hub sees it unset already.
    assert {(e.id, e.channel, e.item, e.type, e.data) for e in received} <= about


def test_only_what_is_stored_anew_is_captured(publisher: Publisher) -> None:
    publisher.publish("a", "1", key="k")
    publisher.set("a", "x", 1, version=5, ttl=60)
    with captured(publisher) as events:
        publisher.publish("a", "again", key="k")
        publisher.publish_many([Event("a", "2", key="j"), Event("a", "2", key="j")])
        publisher.set("a", "x", 2, version=5)
        publisher.set("a", "x", 1, version=5, ttl=60)
        publisher.unset("a", "absent")
        with pytest.raises(ValueError):
            publisher.publish("a", "bad", type="push:mine")
        publisher.publish("a", "typing", store=False)
        publisher.set("a", "x", 3, version=6)
    assert [e.data for e in events] == ["2", "typing", "3"]


def test_an_item_whose_time_is_over_is_not_captured_as_an_unset() -> None:
    """When a channel is full, its items that are due are unset first."""
    publisher = Publisher(MemoryBroker(Retention(items=1)))
    publisher.set("a", "old", 1, ttl=0.01)
    until(publisher._keeper().due)
    with captured(publisher) as events:
        publisher.set("a", "new", 2)
    assert [(e.item, e.data) for e in events] == [("new", "2")]


def test_events_are_captured_in_the_order_of_the_store_from_all_threads(
    publisher: Publisher,
) -> None:
    def publish(name: str) -> None:
        for n in range(50):
            publisher.publish(name, str(n))
            publisher.set("items", name, n)

    threads = [threading.Thread(target=publish, args=(name,)) for name in "abcd"]
    with captured(publisher) as events:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(events) == 400
    ids = [e.id.partition(".")[0] for e in events]
    assert ids == sorted(set(ids))


def test_blocks_that_capture_are_independent(publisher: Publisher) -> None:
    first, second = captured(publisher), captured(publisher)
    one, two = first.__enter__(), second.__enter__()
    publisher.publish("a", "1")
    assert one == two
    first.__exit__(None, None, None)
    publisher.publish("a", "2")
    second.__exit__(None, None, None)
    publisher.publish("a", "3")
    assert [e.data for e in one] == ["1"]
    assert [e.data for e in two] == ["1", "2"]


def test_nothing_is_left_of_a_block_that_captured(publisher: Publisher) -> None:
    broker: t.Any = publisher._broker
    with contextlib.suppress(ZeroDivisionError), captured(publisher):
        publisher.set("a", "x", 1)
        with publisher.run("r") as run:
            run.write("Hello")
        1 / 0  # noqa: B018
    assert publisher._broker is broker and publisher._keeper() is broker
    assert publisher._runs()[0].store.broker is broker


def test_only_this_push_is_captured() -> None:
    push, other = Push(), Push()
    # Apps of their own, each with its store.
    apps = make_app(push, "one"), make_app(push, "two"), make_app(other, "three")
    with apps[0].app_context():
        block = captured(push)
        events = block.__enter__()
        push.publish("a", "1")
    with apps[1].app_context():
        push.publish("a", "2")
    other.publish("a", "3")
    block.__exit__(None, None, None)
    assert [e.data for e in events] == ["1"]


def test_what_is_sent_later_is_captured_when_it_is_sent(push: Push, app: Flask) -> None:
    held = push.held()
    with captured(push) as events:
        held.publish("a", "1")
        held.set("a", "x", 2)
        assert not events
        held.send()
    assert [(e.item, e.json) for e in events] == [("", 1), ("x", 2)]


def test_an_event_that_unsets_is_captured_as_streams_get_it(
    push: Push, client: FlaskClient
) -> None:
    push.set("a", "x", 1)
    with client.get("/stream") as response:
        read_events(response, 1)
        with captured(push) as events:
            push.unset("a", "x")
        (received,) = read_events(response, 1)
    (event,) = events
    assert (event.id, event.data) == (received.id, received.data)
    assert json.loads(event.data) == {"channel": "a", "item": "x"}


def test_only_a_push_can_be_captured(app: Flask) -> None:
    with pytest.raises(TypeError, match="takes a Push or a Publisher, not <Flask 'app'>"):
        captured(app).__enter__()  # type: ignore[arg-type]
