"""How streams that follow a run end before it does. Clients of plain wires must notice."""

from __future__ import annotations

import typing as t

import pytest
from support.each_store import url as url
from support.failing import Store
from support.followed_runs import data
from support.followed_runs import FollowReader
from support.followed_runs import FollowScene
from support.followed_runs import PLAIN
from support.followed_runs import received
from support.followed_runs import run as run
from support.followed_runs import run_with
from support.hubs import Run

from flask_push import Position
from flask_push._delivery.run_wires import Why
from flask_push._delivery.run_wires import WIRES
from flask_push.brokers import Broker
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._sink import until


def says(reader: FollowReader, wire: str, why: Why) -> bool:
    """Whether its last words are an error, and it is whole with them."""
    return reader.is_whole and received(reader).endswith(WIRES[wire].broken(why))


@pytest.mark.parametrize("wire", PLAIN)
def test_a_client_that_is_disconnected_gets_an_error(run: Run, wire: str) -> None:
    async def test(scene: FollowScene) -> None:
        one = scene.begin()
        await scene.known()
        ann = scene.follow(one, wire, user="ann", session="", seen=scene.seen)
        bob = scene.follow(one, wire, user="bob", session="", seen=scene.seen)
        one.write("1")
        for reader in ann, bob:
            await reader.until(lambda r=reader: r.body.endswith(b"data: 1\n\n"))  # type: ignore[misc]
        scene.disconnect("ann")
        await ann.ends()
        assert says(ann, wire, "disconnected")
        scene.disconnect(channel="a")
        await bob.ends()
        assert says(bob, wire, "disconnected")
        assert scene.disconnects() == (2, 0)

    run(test)


def test_a_page_that_is_disconnected_gets_the_reason(run: Run) -> None:
    async def test(scene: FollowScene) -> None:
        one = scene.begin()
        await scene.known()
        ann = scene.follow(one, user="ann", session="", seen=scene.seen)
        await ann.until(lambda: ann.statuses)
        scene.disconnect("ann", reason="logged out")
        await ann.ends()
        (event,) = [e for e in ann.events if e.type == "push:disconnect"]
        assert event.json["reason"] == "logged out"

    run(test)


def test_a_disconnect_that_comes_before_the_stream_begins_ends_it(run: Run) -> None:
    async def test(scene: FollowScene) -> None:
        one = scene.begin()
        await scene.known()
        seen = scene.seen
        scene.disconnect(session="s")
        late = scene.follow(one, "openai", user="ann", session="s", seen=seen)
        await late.ends()
        assert says(late, "openai", "disconnected")

    run(test)


@pytest.mark.parametrize("wire", PLAIN)
def test_a_plain_wire_has_no_last_chunk_if_the_hub_stops(run: Run, wire: str) -> None:
    async def test(scene: FollowScene) -> None:
        one = scene.begin()
        one.write("1")
        plain, page = scene.follow(one, wire), scene.follow(one)
        await plain.until(lambda: received(plain) == b"data: 1\n\n")
        await page.receives("1")
        scene.hub.stop()
        await plain.ends()
        await page.ends()
        assert not plain.is_whole
        assert received(plain) == b"data: 1\n\n"
        assert page.body.rpartition(b"\n\n")[2].startswith(b"retry: ")

    run(test)


def test_a_lifetime_ends_a_page_and_no_plain_wire(run: Run) -> None:
    async def test(scene: FollowScene) -> None:
        one = scene.begin()
        plain, page = (scene.follow(one, w, lifetime=0.01) for w in ("openai", "push"))
        await page.ends()
        assert b"retry: " in page.body.rpartition(b"\n\n")[2]
        for _ in range(3):
            scene.hub._timer.tick()
        one.write("1")
        one.end()
        await plain.ends()
        assert plain.is_whole and received(plain) == b"data: 1\n\ndata: [DONE]\n\n"

    run(test)


def test_heartbeats_keep_followers_connected(run: Run) -> None:
    async def test(scene: FollowScene) -> None:
        one = scene.begin()
        plain = scene.follow(one, "openai")
        page, visible = scene.follow(one), scene.follow(one, visible=True)
        await plain.until(lambda: plain.body.count(b":\n") >= 3)
        await page.until(lambda: page.body.endswith(b"\n:\n:\n"))
        await visible.until(lambda: "push:heartbeat" in visible.types)
        assert received(plain) == b""
        one.write("1")
        await plain.until(lambda: received(plain) == b"data: 1\n\n")
        one.end()
        await plain.ends()
        assert plain.is_whole

    run(test, heartbeat=0.1)


@pytest.mark.parametrize("wire", ["push", *PLAIN])
def test_a_new_epoch_of_the_store_ends_all(wire: str) -> None:
    broker = Store()

    async def test(scene: FollowScene) -> None:
        one = scene.begin()
        one.write("1")
        live = scene.follow(one, wire)
        await live.until(lambda: data(live) == ["1"])
        broker.begin_again()
        # Its page asks for the run as it is known in the older epoch.
        await until(lambda: not scene.connections)
        late = scene.follow(one, wire)
        for reader in live, late:
            await reader.ends()
            if wire == "push":
                assert reader.types[-1] == "push:gap"
                assert reader.gaps[0]["reason"] == "restarted"
                # With an id of the new epoch, it would not get the run's first events.
                assert reader.last_id[:5] == ("" if reader is late else one.epoch)
            else:
                assert says(reader, wire, "restarted")
        assert data(live)[0] == "1" and "1" not in data(late)

    run_with(test, t.cast(Broker, broker), disconnect=False)


@pytest.mark.parametrize("wire", ["push", *PLAIN])
def test_a_client_is_notified_if_the_beginning_of_its_run_is_forgotten(
    run: Run, wire: str
) -> None:
    async def test(scene: FollowScene) -> None:
        one = scene.begin()
        one.write("1")
        two = one.write("2")
        one.write("3")
        live = scene.follow(one, wire)
        await live.until(lambda: data(live) == ["1", "2", "3"])
        one.forget(two)
        late = scene.follow(one, wire)
        if wire == "push":
            await late.receives("3")
            assert [gap["reason"] for gap in late.gaps] == ["trimmed"]
        else:
            await late.ends()
            assert says(late, wire, "gap") and "3" not in data(late)
        # Those that have it already notice nothing.
        one.write("4")
        one.end()
        await live.ends()
        assert data(live) == ["1", "2", "3", "4"] and not live.gaps
        assert live.is_whole or live.statuses[-1] == "done"

    # The log would keep the beginning.
    run(test, log_bytes=0)


def test_followers_of_a_hub_that_fails_see_that_they_lack_something(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test(scene: FollowScene) -> None:
        one = scene.begin()
        one.write("1")
        plain, page = scene.follow(one, "openai"), scene.follow(one)
        await plain.until(lambda: data(plain) == ["1"])
        await page.receives("1")
        scene.hub._streams.failstop.fail(MemoryError())
        # The hub begins again, and watches what the next streams follow.
        again = scene.follow(one, "openai")
        for reader in plain, page:
            await reader.ends()
        assert not plain.is_whole and received(plain) == b"data: 1\n\n"
        one.write("2")
        position = Position.parse(page.last_id)
        rest = scene.follow(one, after=position.number)
        await again.until(lambda: data(again) == ["1", "2"])
        await rest.receives("2")
        one.end()
        await again.ends()
        await rest.ends()
        assert again.is_whole

    run_with(test, t.cast(Broker, MemoryBroker()))
    assert "The hub failed and ended all 2 streams" in caplog.text


def test_the_status_of_a_hub_counts_the_channels_whose_runs_are_followed(
    run: Run,
) -> None:
    async def test(scene: FollowScene) -> None:
        one, other = scene.begin(), scene.begin("b")
        readers = [scene.follow(one), scene.follow(one, "openai"), scene.follow(other)]
        await until(lambda: scene.hub.status()["behind"] == 0)
        status = scene.hub.status()
        assert (status["streams"], status["followed"], status["channels"]) == (3, 2, 0)
        assert repr(scene.hub) == "<Hub [2 channels, 3 connections, 0 behind]>"
        one.end()
        for reader in readers[:2]:
            await reader.ends()
        assert scene.hub.status()["followed"] == 1

    run(test)
