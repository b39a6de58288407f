"""A hub whose channels have items, and pages that read them."""

from __future__ import annotations

import collections.abc as cabc
import json
import typing as t
from functools import partial
from pathlib import Path

import pytest
import redis

from flask_push import Event
from flask_push import Position
from flask_push._delivery.options import Options
from flask_push._event import item_of
from flask_push._event import UNSET
from flask_push.brokers import Broker
from flask_push.brokers import ItemChange
from flask_push.brokers import KeepsItems
from flask_push.brokers.memory import item_rows
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.redis import item_calls
from flask_push.brokers.sqlite import item_channel
from flask_push.testing._sink import until
from support.failing import Store
from support.hubs import HubScene
from support.hubs import Run
from support.hubs import run_scene
from support.hubs import run_with_url
from support.reader import SocketReader
from support.reader import StreamReader

Scenario = cabc.Callable[["ItemScene"], cabc.Coroutine[t.Any, t.Any, None]]
R = t.TypeVar("R", bound=StreamReader)


class ItemPage(t.Generic[R]):
    """What a page knows of the items of its channels. It follows a reader.

    Raises :exc:`AssertionError` if an item becomes older.
    """

    def __init__(self, reader: R) -> None:
        self.reader = reader
        self.items: dict[tuple[str, str], str] = {}
        #: How many ``push:items`` and ``push:whole`` it has got.
        self.told = self.whole = 0
        #: The word of the last ``push:whole``.
        self.holds = ""
        #: What the last ``push:open`` said of items.
        self.opened: str | None = None
        #: The numbers of all values it has got, by item.
        self.numbers: dict[tuple[str, str], int] = {}
        #: The other events of its channels, with their numbers.
        self.events: list[tuple[int, str]] = []
        self._epoch = ""
        self._taken = 0

    def begin(self, reader: R) -> None:
        """Follow another reader. It keeps what it knows."""
        self.look()
        self.opened, self.reader, self._taken = None, reader, 0

    def look(self) -> t.Self:
        """Take what the reader has got since the last look."""
        new = self.reader.events[self._taken :]
        self._taken += len(new)
        for event in new:
            self._take(event)
        return self

    def _take(self, event: Event) -> None:
        if event.type == "push:open":
            self.opened = json.loads(event.data).get("items", "")
        elif event.type == "push:items":
            self.items, self.holds, self.told = {}, "", self.told + 1
        elif event.type == "push:whole":
            self.whole, self.holds = self.whole + 1, json.loads(event.data)["holds"]
        elif event.type == "push:unset" or (
            event.type == "message" and event.channel and item_of(event.id)
        ):
            self._take_item(event, (event.channel or "", item_of(event.id) or ""))
        elif event.type == "message":
            number = Position.parse(event.id).number
            assert not self.events or self.events[-1][0] < number, "twice, or too old"
            self.events.append((number, event.data))

    def _take_item(self, event: Event, name: tuple[str, str]) -> None:
        position, parts = Position.parse(event.id), event.id.split(".")
        if position.epoch != self._epoch:
            self._epoch, self.numbers = position.epoch, {}
        number = position.number
        if len(parts) == 4:
            number = Position.parse(f"{position.epoch}-{parts[-1]}").number
        assert number >= self.numbers.get(name, 0), f"{name} became older"
        self.numbers[name] = number
        if event.type == UNSET:
            self.items.pop(name, None)
        else:
            self.items[name] = event.data


SocketPage = ItemPage[SocketReader]


class ItemScene(HubScene):
    @property
    def store(self) -> KeepsItems:
        return t.cast(KeepsItems, self.broker)

    def set(self, channel: str, **items: str) -> list[Position]:
        return self.store.change([ItemChange(channel, i, v) for i, v in items.items()])

    def unset(self, channel: str, *items: str) -> list[Position]:
        return self.store.change([ItemChange(channel, item, None) for item in items])

    def page(self, *channels: str, **how: t.Any) -> SocketPage:
        return ItemPage(self.adopt(*channels, **how))

    def again(self, page: SocketPage, *channels: str, **how: t.Any) -> SocketPage:
        """Cut a page off, and let it reconnect with its last id, and what it holds."""
        page.reader.sock.close()
        how = {"position": page.reader.last_id, "holds": page.holds, **how}
        how.setdefault("gzip", page.reader.gzip)
        reader = self.adopt(*channels, **how)
        page.begin(reader)
        reader.parser.last_event_id = how["position"]
        return page

    async def has(self, page: SocketPage, **items: str) -> None:
        """Wait until a page has exactly these items, of all its channels."""

        def meets() -> bool:
            page.look()
            return {item: value for (_, item), value in page.items.items()} == items

        await self.until(page, meets)

    async def all_have(
        self, pages: cabc.Iterable[SocketPage], items: cabc.Mapping[str, str]
    ) -> None:
        """Wait until pages are whole and have exactly these items."""
        for page in pages:
            await self.is_whole(page)
            await self.has(page, **items)

    async def reads(self, page: SocketPage, count: int) -> None:
        """Let a page read so many bytes, and no more."""
        reader = page.reader

        def read() -> bool:
            assert not reader.ended
            reader.read(count - reader.received)
            return reader.received == count

        await until(read)
        page.look()

    async def becomes(self, page: SocketPage, items: dict[tuple[str, str], str]) -> None:
        await self.until(page, lambda: page.look().items == items)

    async def gets_events(self, page: SocketPage) -> None:
        await self.until(page, lambda: page.look().events)

    async def is_told(self, page: SocketPage) -> None:
        """Wait until it has forgotten all items once."""
        await self.until(page, lambda: page.look().told)

    async def is_whole(self, page: SocketPage, times: int = 1) -> None:
        await self.until(page, lambda: page.look().whole >= times)

    async def until(self, page: SocketPage, condition: cabc.Callable[[], object]) -> None:
        await page.reader.until(condition)

    def replace_hub(self) -> None:
        self.hub = self.make_hub(self.hub.freeze())

    def begin_again(self) -> None:
        """Begin another epoch of the store."""
        if isinstance(self.broker, MemoryBroker):
            Store.begin_again(self.broker)
            return
        kind, _, path = t.cast(Broker, self.broker).url.partition("://")
        if kind == "sqlite":
            for file in filter(Path.is_file, Path(path).parent.glob("push.db*")):
                file.unlink()
        else:
            redis.Redis.from_url(t.cast(Broker, self.broker).url).flushall()
        self.say("another", "event")


@pytest.fixture
def run(url: str) -> Run:
    """Runs a scenario with each store."""
    return partial(run_with_url, run_with, url)


def run_with(test: Scenario, broker: Broker, **options: t.Any) -> None:
    run_scene(lambda: ItemScene(t.cast(MemoryBroker, broker), Options(**options)), test)


def keep_few_unsets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each store remove unsets soon."""
    for module in item_rows, item_channel, item_calls:
        monkeypatch.setattr(module, "MIN_TOMBSTONES", 1)


def truth(store: KeepsItems, *channels: str) -> dict[tuple[str, str], str]:
    """The items that a page of these channels must have in the end."""
    rows = store.read_items(channels, limit=2**30, due=True).rows
    return {(row.channel, row.item): row.data.decode() for row in rows}


def types(reader: StreamReader) -> list[str]:
    return [event.type for event in reader.events]
