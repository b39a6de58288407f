"""Reads of all items: one for each group, and a few readers in one pass of the loop."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t

import pytest
from support.held_reads import HeldBroker
from support.item_hubs import ItemScene
from support.item_hubs import run_with
from support.item_hubs import SocketPage

from flask_push._hub import item_reads
from flask_push._hub.item_reads import ItemReads
from flask_push.testing._sink import until

FEW = {f"i{n}": str(n) for n in range(3)}
MANY = {f"i{n}": str(n) * 100 for n in range(10)}


def reads(scene: ItemScene) -> ItemReads:
    return scene.hub._streams.item_reads


def is_idle(scene: ItemScene) -> bool:
    return repr(reads(scene)) == "<ItemReads [0 reads, 0 readers queued]>"


@pytest.fixture
def broker() -> HeldBroker:
    return HeldBroker()


async def all_have(
    scene: ItemScene, pages: cabc.Iterable[SocketPage], items: t.Any
) -> None:
    for page in pages:
        await scene.is_whole(page)
        await scene.has(page, **items)


def test_readers_of_the_same_channels_share_a_read(broker: HeldBroker) -> None:
    async def test(scene: ItemScene) -> None:
        scene.set("a", **FEW)
        pages = [scene.page("a") for _ in range(5)]
        await broker.is_asked()
        # It joins during the read.
        pages.append(scene.page("a", gzip=False))
        await scene.until(pages[-1], lambda: pages[-1].look().told)
        assert len(broker.asked) == 1
        broker.answer()
        await all_have(scene, pages, FEW)
        # The log has them now.
        await all_have(scene, [scene.page("a", gzip=True)], FEW)
        assert broker.answered == 1 and is_idle(scene)

    run_with(test, broker)


def test_a_read_goes_on_until_all_items_are_there(broker: HeldBroker) -> None:
    async def test(scene: ItemScene) -> None:
        scene.set("a", **MANY)
        first = scene.page("a")
        await broker.is_asked()
        broker.answer()
        await broker.is_asked()
        # The log has the first page for it.
        second = scene.page("a")
        await scene.until(second, lambda: len(second.look().items) == 3)
        while broker.asked:
            broker.answer()
            await asyncio.sleep(0)
        await all_have(scene, [first, second], MANY)
        assert broker.answered == 4

    run_with(test, broker)


def test_a_reader_takes_no_page_that_was_read_before_its_items_began(
    broker: HeldBroker,
) -> None:
    async def test(scene: ItemScene) -> None:
        scene.set("a", **FEW)
        first = scene.page("a", gzip=False)
        await broker.is_asked()
        scene.unset("a", "i0")
        left = {item: FEW[item] for item in ("i1", "i2")}
        items = scene.hub._log.channels["a"].items
        assert items is not None
        await until(lambda: len(items) == 1)
        second = scene.page("a", gzip=False)
        await scene.until(second, lambda: second.look().told)
        # The log drops the unset.
        scene.hub._log.item_budget.forget(items)
        broker.answer()
        await broker.is_asked()
        broker.answer_all()
        await scene.is_whole(second)
        assert {name for _, name in second.numbers} == {*left}
        await asyncio.sleep(0)
        broker.answer_all()
        await scene.has(first, **left)
        # And the log does not have it.
        await all_have(scene, [scene.page("a", gzip=False)], left)

    run_with(test, broker)


def test_a_few_readers_are_sent_items_in_one_pass(
    broker: HeldBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_reads, "_READERS_PER_PASS", 5)

    async def test(scene: ItemScene) -> None:
        scene.set("a", **FEW)
        pages = [scene.page("a", gzip=False) for _ in range(23)]

        def begun() -> int:
            for page in pages:
                page.reader.read()
            return sum(bool(page.look().items) for page in pages)

        await until(lambda: all(page.look().told or begun() for page in pages))
        assert begun() == 0
        broker.answer()
        before = begun()
        assert 0 < before <= 5
        passes = 1
        while before < len(pages):
            await asyncio.sleep(0)
            now = begun()
            assert now <= before + 5
            before, passes = now, passes + 1
        assert passes >= 5
        await all_have(scene, pages, FEW)
        assert broker.answered == 1 and is_idle(scene)

    run_with(test, broker)


def test_a_few_readers_begin_in_one_pass_with_what_the_log_has(
    broker: HeldBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_reads, "_READERS_PER_PASS", 5)

    async def test(scene: ItemScene) -> None:
        scene.set("a", **FEW)
        first = scene.page("a")
        await broker.is_asked()
        broker.answer()
        await scene.is_whole(first)
        pages = [scene.page("a") for _ in range(12)]
        for page in pages:
            page.reader.read()
        # The first one may have been sent items in this pass, too.
        assert sum(page.look().whole for page in pages) in (4, 5)
        await all_have(scene, pages, FEW)
        assert broker.answered == 1 and is_idle(scene)

    run_with(test, broker)


def test_a_page_without_rows_is_asked_for_again_after_the_next_turn(
    broker: HeldBroker,
) -> None:
    async def test(scene: ItemScene) -> None:
        scene.set("a", **FEW)
        page = scene.page("a")
        await broker.is_asked()
        found, callback = broker.asked.pop()
        callback(found._replace(reach=found.after, rows=[]))
        await asyncio.sleep(0.01)
        assert not broker.asked
        scene.say("another", "event")
        await broker.is_asked()
        broker.answer()
        await all_have(scene, [page], FEW)

    run_with(test, broker)


def test_a_reader_that_leaves_is_not_waited_for(broker: HeldBroker) -> None:
    async def test(scene: ItemScene) -> None:
        scene.set("a", **FEW)
        pages = [scene.page("a", gzip=False) for _ in range(3)]
        await broker.is_asked()
        other = scene.page("b", items=True)
        await scene.is_whole(other)
        for page in pages:
            page.reader.close()
        await until(lambda: len(scene.connections) == 1)
        assert repr(reads(scene)) == "<ItemReads [1 reads, 0 readers queued]>"
        broker.answer()
        assert is_idle(scene) and scene.hub.failures == 0
        # The log drops a channel's items with its last reader.
        last = scene.page("a")
        await broker.is_asked()
        broker.answer()
        await scene.is_whole(last)
        assert scene.hub._log.item_budget._size
        last.reader.close()
        await until(lambda: len(scene.connections) == 1)
        assert not scene.hub._log.item_budget._size

    run_with(test, broker)


def test_only_some_pages_are_read_at_the_same_time(broker: HeldBroker) -> None:
    async def test(scene: ItemScene) -> None:
        names = [f"c{n}" for n in range(40)]
        for name in names:
            scene.set(name, **FEW)
        pages = [scene.page(name) for name in names]
        for page in pages:
            await scene.is_told(page)
        assert len(broker.asked) == item_reads._MAX_READS
        # Those that leave before their page is asked for are forgotten.
        for page in pages[-10:]:
            page.reader.close()
        await until(lambda: len(scene.connections) == 30)
        while broker.asked:
            broker.answer()
            await asyncio.sleep(0)
            assert len(broker.asked) <= item_reads._MAX_READS
        await all_have(scene, pages[:30], FEW)
        assert broker.answered == 30 and is_idle(scene)

    run_with(test, broker)


def test_a_page_that_comes_after_the_hub_began_again_is_ignored(
    broker: HeldBroker,
) -> None:
    async def test(scene: ItemScene) -> None:
        scene.set("a", **FEW)
        page = scene.page("a")
        await broker.is_asked()
        scene.hub._guard(lambda: 1 / 0)
        await scene.until(page, lambda: page.reader.ended)
        broker.answer()
        again = scene.page("a")
        await broker.is_asked()
        broker.answer()
        await all_have(scene, [again], FEW)
        assert scene.hub.failures == 1

    run_with(test, broker)
