"""What a stream says when it begins: where its replay ends, and when that was."""

from __future__ import annotations

import json
import time
import typing as t

import pytest
from support import hubs
from support.hubs import HubScene
from support.hubs import run
from support.reader import SocketReader

from flask_push import Position
from flask_push.brokers.base import Retention

first = hubs.first


async def opening(browser: SocketReader) -> dict[str, t.Any]:
    await browser.until(lambda: any(e.type == "push:open" for e in browser.events))
    (opened,) = [event for event in browser.events if event.type == "push:open"]
    said: dict[str, t.Any] = json.loads(opened.data)
    return said


def test_a_visible_stream_has_the_end_of_its_replay_and_its_age() -> None:
    async def test(scene: HubScene) -> None:
        (begin,) = scene.say("a", "1")
        scene.say("a", "2")
        (newest,) = scene.say("b", "3")
        scene.say("c", "of another channel")
        browser = await scene.open("a", "b", visible=True, position=begin)
        said = await opening(browser)
        assert said["end"] == newest.partition(".")[0]
        now = time.time_ns() // 1000
        assert 0 <= said["age"] <= (now - Position.parse(newest).number) / 1000
        await browser.receives("2", "3")

    run(test)


@pytest.mark.parametrize("known", [False, True])
def test_an_empty_replay_ends_where_it_begins(known: bool) -> None:
    async def test(scene: HubScene) -> None:
        if known:
            await scene.open("a")
        (begin,) = scene.say("a", "1")
        scene.say("c", "of another channel")
        browser = await scene.open("a", visible=True, position=begin)
        assert (await opening(browser))["end"] == begin.partition(".")[0]

    run(test)


def test_a_replay_that_the_log_has_ends_there() -> None:
    async def test(scene: HubScene) -> None:
        live = await scene.open("a")
        (begin,), (newest,) = scene.say("a", "1"), scene.say("a", "2")
        await live.receives("1", "2")
        browser = await scene.open("a", visible=True, position=begin)
        assert (await opening(browser))["end"] == newest.partition(".")[0]

    run(test)


def test_a_replay_of_many_pages_ends_at_no_event_before_its_last() -> None:
    async def test(scene: HubScene) -> None:
        (begin,) = scene.say("a", "first")
        for n in range(3000):
            (newest,) = scene.say("a", f"{n}")
        browser = await scene.open("a", visible=True, position=begin)
        end = Position.parse((await opening(browser))["end"])
        assert end >= Position.parse(newest)
        await browser.until(lambda: len(browser.data) == 3000)

    run(test, Retention(count=10_000))


def test_a_replay_whose_events_were_dropped_ends_at_the_gap() -> None:
    async def test(scene: HubScene) -> None:
        (begin,) = scene.say("a", "1")
        for n in range(5):
            scene.say("a", f"{n}")
        browser = await scene.open("a", visible=True, position=begin)
        await browser.until(lambda: browser.gaps and browser.data == ["4"])
        (gap,) = [event for event in browser.events if event.type == "push:gap"]
        assert Position.parse((await opening(browser))["end"]) >= Position.parse(gap.id)

    run(test, Retention(count=1))


def test_only_a_visible_stream_has_the_end_of_its_replay() -> None:
    async def test(scene: HubScene) -> None:
        (begin,) = scene.say("a", "1")
        fields = {"connection", "channels"}
        # What a view says with `last=` is for a page that has nothing yet, and no replay.
        for how in {"position": begin}, {"visible": True}, {"visible": True, "last": 1}:
            browser = await scene.open("a", **how)
            assert (await opening(browser)).keys() == fields

    run(test)
