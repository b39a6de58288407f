"""Streams of a hub that follow a run, from its first event to its end."""

from __future__ import annotations

import typing as t

import pytest
from support.each_store import url as url
from support.followed_runs import FollowScene
from support.followed_runs import PLAIN
from support.followed_runs import received
from support.followed_runs import run as run
from support.followed_runs import run_with
from support.hubs import Run

from flask_push._delivery.stream_presence import StreamPresence
from flask_push.brokers import Broker
from flask_push.brokers.memory import MemoryBroker

#: The last words of a run that is done.
DONE = {"ai-sdk": b"data: [DONE]\n\n", "ag-ui": b"", "openai": b"data: [DONE]\n\n"}


def run_in_memory(test: t.Any, **options: t.Any) -> None:
    run_with(test, t.cast(Broker, MemoryBroker()), **options)


def body(*texts: str) -> bytes:
    return "".join(f"data: {text}\n\n" for text in texts).encode()


@pytest.mark.parametrize("wire", PLAIN)
def test_a_plain_wire_has_the_events_of_the_run_and_ends_with_its_last_chunk(
    run: Run, wire: str
) -> None:
    async def test(scene: FollowScene) -> None:
        one = scene.begin()
        early = scene.follow(one, wire)
        await early.until(lambda: early.body == b":\n")
        one.write("1", "2")
        one.write("3")
        await early.until(lambda: received(early) == body("1", "2", "3"))
        middle = scene.follow(one, wire)
        await middle.until(lambda: received(middle) == body("1", "2", "3"))
        one.write("4")
        one.end()
        for reader in early, middle, scene.follow(one, wire):
            await reader.ends()
            assert reader.is_whole
            assert received(reader) == body("1", "2", "3", "4") + DONE[wire]
        assert not scene.connections

    run(test)


def test_the_wire_push_has_ids_and_says_how_the_run_has_ended(run: Run) -> None:
    async def test(scene: FollowScene) -> None:
        one = scene.begin()
        early = scene.follow(one)
        await early.until(lambda: early.statuses == ["queued", "running"])
        assert early.types[0] == "push:open"
        one.write("1", type="token")
        one.write("2", "3")
        await early.receives("1", "2", "3")
        one.end("failed", "No model")
        # Its view has decided where it begins.
        late = scene.follow(one, position=early.last_id, last=1)
        for reader in early, late:
            await reader.ends()
            assert reader.data == ["1", "2", "3"]
            assert reader.statuses == ["queued", "running", "failed"]
            assert reader.events[-1].json["text"] == "No model"
            assert reader.types[3:] == ["token", "message", "message", "push:run"]

    run(test)


def test_a_follower_that_has_some_of_it_gets_the_rest(run: Run) -> None:
    async def test(scene: FollowScene) -> None:
        one = scene.begin()
        one.write("1")
        here = one.write("2")
        row = one.write("3", "4", "5")
        live = scene.follow(one, after=here.number)
        await live.receives("3", "4", "5")
        # Its position is in the middle of a row.
        other = scene.follow(one, after=row.number - 1, skip=2)
        await other.receives("5")
        one.write("6")
        one.end()
        await live.ends()
        await other.ends()
        assert live.data == ["3", "4", "5", "6"] and other.data == ["5", "6"]

    run(test)


def test_the_events_of_other_runs_and_of_the_channel_are_not_sent(run: Run) -> None:
    async def test(scene: FollowScene) -> None:
        first = scene.begin()
        first.write("old")
        first.end()
        second = scene.begin(before=first.record)
        here, old = scene.follow(second), scene.follow(first)
        plain = await scene.open("a")
        other = scene.begin("b")
        await here.until(lambda: here.statuses)
        other.write("of another channel")
        scene.say("a", "of the channel")
        second.write("new")
        second.end()
        await here.ends()
        await old.ends()
        assert (here.data, old.data) == (["new"], ["old"])
        await plain.receives("of the channel")

    run(test)


def test_a_run_is_followed_beside_streams_that_watch_who_is_present(run: Run) -> None:
    async def test(scene: FollowScene) -> None:
        one = scene.begin()
        watches = scene.adopt("a", gzip=False, presence=StreamPresence(watch=("a",)))
        follows = scene.follow(one, "openai")
        await watches.until(lambda: watches.events)
        one.write("1")
        await follows.until(lambda: received(follows) == body("1"))
        scene.say("a", "2")
        await watches.receives("2")

    run(test)
