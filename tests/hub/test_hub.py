"""The hub, with socket pairs for browsers and a store in memory."""

from __future__ import annotations

import json
import re
import zlib

from support.hubs import first as first
from support.hubs import HubScene
from support.hubs import run


def test_the_head_and_the_first_bytes_are_written_at_once() -> None:
    async def test(scene: HubScene) -> None:
        browser = scene.adopt("a", head=b"HEAD\r\n\r\n", gzip=False)
        browser.read()
        assert re.fullmatch(rb"HEAD\r\n\r\n:\nretry: \d+\n", browser.body)
        assert repr(scene.hub) == "<Hub [1 channels, 1 connections, 1 behind]>"
        await browser.until(lambda: browser.events)
        assert repr(scene.hub) == "<Hub [1 channels, 1 connections, 0 behind]>"

    run(test)


def test_a_head_is_not_compressed_and_what_follows_is() -> None:
    async def test(scene: HubScene) -> None:
        browser = scene.adopt("a", head=b"HEAD\r\n\r\n", gzip=True)
        browser.gzip = False
        browser.read()
        head, _, body = browser.body.partition(b"\r\n\r\n")
        assert head == b"HEAD"
        first = zlib.decompressobj(wbits=31).decompress(body)
        assert re.match(rb":\nretry: \d+\n", first)

    run(test)


def test_the_first_event_of_a_reader_may_be_one_that_is_not_stored() -> None:
    async def test(scene: HubScene) -> None:
        browser = await scene.open("a")
        scene.say("a", "typing", store=False)
        await browser.receives("typing")

    run(test)


def test_a_visible_stream_sends_heartbeats_and_retry_as_events() -> None:
    async def test(scene: HubScene) -> None:
        first = await scene.open("a", visible=True, lifetime=1.5)
        await first.until(lambda: len(first.events) >= 4)
        said = [event.type for event in first.events[:4]]
        assert said == ["push:retry", "push:open", "push:heartbeat", "push:heartbeat"]
        # And the position stays where it is.
        assert [event.id != "" for event in first.events[:2]] == [False, True]
        assert first.body.count(b"\nid: ") == 1
        assert first.events[2].data == '{"seconds":0.2}'
        (retry,) = re.findall(rb"\nretry: (\d+)\n", first.body)
        assert json.loads(first.events[0].data) == {"milliseconds": int(retry)}
        await first.until(lambda: first.events[-1].type == "push:retry")
        assert first.body.endswith(b"}\n\n")

    run(test, heartbeat=0.2)
