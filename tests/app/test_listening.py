"""``Push.listen`` and ``Publisher.listen``: their arguments, stores, and hubs."""

from __future__ import annotations

import threading
import typing as t

import pytest
from flask import Flask
from support.apps import app as app
from support.apps import hub_of
from support.apps import make_app
from support.apps import push as push
from support.each_store import shared_url as shared_url
from support.listeners import data_of
from support.listeners import take
from support.listeners import words
from support.plain_broker import Plain
from support.servers import until

import flask_push
from flask_push import Position
from flask_push import Publisher
from flask_push import Push
from flask_push._delivery.stream import Stream
from flask_push._hub.thread import ThreadDoor
from flask_push._ipc.client import Client
from flask_push.brokers import open_broker


def threads() -> int:
    return [thread.name for thread in threading.enumerate()].count("flask-push")


def test_an_app_listens_to_what_it_publishes(push: Push, app: Flask) -> None:
    with push.listen("a", "b", timeout=20) as listener:
        assert isinstance(listener, flask_push.Listener)
        id = push.publish("b", {"n": 1})
        push.publish("a", "2")
        found = [e for e in take(listener, 4) if not e.type.startswith("push:")]
        assert [(e.channel, e.data) for e in found] == [("b", '{"n": 1}'), ("a", "2")]
        assert found[0].id == id and found[0].json == {"n": 1}
        push.set("a", "x", "1")
        assert words(next(listener)) == "x=1"


def test_a_listener_and_a_browser_share_the_hub_of_a_testing_app(
    push: Push, app: Flask
) -> None:
    with push.listen("a", timeout=20) as listener, app.test_client().get("/stream"):
        take(listener, 2)
        until(lambda: "2 connections" in repr(hub_of(push)))


def test_disconnect_does_not_end_it(push: Push, app: Flask) -> None:
    with push.listen("a", timeout=20) as listener:
        take(listener, 2)
        push.disconnect(channel="a")
        push.publish("a", "x")
        assert data_of(listener, 1) == ["x"]
        assert "1 connections" in repr(hub_of(push))


def test_its_stream_has_the_newest_position_for_a_hub_of_an_older_version(
    push: Push, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams: list[Stream] = []
    adopt = ThreadDoor.adopt

    def note(self: ThreadDoor, stream: Stream, client: Client) -> None:
        streams.append(stream)
        adopt(self, stream, client)

    monkeypatch.setattr(ThreadDoor, "adopt", note)
    position = push.disconnect(channel="a")
    with push.listen("a", timeout=20) as listener:
        take(listener, 2)
    assert Position.parse(streams[0].seen) >= Position.parse(position)


def test_it_is_not_refused_beside_as_many_streams_as_there_may_be(push: Push) -> None:
    app = make_app(push, PUSH_MAX_STREAMS=1, PUSH_MAX_CHANNELS=2)
    with app.test_client().get("/stream"), push.listen("a", "b", "c", timeout=20) as found:
        push.publish("c", "x")
        assert data_of(found, 1) == ["x"]
    hub_of(push).stop()


def test_a_publisher_listens_with_a_thread_of_its_own(url: str) -> None:
    publisher, other = Publisher(url), Publisher(url)
    other.publish("a", "before")
    with publisher.listen("a", timeout=20) as one, publisher.listen("b", timeout=20) as two:
        other.publish("a", "x")
        other.publish("b", "y")
        assert (data_of(one, 1), data_of(two, 1)) == (["x"], ["y"])
        assert threads() == 1
        position = one.position
        other.publish("a", "z")
    until(lambda: threads() == 0)
    with other.listen("a", since=position, timeout=20) as again:
        assert data_of(again, 1) == ["z"]
    publisher.close()
    other.close()


def test_a_publisher_listens_to_its_own_memory() -> None:
    for publisher in Publisher("memory:"), Publisher(open_broker("memory:")):
        with publisher.listen("a", timeout=20) as listener:
            publisher.publish("a", "x")
            assert data_of(listener, 1) == ["x"]


def test_a_broker_that_keeps_no_items_lets_no_listener_watch() -> None:
    publisher = Publisher(Plain())
    with pytest.raises(RuntimeError, match="Plain keeps no items"):
        publisher.listen("a", watch=["a"])
    with publisher.listen("a") as listener:
        publisher.publish("a", "hello")
        assert next(e.data for e in listener if e.type == "message") == "hello"


def test_a_large_event_that_a_publisher_takes_arrives() -> None:
    publisher = Publisher("memory:", max_event_bytes=2**25)
    # More than a client of HTTP accepts.
    large = "x" * (2**24 + 1)
    with publisher.listen("a", timeout=20) as listener:
        publisher.publish("a", large)
        assert data_of(listener, 1) == [large]


def test_many_threads_of_a_publisher_share_one_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ThreadDoor] = []
    init = ThreadDoor.__init__

    def count(self: ThreadDoor, *args: t.Any, **more: t.Any) -> None:
        made.append(self)
        init(self, *args, **more)

    monkeypatch.setattr(ThreadDoor, "__init__", count)
    publisher = Publisher("memory:")
    listeners = [publisher.listen("a", timeout=20) for _ in range(8)]
    readers = [threading.Thread(target=data_of, args=(each, 3)) for each in listeners]
    for reader in readers:
        reader.start()
    for n in range(3):
        publisher.publish("a", str(n))
    for reader in readers:
        reader.join(30)
    assert len(made) == 1
    for listener in listeners:
        listener.close()


@pytest.mark.parametrize(
    "channels, options, error, text",
    [
        ((), {}, ValueError, "at least one channel"),
        ((5,), {}, TypeError, r"listen\(\*channels\)"),
        ((["a"],), {}, TypeError, r"listen\(\*channels\)"),
        (("x" * 99,), {}, ValueError, "Use a shorter name"),
        ((), {"watch": "room:1"}, TypeError, r"watch=\['chat'\], not 'room:1'"),
        ((), {"watch": [5]}, TypeError, "watch is a list of channels, and 5"),
        (("a",), {"watch": ["x" * 99]}, ValueError, "watch: .*Use a shorter name"),
        (("a",), {"since": None}, TypeError, "since is a position"),
        (("a",), {"since": "yesterday"}, ValueError, "neither a position nor the id"),
        (("a",), {"timeout": "1"}, TypeError, "timeout is a number of seconds"),
        (("a",), {"timeout": True}, TypeError, "timeout is a number of seconds"),
        (("a",), {"timeout": 0}, ValueError, "None waits without end"),
        (("a",), {"timeout": float("inf")}, ValueError, "None waits without end"),
    ],
)
def test_an_argument_that_can_not_work_is_refused(
    channels: tuple[t.Any, ...],
    options: dict[str, t.Any],
    error: type[Exception],
    text: str,
) -> None:
    with pytest.raises(error, match=text):
        Publisher("memory:").listen(*channels, **options)
