"""A frame is written to streams of a hub in a thread, after all that was published."""

from __future__ import annotations

import threading
import time

import pytest
from flask.testing import FlaskClient
from support.apps import app as app
from support.apps import client as client
from support.apps import push as push

from flask_push import Push
from flask_push import sse
from flask_push._hub.connection import Connection
from flask_push._hub.loop import HubLoop
from flask_push.testing import read_events
from flask_push.testing._written import by_channel
from flask_push.testing._written import by_id
from flask_push.testing._written import doors
from flask_push.testing._written import write

FRAME = sse.encode("written", type="test")


def send(hub: HubLoop, stream: Connection) -> None:
    stream.send_first(FRAME)


def test_a_frame_comes_after_all_that_was_published_and_before_what_follows(
    push: Push, client: FlaskClient
) -> None:
    with client.get("/stream") as response:
        (opened,) = read_events(response, 1, own=True)
        find = by_id(opened.json["connection"])
        for n in range(100):
            push.publish("a", f"before {n}")
        (door,) = doors(find)
        assert write(door, find, send, time.monotonic() + 5)
        push.publish("a", "after")
        events = [event.data for event in read_events(response, 102)]
        assert events == [*(f"before {n}" for n in range(100)), "written", "after"]


def test_streams_are_found_by_id_and_by_channel(push: Push, client: FlaskClient) -> None:
    with client.get("/stream") as one, client.get("/stream") as two:
        (first,) = read_events(one, 1, own=True)
        read_events(two, 1, own=True)
        (door,) = doors(by_channel("a"))
        hub = door._hub
        assert hub is not None
        assert len(by_channel("a")(hub)) == len(by_channel("b")(hub)) == 2
        assert len(by_id(first.json["connection"])(hub)) == 1
        assert doors(by_id("another")) == doors(by_channel("elsewhere")) == []


def test_a_hub_that_does_not_get_so_far_writes_nothing(
    push: Push, client: FlaskClient
) -> None:
    with client.get("/stream") as response:
        read_events(response, 1, own=True)
        (door,) = doors(by_channel("a"))
        goes_on = threading.Event()
        assert door._hub is not None
        door._hub.loop.call_soon_threadsafe(goes_on.wait)
        assert not write(door, by_channel("a"), send, time.monotonic() + 0.05)
        goes_on.set()
        push.publish("a", "1")
        assert [event.data for event in read_events(response, 1)] == ["1"]


@pytest.mark.parametrize("count", [1, 3])
def test_a_frame_is_written_to_each_stream_once(
    push: Push, client: FlaskClient, count: int
) -> None:
    responses = [client.get("/stream") for _ in range(count)]
    for response in responses:
        read_events(response, 1, own=True)
    (door,) = doors(by_channel("a"))
    assert write(door, by_channel("a"), send, time.monotonic() + 5)
    push.publish("a", "1")
    for response in responses:
        assert [event.data for event in read_events(response, 2)] == ["written", "1"]
        response.close()
