"""Many items, and readers that take them slowly: memory and passes of the loop."""

from __future__ import annotations

import tracemalloc

from support.each_store import url as url
from support.hubs import Run
from support.item_hubs import ItemScene
from support.item_hubs import run as run
from support.item_hubs import run_with
from support.item_hubs import truth

from flask_push.brokers import ItemChange
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._sink import until


def set_many(scene: ItemScene, count: int, size: int = 100) -> None:
    changes = [ItemChange("a", f"i{n}", f"{n} ".ljust(size, "x")) for n in range(count)]
    for start in range(0, count, 1000):
        scene.store.change(changes[start : start + 1000])


def test_a_newcomer_gets_ten_thousand_items(run: Run) -> None:
    async def test(scene: ItemScene) -> None:
        set_many(scene, 10_000)
        page = scene.page("a")
        await scene.is_whole(page)
        assert page.items == truth(scene.store, "a") and len(page.items) == 10_000
        assert page.reader.events[-1].type == "push:whole"
        # The log has them for the next one.
        other = scene.page("a")
        await scene.is_whole(other)
        assert other.items == page.items

    run(test)


def test_slow_readers_take_no_memory_for_each_item() -> None:
    async def test(scene: ItemScene) -> None:
        set_many(scene, 3_000, 1000)
        first = scene.page("a", gzip=False)
        await scene.is_whole(first)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        pages = [scene.page("a", gzip=False) for _ in range(50)]
        await until(lambda: sum(c.blocked for c in scene.connections) == 50)
        after, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # All of them together, without the bytes in their sockets.
        assert after - before < 50 * 20_000 and peak - before < 5 * 2**20
        scene.set("a", i5="new")
        await scene.until(first, lambda: first.look().items["a", "i5"] == "new")
        for page in pages[:3]:
            await scene.is_whole(page)
            await scene.becomes(page, truth(scene.store, "a"))

    run_with(test, MemoryBroker())


def test_items_beyond_the_bytes_of_the_log_are_read_from_the_store(run: Run) -> None:
    async def test(scene: ItemScene) -> None:
        set_many(scene, 1_000, 1000)
        pages = [scene.page("a") for _ in range(4)]
        for page in pages:
            await scene.is_whole(page)
            assert page.items == truth(scene.store, "a")
        assert scene.hub._log.item_budget._size <= 100_000
        scene.set("a", i5="new")
        for page in pages:
            await scene.becomes(page, truth(scene.store, "a"))

    run(test, log_bytes=100_000)
