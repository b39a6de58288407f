"""A hub that can't be certain who was disconnected, and one that takes over."""

from __future__ import annotations

import typing as t

import pytest
from support import hubs
from support.disconnects import is_ended
from support.disconnects import is_sent_back
from support.disconnects import reasons
from support.disconnects import run as run
from support.disconnects import run_with
from support.disconnects import Scene
from support.each_store import url as url
from support.failing import Store
from support.hubs import Run

from flask_push._delivery.options import Options
from flask_push._event import Entry
from flask_push.brokers import KeepsOwnLogs
from flask_push.brokers import OwnPage
from flask_push.testing._sink import until

first = hubs.first


# A hub that may have missed a disconnect.


def test_a_new_epoch_sends_all_streams_back() -> None:
    broker = Store()

    async def test(scene: Scene) -> None:
        readers = [await scene.user(name) for name in ("ann", None)]
        await readers[0].until(lambda: readers[0].events)
        old = scene.seen
        broker.begin_again()
        for reader in readers:
            await is_ended(reader)
            assert is_sent_back(reader) and not reader.gaps
        assert scene.noted[-1].epoch == broker.read([]).epoch
        # They hear of the gap when they return; not if their request is an old one.
        late = scene.adopt("a", session="", seen=old)
        await is_ended(late)
        again = await scene.user("ann", position=readers[0].last_id)
        await again.receives_a_gap()
        assert scene.disconnects() == (0, 3)

    run_with(test, broker)


def test_without_disconnects_a_new_epoch_is_a_gap_and_no_stream_is_checked() -> None:
    broker = Store()

    async def test(scene: Scene) -> None:
        reader = await scene.open("a", user="ann", session="", seen="unknown")
        scene.disconnect("ann")
        broker.begin_again()
        await reader.receives_a_gap()
        assert not scene.noted and not reader.ended
        # Now it is turned on: its streams may have been disconnected before.
        scene.hub.options = Options(disconnect=True)
        await is_ended(reader)
        assert scene.noted and scene.disconnects() == (0, 1)

    run_with(test, broker, disconnect=False)


def test_a_disconnect_that_can_not_be_read_sends_all_streams_back(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(scene: Scene) -> None:
        reader = await scene.user("ann")
        old = scene.seen
        t.cast(KeepsOwnLogs, scene.broker).append("disconnect", b"?", 3600)
        await is_ended(reader)
        assert is_sent_back(reader)
        assert "Sent all 1 streams back to their views, because disconnect" in caplog.text
        late = scene.adopt("a", session="", seen=old)
        await is_ended(late)
        assert await scene.user("ann")

    run(test)


def test_a_hub_that_missed_disconnects_sends_all_streams_back(run: Run) -> None:
    async def test(scene: Scene) -> None:
        reader = await scene.user("ann")
        position = scene.hub.disconnects.position
        hole = position.number + 10
        scene.hub.own("disconnect", OwnPage(position.epoch, hole, hole + 1, []))
        await is_ended(reader)
        assert is_sent_back(reader)

    run(test)


# Another hub takes over.


def test_a_successor_applies_what_came_meanwhile(run: Run) -> None:
    async def test(scene: Scene) -> None:
        readers = [await scene.user(name, session="s") for name in ("ann", "bob")]
        ann, bob = readers
        frozen = scene.hub.freeze()
        scene.disconnect("ann", reason="why")
        scene.say("a", "1")
        scene.hub = scene.make_hub(frozen)
        await is_ended(ann)
        await bob.receives("1")
        assert reasons(ann) == ["why"] and not ann.data

    run(test)


def test_a_successor_lets_no_stream_begin_before_it_knows_the_disconnects(
    run: Run,
) -> None:
    async def test(scene: Scene) -> None:
        bob = await scene.user("bob")
        late = scene.seen
        frozen = scene.hub.freeze()
        scene.disconnect("ann")
        scene.hub = scene.make_hub(frozen)
        waits = scene.adopt("a", user="ann", session="", seen=late)
        stays = scene.adopt("a", user="bob", session="", seen=late)
        assert not any(c.begun for c in scene.connections[1:])
        assert scene.hub.disconnects.refuses(scene.connections[1].stream)
        await is_ended(waits)
        assert is_sent_back(waits)
        await stays.until(lambda: stays.events)
        scene.say("a", "1")
        for reader in bob, stays:
            await reader.receives("1")

    run(test)


def test_a_successor_ends_what_an_older_hub_did_not(run: Run) -> None:
    async def test(scene: Scene) -> None:
        options = scene.hub.options
        scene.hub.options = Options(disconnect=False)
        readers = [
            await scene.open("a", user=name, session=session)
            for name, session in (("ann", None), ("ann", ""), ("bob", None))
        ]
        scene.disconnect("ann", reason="why")
        scene.say("a", "0")
        for reader in readers:
            await reader.receives("0")
        frozen = scene.hub.freeze()
        scene.options = options
        scene.hub = scene.make_hub(frozen)
        await is_ended(readers[0])
        scene.say("a", "1")
        for reader in readers[1:]:
            await reader.receives("0", "1")

    run(test)


def test_a_successor_in_another_epoch_sends_all_streams_back() -> None:
    broker = Store()

    async def test(scene: Scene) -> None:
        reader = await scene.user("ann")
        frozen = scene.hub.freeze()
        broker.begin_again()
        scene.hub = scene.make_hub(frozen)
        await is_ended(reader)
        assert is_sent_back(reader)

    run_with(test, broker)


def test_a_hub_that_failed_knows_the_disconnects_again(run: Run) -> None:
    async def test(scene: Scene) -> None:
        reader = await scene.user("ann")
        old = scene.seen
        number = scene.disconnect("ann").number
        await until(lambda: scene.noted[-1].number >= number)
        await is_ended(reader)
        bad = Entry(t.cast(int, "nonsense"), 0, "a", "message", b"")
        scene.hub._feed.deliver(old[:5], [bad], None)
        late = scene.adopt("a", user="ann", session="", seen=old)
        await is_ended(late)
        assert is_sent_back(late) or scene.hub.failures
        assert await scene.user("ann")

    run(test)
