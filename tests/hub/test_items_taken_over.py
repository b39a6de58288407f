"""A hub takes over streams in the middle of their items. The other may be an older one."""

from __future__ import annotations

import json
import typing as t

import pytest
from support.each_store import url as url
from support.handovers import sent
from support.hubs import Run
from support.item_hubs import ItemScene
from support.item_hubs import run as run
from support.item_hubs import SocketPage
from support.item_hubs import truth
from support.sockets import noise

from flask_push._delivery.snapshot import ReaderState
from flask_push.testing._sink import until

MANY = {f"i{n}": noise(1000) for n in range(1000)}


def replace(scene: ItemScene, older: bool = False) -> None:
    scene.hub = scene.make_hub(sent(scene.hub.freeze(), older))


async def stuck(scene: ItemScene, **how: t.Any) -> SocketPage:
    """A page whose socket is full in the middle of its items."""
    page = scene.page("a", **how)
    await scene.is_told(page)
    connection = scene.connections[-1]
    await until(lambda: connection.blocked)
    assert connection.items is not None and connection.items.sending
    return page


@pytest.mark.parametrize("gzip", [False, True], ids=["plain", "gzip"])
def test_a_page_in_the_middle_of_its_items_continues_there(run: Run, gzip: bool) -> None:
    async def test(scene: ItemScene) -> None:
        scene.set("a", **MANY)
        page = await stuck(scene, gzip=gzip)
        place = scene.connections[-1].items
        assert place is not None and place.position
        replace(scene)
        assert scene.connections[-1].items is not None
        scene.set("a", i0="new", i999="new")
        scene.unset("a", "i500")
        await scene.is_whole(page)
        await scene.becomes(page, truth(scene.store, "a"))
        assert (page.told, page.whole) == (1, 1)

    run(test)


def test_live_pages_get_only_what_changes(run: Run) -> None:
    async def test(scene: ItemScene) -> None:
        scene.set("a", x="1", y="1")
        scene.unset("a", "y")
        page = scene.page("a")
        none = scene.page("b", items=True)
        for one in page, none:
            await scene.is_whole(one)
        replace(scene)
        scene.set("a", x="2", y="2")
        scene.set("b", z="1")
        await scene.has(page, x="2", y="2")
        await scene.has(none, z="1")
        for one in page, none:
            assert (one.told, one.whole) == (1, 1)

    run(test)


def test_an_older_hub_continues_after_the_items(run: Run) -> None:
    async def test(scene: ItemScene) -> None:
        scene.set("a", **MANY)
        page = await stuck(scene, gzip=False)
        scene.say("a", "1")
        await until(lambda: scene.hub.whole)
        state = scene.hub.freeze()
        (reader, _), *_ = state.readers
        assert reader.items is not None and reader.items[0] < reader.cursor
        older = ReaderState.from_json(json.loads(json.dumps(reader.to_json()))[:-2])
        # It has the rest of a frame, and continues at the position in the frame's id.
        assert older.items is None
        assert f"{reader.epoch}-" in page.reader.last_id
        scene.hub = scene.make_hub(sent(state, older=True))
        await scene.gets_events(page)
        # The hub knows items again, and does not know which its streams have.
        scene.set("a", i0="new")
        await scene.is_whole(page)
        await scene.becomes(page, truth(scene.store, "a"))
        assert page.told == 2

    run(test)


def test_streams_of_an_older_hub_get_all_items_with_the_next_event(run: Run) -> None:
    async def test(scene: ItemScene) -> None:
        scene.set("a", x="1")
        page, other = scene.page("a"), await scene.open("b")
        await scene.is_whole(page)
        replace(scene, older=True)
        scene.set("a", x="2")
        await scene.is_whole(page, 2)
        await scene.has(page, x="2")
        scene.say("b", "1")
        await other.receives("1")
        assert [event.type for event in other.events] == ["push:open", "message"]

    run(test)
