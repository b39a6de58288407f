"""Events that the feed has missed are read from the store."""

from __future__ import annotations

import collections.abc as cabc

from support.failing import Store
from support.hubs import first as first
from support.hubs import HubScene
from support.hubs import run

from flask_push._event import Page


class Behind(Store):
    """Its pages end where the hole begins, as often as it is asked to."""

    times = 0
    asked = 0

    def read(
        self,
        channels: cabc.Collection[str],
        *,
        after: int | None = None,
        last: int = 0,
        limit: int = 0,
        items: bool = False,
    ) -> Page:
        page = super().read(channels, after=after, last=last, items=items)
        if after is None or last:
            return page
        self.asked += 1
        if not self.times:
            return page
        self.times -= 1
        return page._replace(reach=after, entries=[])


def test_a_hole_is_filled_with_what_the_store_has() -> None:
    async def test(scene: HubScene) -> None:
        reader = await scene.open("a")
        scene.say("a", "1", "lost", "2", "3")
        await reader.receives("1", "lost", "2", "3")
        assert not scene.hub._log.hole

    run(test, broker=Store())


def test_a_page_that_fills_nothing_is_read_again() -> None:
    broker = Behind()
    broker.times = 2

    async def test(scene: HubScene) -> None:
        reader = await scene.open("a")
        scene.say("a", "lost", "1")
        await reader.receives("lost", "1")
        assert broker.asked == 3
        scene.say("a", "lost", "2")
        await reader.receives("lost", "1", "lost", "2")

    run(test, broker=broker)
