"""Reads that streams share, as those of items do. Those of runs have tests of their own."""

from __future__ import annotations

import asyncio

from support.held_reads import HeldBroker
from support.item_hubs import ItemScene
from support.item_hubs import run_with
from support.item_reads import broker as broker
from support.item_reads import FEW
from support.item_reads import is_idle
from support.item_reads import reads

from flask_push._hub import shared_reads
from flask_push.testing._sink import until


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
        await scene.all_have(pages, FEW)
        # The log has them now.
        await scene.all_have([scene.page("a", gzip=True)], FEW)
        assert broker.answered == 1 and is_idle(scene)

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
        assert len(broker.asked) == shared_reads.MAX_READS
        # Those that leave before their page is asked for are forgotten.
        for page in pages[-10:]:
            page.reader.close()
        await until(lambda: len(scene.connections) == 30)
        while broker.asked:
            broker.answer()
            await asyncio.sleep(0)
            assert len(broker.asked) <= shared_reads.MAX_READS
        await scene.all_have(pages[:30], FEW)
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
        await scene.all_have([again], FEW)
        assert scene.hub.failures == 1

    run_with(test, broker)
