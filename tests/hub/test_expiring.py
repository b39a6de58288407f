"""Streams that were asked for by a signed address: the hub ends them when it expires."""

from __future__ import annotations

import random
import time
import typing as t

import pytest
from support.disconnects import is_ended
from support.disconnects import run as run
from support.disconnects import Scene
from support.each_store import url as url
from support.handovers import sent
from support.hubs import first as first
from support.hubs import HubScene
from support.hubs import Run
from support.hubs import run as run_in_memory
from support.reader import SocketReader

from flask_push._delivery.stream import Stream
from flask_push._hub import streams


def types(reader: SocketReader) -> list[str]:
    return [event.type for event in reader.events]


def test_a_stream_ends_when_its_address_expires() -> None:
    async def test(scene: HubScene) -> None:
        reader = await scene.open("a", expires=time.time() + 0.3)
        other = await scene.open("a")
        scene.say("a", "before")
        await reader.receives("before")
        position = reader.last_id
        await reader.ends()
        scene.say("a", "after")
        await other.receives("before", "after")
        assert types(reader) == ["push:open", "message", "push:expired"]
        assert reader.events[-1].data == "{}"
        assert reader.last_id == position, "it resumes there by another address"
        assert b"\nretry: " in reader.body.rpartition(b"push:expired")[2]

    run_in_memory(test, heartbeat=0.2)


def test_a_stream_whose_address_expired_on_its_way_gets_no_event() -> None:
    async def test(scene: HubScene) -> None:
        (start,) = scene.say("a", "1")
        scene.say("a", "2")
        reader = scene.adopt("a", expires=time.time() - 0.1, position=start)
        await reader.ends()
        assert types(reader) == ["push:expired"]
        assert scene.hub.status()["streams"] == 0
        assert scene.hub._log.channels == {}, "nothing of it is left"

    run_in_memory(test)


def test_a_shorter_lifetime_ends_a_stream_without_a_word_about_its_address() -> None:
    async def test(scene: HubScene) -> None:
        reader = await scene.open("a", expires=time.time() + 60, lifetime=0.2)
        await reader.ends()
        assert types(reader) == ["push:open"]

    run_in_memory(test, heartbeat=0.2)


@pytest.mark.parametrize("share", [0.9, 1.1])
def test_a_lifetime_that_is_as_long_as_the_address_is_valid_does_not_vary(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hubs of older versions get the time as a lifetime."""
    monkeypatch.setattr(random, "uniform", lambda least, most: share)
    stream = Stream(("a",), "c", expires=time.time() + 100, lifetime=100)
    assert 99 < streams._seconds_of(stream) <= 100
    longer = stream._replace(lifetime=50)
    assert streams._seconds_of(longer) == 50 * share
    assert streams._seconds_of(stream._replace(lifetime=95)) <= 100, "nor is it longer"


def test_items_that_are_still_sent_do_not_make_an_address_last_longer() -> None:
    async def test(scene: HubScene) -> None:
        reader = await scene.open("a", expires=time.time() + 0.3, gzip=False)
        (connection,) = scene.connections
        # As if the page had not got all of them.
        connection.items = t.cast(t.Any, object())
        await reader.ends()
        assert types(reader)[-1] == "push:expired"

    run_in_memory(test, heartbeat=0.2)


def test_a_hub_that_takes_over_ends_it_at_the_same_time() -> None:
    async def test(scene: HubScene) -> None:
        ends = time.time() + 0.5
        reader = await scene.open("a", expires=ends, user="ann", gzip=False)
        scene.hub = scene.make_hub(sent(scene.hub.freeze()))
        (connection,) = scene.connections
        assert connection.stream.expires == ends
        scene.say("a", "1")
        await reader.ends()
        assert time.time() >= ends
        assert types(reader) == ["push:open", "message", "push:expired"]

    run_in_memory(test, heartbeat=0.2)


def test_an_address_that_was_disconnected_since_it_was_signed_does_not_begin(
    run: Run,
) -> None:
    async def test(scene: Scene) -> None:
        await scene.known()
        old = scene.seen
        scene.disconnect("ann")
        for seen in old, "other-1", "unknown":
            expires = time.time() + 60
            reader = scene.adopt("a", user="ann", session="", seen=seen, expires=expires)
            await is_ended(reader)
            assert types(reader) == ["push:expired"]
        # A stream of a view only asks again.
        reader = scene.adopt("a", user="ann", session="", seen=old)
        await is_ended(reader)
        assert types(reader) == []

    run(test)


def test_one_that_has_begun_is_disconnected_as_any_other(run: Run) -> None:
    async def test(scene: Scene) -> None:
        reader = await scene.user("ann", expires=time.time() + 60)
        scene.disconnect("ann", reason="logged out")
        await is_ended(reader)
        assert types(reader) == ["push:open", "push:disconnect"]

    run(test)
