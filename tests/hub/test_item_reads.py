"""Reads of all items: one for each group, and a few readers in one pass of the loop."""

from __future__ import annotations

import asyncio

import pytest
from support.held_reads import HeldBroker
from support.item_hubs import ItemScene
from support.item_hubs import run_with
from support.item_reads import broker as broker
from support.item_reads import FEW
from support.item_reads import is_idle

from flask_push._hub import shared_reads
from flask_push.testing._sink import until

MANY = {f"i{n}": str(n) * 100 for n in range(10)}


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
        await scene.all_have([first, second], MANY)
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
        await scene.all_have([scene.page("a", gzip=False)], left)

    run_with(test, broker)


def test_a_few_readers_are_sent_items_in_one_pass(
    broker: HeldBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_reads, "_READERS_PER_PASS", 5)

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
        await scene.all_have(pages, FEW)
        assert broker.answered == 1 and is_idle(scene)

    run_with(test, broker)


def test_a_few_readers_begin_in_one_pass_with_what_the_log_has(
    broker: HeldBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_reads, "_READERS_PER_PASS", 5)

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
        await scene.all_have(pages, FEW)
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
        await scene.all_have([page], FEW)

    run_with(test, broker)
