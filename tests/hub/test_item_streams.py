"""Items on streams: a page gets all of them, and then what changes, in every store."""

from __future__ import annotations

import asyncio

import pytest
from support.each_store import url as url
from support.failing import Store
from support.hubs import Run
from support.item_hubs import ItemScene
from support.item_hubs import keep_few_unsets
from support.item_hubs import run as run
from support.item_hubs import run_with
from support.item_hubs import truth
from support.item_hubs import types
from support.sockets import noise

from flask_push import Event
from flask_push import Position
from flask_push._delivery.stream import MAX_ITEMS_SECONDS
from flask_push.brokers import ItemChange
from flask_push.brokers.redis import feed as redis_feed
from flask_push.testing._sink import until


def test_a_page_gets_all_items_and_then_what_changes(run: Run) -> None:
    async def test(scene: ItemScene) -> None:
        scene.set("a", x="1", y="2", z="3")
        scene.unset("a", "z")
        page = scene.page("a")
        await scene.is_whole(page)
        await scene.has(page, x="1", y="2")
        assert types(page.reader) == [
            *("push:open", "push:items", "message", "message", "push:whole")
        ]
        opened, items, *rows, whole = page.reader.events
        assert page.opened == "all" and items.id == opened.id
        here = Position.parse(opened.id)
        assert all(Position.parse(row.id) == here for row in rows)
        assert Position.parse(whole.id).number >= here.number
        scene.set("a", y="4", w="5")
        scene.unset("a", "x")
        scene.say("a", "event")
        await scene.has(page, y="4", w="5")
        await page.reader.until(lambda: page.reader.data[-1] == "event")
        assert page.told == page.whole == 1

    run(test)


def test_a_page_that_asks_for_items_learns_that_there_are_none(run: Run) -> None:
    async def test(scene: ItemScene) -> None:
        page = scene.page("a", items=True)
        await scene.is_whole(page)
        assert types(page.reader) == ["push:open", "push:items", "push:whole"]
        scene.set("a", x="1")
        await scene.has(page, x="1")

    run(test)


def test_a_stream_of_channels_without_items_sees_nothing_of_them(run: Run) -> None:
    async def test(scene: ItemScene) -> None:
        scene.set("b", x="1")
        reader = await scene.open("a")
        (id,) = scene.say("a", "1")
        await reader.receives("1")
        again = scene.adopt("a", position=id)
        scene.say("a", "2")
        await again.receives("2")
        for each in reader, again:
            assert [kind for kind in types(each) if "push:" in kind] == ["push:open"]
            assert b'"items"' not in each.body

    run(test)


def test_a_page_that_holds_all_items_gets_only_what_changed(run: Run) -> None:
    async def test(scene: ItemScene) -> None:
        scene.set("a", x="1", y="2")
        page = scene.page("a")
        await scene.is_whole(page)
        scene.set("a", x="3")
        await scene.has(page, x="3", y="2")
        scene.again(page, "a")
        scene.unset("a", "y")
        await scene.has(page, x="3")
        await page.reader.until(lambda: len(page.reader.events) == 2)
        assert page.opened == "changes" and (page.told, page.whole) == (1, 1)
        # A page of other channels holds others.
        scene.again(page, "a", "b")
        await scene.is_whole(page, 2)
        assert page.opened == "all" and page.told == 2
        await scene.has(page, x="3")

    run(test)


def test_items_and_events_are_merged_by_number(run: Run) -> None:
    async def test(scene: ItemScene) -> None:
        scene.set("a", x="0", y="0")
        page = scene.page("a")
        await scene.is_whole(page)
        scene.store.change(
            [
                Event("a", "1"),
                ItemChange("a", "x", "2"),
                Event("a", "3"),
                ItemChange("a", "y", None),
                Event("a", "4"),
            ]
        )
        reader = page.reader
        await reader.until(lambda: reader.data[-1:] == ["4"])
        assert types(reader)[-5:] == ["message"] * 3 + ["push:unset", "message"]
        assert reader.data[-4:] == ["1", "2", "3", "4"]
        numbers = [Position.parse(event.id).number for event in reader.events[-6:]]
        assert numbers == sorted({*numbers})

    run(test)


def test_a_page_that_was_away_gets_each_item_once_at_its_newest(run: Run) -> None:
    async def test(scene: ItemScene) -> None:
        scene.set("a", x="1", y="1")
        page = scene.page("a")
        await scene.is_whole(page)
        scene.again(page, "other")
        id = page.reader.last_id
        for n in range(5):
            scene.set("a", x=f"{n}")
        scene.unset("a", "y")
        holds = page.look().holds
        again = scene.again(page, "a", position=id, holds=holds)
        await scene.has(again, x="4")
        await again.reader.until(lambda: "push:unset" in types(again.reader))
        assert types(again.reader) == ["push:open", "message", "push:unset"]

    run(test)


def test_a_stream_that_begins_some_events_back_gets_all_items(run: Run) -> None:
    async def test(scene: ItemScene) -> None:
        scene.say("a", "1", "2")
        scene.set("a", x="3")
        scene.say("a", "4")
        page = scene.page("a", last=2)
        await scene.is_whole(page)
        await scene.has(page, x="3")
        assert [text for _, text in page.events] == ["2", "4"]

    run(test)


def test_an_event_that_excludes_a_page_is_not_among_its_items(run: Run) -> None:
    async def test(scene: ItemScene) -> None:
        scene.set("a", x="1")
        page = scene.page("a")
        await scene.is_whole(page)
        name = f"reader {len(scene.readers)}"
        scene.store.change(
            [
                ItemChange("a", "x", "2"),
                Event("a", "not for it", exclude=name),
                ItemChange("a", "y", "3"),
            ]
        )
        scene.say("a", "last")
        await scene.has(page, x="2", y="3")
        await scene.gets_events(page)
        assert [text for _, text in page.events] == ["last"]

    run(test)


def test_a_page_that_was_away_for_too_many_unsets_gets_all_items(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_few_unsets(monkeypatch)

    async def test(scene: ItemScene) -> None:
        scene.set("a", **dict.fromkeys("uvwxyz", "1"))
        page, live = scene.page("a"), scene.page("a")
        await scene.is_whole(page)
        await scene.is_whole(live)
        page.reader.close()
        scene.unset("a", *"uvwxy")
        await scene.has(live, z="1")
        scene.again(page, "a")
        await scene.is_whole(page, 2)
        assert page.opened == "all"
        await scene.has(page, z="1")

    run(test)


def test_after_a_new_epoch_come_the_gap_and_all_items(run: Run) -> None:
    async def test(scene: ItemScene) -> None:
        scene.set("a", x="1", y="1")
        pages = [scene.page("a") for _ in range(2)]
        away = scene.page("a")
        for page in *pages, away:
            await scene.is_whole(page)
        away.reader.close()
        scene.begin_again()
        scene.set("a", x="2")
        expected = truth(scene.store, "a")
        for page in pages:
            await scene.is_whole(page, 2)
            await scene.becomes(page, expected)
            (gap,) = page.reader.gaps
            assert gap["reason"] == "restarted"
            told = types(page.reader)
            assert told.index("push:gap") < told.index("push:items", told.index("push:gap"))
        scene.again(away, "a")
        await scene.is_whole(away, 2)
        await scene.becomes(away, expected)
        assert types(away.reader)[:3] == ["push:open", "push:gap", "push:items"]

    # Otherwise the hub ends all streams, because it may not know all disconnects.
    run(test, disconnect=False)


def test_a_newcomer_does_not_wait_because_a_store_is_busy(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_feed, "_UNPROVED_TICK_SECONDS", 1000)
    monkeypatch.setattr(redis_feed, "_TICK_SECONDS", 1000)

    async def test(scene: ItemScene) -> None:
        scene.set("a", x="1")
        page = scene.page("a")
        await scene.is_whole(page)
        scene.set("a", x="2")
        await scene.has(page, x="2")
        other = scene.page("a")
        await scene.is_whole(other)
        await scene.has(other, x="2")

    run(test)


def test_a_lifetime_ends_after_all_items(run: Run) -> None:
    async def test(scene: ItemScene) -> None:
        many = {f"i{n}": noise(1000) for n in range(1000)}
        scene.set("a", **many)
        page = scene.page("a", lifetime=3600, gzip=False)
        await scene.is_told(page)
        (connection,) = scene.connections
        await until(lambda: connection.blocked)
        connection.ends = asyncio.get_running_loop().time()
        scene.hub._timer.tick()
        assert scene.connections == [connection]
        await scene.until(page, lambda: page.reader.ended)
        assert page.look().whole == 1 and len(page.items) == 1000

    run(test, heartbeat=0.2)


def test_a_reader_that_never_gets_all_items_does_not_listen_for_much_longer(
    run: Run,
) -> None:
    async def test(scene: ItemScene) -> None:
        scene.set("a", **{f"i{n}": noise(1000) for n in range(1000)})
        page = scene.page("a", lifetime=3600, gzip=False)
        await scene.is_told(page)
        (connection,) = scene.connections
        await until(lambda: connection.blocked)
        connection.ends = asyncio.get_running_loop().time() - MAX_ITEMS_SECONDS
        scene.hub._timer.tick()
        assert scene.connections == []

    run(test)


def test_many_slow_readers_of_a_large_item_keep_it_once(run: Run) -> None:
    """If each kept a copy, the hub would end them again and again, and none would ever get
    all items."""

    async def test(scene: ItemScene) -> None:
        scene.set("a", i=noise(900_000))
        pages = []
        for n in range(40):
            scene.say("a", str(n))
            pages.append(scene.page("a", gzip=False))
            await scene.is_told(pages[-1])
        await until(lambda: all(each.blocked for each in scene.connections))
        assert len(scene.connections) == 40
        assert scene.hub._streams._partial_frames.size < 1_000_000
        for page in pages:
            await scene.is_whole(page)

    run(test)


def test_a_store_without_items_has_none_to_send() -> None:
    async def test(scene: ItemScene) -> None:
        reader, page = await scene.open("a"), scene.page("a", items=True)
        await scene.is_whole(page)
        assert types(page.reader) == ["push:open", "push:items", "push:whole"]
        scene.say("a", "1")
        await reader.receives("1")
        assert types(reader) == ["push:open", "message"]

    run_with(test, Store())


def test_a_poll_ends_when_it_has_all_items(run: Run) -> None:
    async def test(scene: ItemScene) -> None:
        scene.set("a", **{f"i{n}": "x" * 1000 for n in range(300)})
        page = scene.page("a", poll=True)
        await page.reader.until(lambda: page.reader.ended)
        assert page.look().whole == 1 and len(page.items) == 300
        scene.set("a", i0="y")
        again = scene.again(page, "a", poll=True)
        await again.reader.until(lambda: again.reader.ended)
        assert len(page.look().items) == 300
        assert again.items["a", "i0"] == "y" and again.whole == 1

    run(test)
