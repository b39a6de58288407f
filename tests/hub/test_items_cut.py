"""Streams with items that are cut at any byte, on two hubs of one store."""

from __future__ import annotations

import asyncio
import contextlib
import random
from itertools import product

import pytest
from support.each_store import url as url
from support.hubs import Run
from support.item_hubs import ItemScene
from support.item_hubs import keep_few_unsets
from support.item_hubs import run as run
from support.item_hubs import run_with
from support.item_hubs import SocketPage
from support.item_hubs import truth

from flask_push import Event
from flask_push.brokers import ItemChange
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._sink import until


def test_a_page_that_is_reloaded_while_the_first_item_is_set_gets_it(run: Run) -> None:
    """The hub watches the channel twice, and the store may not have answered the first
    time yet."""

    async def test(scene: ItemScene) -> None:
        await scene.open("other")
        for before, after in product(range(6), repeat=2):
            channel = f"{before} {after}"
            first = scene.page(channel)
            for _ in range(before):
                await asyncio.sleep(0)
            first.reader.close()
            for _ in range(after):
                await asyncio.sleep(0)
            scene.set(channel, x="1")
            pages = [scene.page(channel, items=True)]
            await scene.is_whole(pages[0])
            scene.set(channel, y="2")
            pages.append(scene.page(channel, items=True))
            for page in pages:
                await scene.has(page, x="1", y="2")
                page.reader.close()

    run(test)


@pytest.mark.parametrize("gzip", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("claims", [False, True], ids=["forgets", "holds"])
def test_a_page_that_is_cut_off_anywhere_gets_what_it_lacks(
    gzip: bool, claims: bool
) -> None:
    async def test(scene: ItemScene) -> None:
        scene.set("a", x="1", y="1")
        scene.set("b", z="1", w="1")
        first = scene.page("a", "b", gzip=gzip)
        await scene.is_whole(first)
        # Another stream may have a shorter ``retry``.
        for cut in range(1, first.reader.received - 4):
            scene.set("a", y=f"{cut}")
            page = scene.page("a", "b", gzip=gzip)
            await scene.reads(page, cut)
            known = bool(page.reader.last_id)
            changes = [ItemChange("a", "x", f"{cut}"), ItemChange("a", "y", None)]
            scene.store.change(changes)
            scene.say("a", f"event {cut}")
            scene.again(page, "a", "b", holds=page.holds if claims else "")
            expected = truth(scene.store, "a", "b")
            await scene.becomes(page, expected)
            if known:
                await scene.gets_events(page)
                assert [data for _, data in page.events] == [f"event {cut}"]
            page.reader.close()

    run_with(test, MemoryBroker())


OPERATIONS = "set set set unset unset say read read again away replace fail forget pause"


@pytest.mark.parametrize("seed", range(6))
def test_pages_have_all_items_in_the_end(
    run: Run, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_few_unsets(monkeypatch)
    dice = random.Random(seed)

    async def test(first: ItemScene) -> None:
        second = ItemScene(first.broker, first.options)
        with contextlib.closing(second):
            await Story(dice, [first, second]).play()

    run(test)


class Story:
    """Two hubs of one store, four pages, and a dice."""

    CHANNELS = [["a"], ["a", "b"], ["b"], ["a", "b"]]

    def __init__(self, dice: random.Random, scenes: list[ItemScene]) -> None:
        self.dice, self.scenes, self.store = dice, scenes, scenes[0].store
        self.pages = [
            scenes[0].page(*names, gzip=n % 2 == 0, items=n > 1)
            for n, names in enumerate(self.CHANNELS)
        ]
        self.said: list[tuple[int, str, str]] = []
        self.count = 0

    async def play(self) -> None:
        for _ in range(300):
            operation = self.dice.choice(OPERATIONS.split())
            await getattr(self, operation)()
        for page, names in zip(self.pages, self.CHANNELS, strict=True):
            await self.has_all(page, names)

    async def has_all(self, page: SocketPage, names: list[str]) -> None:
        expected = truth(self.store, *names)
        said = [(number, text) for number, name, text in self.said if name in names]

        def meets() -> bool:
            if page.reader.sock.fileno() > 0:
                page.reader.read()
            if page.reader.ended or page.reader.sock.fileno() < 0:
                self.reconnect(self.pages.index(page))
            page.look()
            # From its first position on, each event once.
            last = said[len(said) - len(page.events) :]
            return page.items == expected and page.events == last

        await until(meets)

    def reconnect(self, index: int) -> None:
        page, scene = self.pages[index], self.dice.choice(self.scenes)
        holds = page.holds if index != 1 else ""
        scene.again(page, *self.CHANNELS[index], holds=holds, items=index > 1)

    # What happens.

    async def set(self) -> None:
        self.count += 1
        channel, item = self.dice.choice("ab"), self.dice.choice("uvwxyz")
        data = f"{self.count} " + "x" * self.dice.choice([1, 1, 50_000])
        self.store.change([ItemChange(channel, item, data)])

    async def unset(self) -> None:
        channel, item = self.dice.choice("ab"), self.dice.choice("uvwxyz")
        self.store.change([ItemChange(channel, item, None)])

    async def say(self) -> None:
        self.count += 1
        channel = self.dice.choice("ab")
        (position,) = self.store.change([Event(channel, f"{self.count}")])
        self.said.append((position.number, channel, f"{self.count}"))

    async def read(self) -> None:
        page = self.dice.choice(self.pages)
        if page.reader.sock.fileno() > 0:
            page.reader.read(self.dice.choice([10, 100, 1000, 10**6]))
            page.look()
            await asyncio.sleep(0)

    async def again(self) -> None:
        self.reconnect(self.dice.randrange(4))

    async def away(self) -> None:
        self.dice.choice(self.pages).reader.close()

    async def replace(self) -> None:
        scene = self.dice.choice(self.scenes)
        if scene.hub.whole:
            scene.replace_hub()

    async def fail(self) -> None:
        if self.dice.random() < 0.2:
            self.dice.choice(self.scenes).hub._guard(lambda: 1 / 0)

    async def forget(self) -> None:
        """Drop what a hub has of the items."""
        log = self.dice.choice(self.scenes).hub._log
        for channel in log.channels.values():
            if channel.items is not None:
                log.item_budget.forget(channel.items)

    async def pause(self) -> None:
        await asyncio.sleep(self.dice.choice([0, 0, 0.01, 0.05]))
