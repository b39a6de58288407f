"""What a hub sends to idle readers."""

from __future__ import annotations

import json
import re

from support.hubs import first as first
from support.hubs import HubScene
from support.hubs import run

from flask_push.brokers.base import Retention


def test_idle_readers_get_newer_ids() -> None:
    async def test(scene: HubScene) -> None:
        idle = await scene.open("idle")
        seen = {idle.events[0].id}

        def another() -> bool:
            scene.say("busy", "x")
            seen.add(idle.events[-1].id)
            return len(seen) > 3

        await idle.until(another)
        assert {event.type for event in idle.events} == {"push:open"}
        names = {json.loads(event.data)["connection"] for event in idle.events}
        assert names == {"reader 1"}, "the same connection"
        # And so, coming back, it has missed nothing.
        again = await scene.open("idle", position=idle.events[-1].id)
        assert again.gaps == []

    run(test, Retention(age=0.4), heartbeat=0.2)


def test_a_heartbeat_and_the_last_retry_are_compressed_too() -> None:
    async def test(scene: HubScene) -> None:
        browser = scene.adopt("a", gzip=True, lifetime=1)
        await browser.until(lambda: browser.ended)
        assert browser.body.count(b"\n\n:\n") == 1
        assert re.search(rb"\n:\nretry: \d+\n\Z", browser.body)

    run(test, heartbeat=0.2)
