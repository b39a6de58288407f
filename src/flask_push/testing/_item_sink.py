"""The sink in the tests of brokers that keep items."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t

from .._event import Entry
from .._event import Position
from ..brokers import ItemFeed
from ..brokers import ItemsPage
from ..brokers.items import UNSET
from ._sink import RecordingSink


class ItemRecordingSink(RecordingSink):
    """Also receives items, and checks what must hold. It keeps the newest row of each, as a
    hub does."""

    def __init__(self, *args: t.Any) -> None:
        #: The horizons of this epoch, by channel.
        self.known: dict[str, int] = {}
        #: The channels of which the store had no row.
        self.without: set[str] = set()
        #: The ends that the feed delivered, and the horizons that it had given then.
        self.ends: list[tuple[int, dict[str, int]]] = []
        #: The newest row of each item, and the number of each channel's newest.
        self.rows: dict[tuple[str, str], tuple[int, str, bytes]] = {}
        self.newest: dict[str, int] = {}
        #: Whether rows have a time to live.
        self.has_timed = False
        self._given_of = ""
        super().__init__(*args)

    def horizons(
        self,
        epoch: str,
        horizons: cabc.Mapping[str, int],
        without: cabc.Collection[str] = (),
    ) -> None:
        if epoch != self._given_of:
            self._given_of, self.known, self.without = epoch, {}, set()
        for channel, number in horizons.items():
            self.expect(number > 0, "an unknown horizon is never 0")
            self.expect(number >= self.known.get(channel, 0), "a horizon never falls")
        self.expect(set(without) <= horizons.keys(), "not given")
        # A horizon that is not below a row says that this is gone, too.
        has_row = {each for each in without if self.newest.get(each, 0) > horizons[each]}
        self.expect(not has_row or epoch != self.epoch, "the channel has a row")
        self.known.update(horizons)
        self.without -= horizons.keys()
        self.without |= set(without)

    def timed(self, some: bool) -> None:
        self.expect(some != self.has_timed, "it was said before")
        self.has_timed = some

    def deliver(self, epoch: str, entries: cabc.Sequence[Entry], end: int | None) -> None:
        if epoch != self.epoch:
            self.newest = {}
        self._expect_horizons(epoch, self.watching)
        proved = self.end
        super().deliver(epoch, entries, end)
        for entry in entries:
            if entry.item:
                self._take(entry, proved)
        if end is not None:
            self.ends.append((end, dict(self.known)))

    def _take(self, entry: Entry, proved: int) -> None:
        self.expect(entry.prev is not None, "a row is stored")
        prev = entry.prev or 0
        self.expect(prev < entry.number, "out of order")
        known = max(self.newest.get(entry.channel, 0), proved, self.known[entry.channel])
        self.expect(prev <= known, "it claims that a row is missing")
        self.newest[entry.channel] = entry.number
        self.add(entry.channel, entry.item, entry.number, entry.type, entry.data)

    def add(self, channel: str, item: str, number: int, type: str, data: bytes) -> None:
        """Keep a row that was delivered or read, if it is the newest."""
        if number > self.rows.get((channel, item), (0, "", b""))[0]:
            self.rows[channel, item] = number, type, data

    def missed(self, end: int) -> None:
        self._expect_horizons(self.epoch, self.watching)
        super().missed(end)
        self.ends.append((end, dict(self.known)))

    def watched(self, channels: cabc.Sequence[str]) -> None:
        self._expect_horizons(self.epoch, channels)
        super().watched(channels)

    def _expect_horizons(self, epoch: str, channels: cabc.Iterable[str]) -> None:
        given = self._given_of == epoch and self.known.keys() >= set(channels)
        self.expect(given or not channels, "the horizons come first")

    async def read_items(self, *channels: str, **where: int) -> ItemsPage:
        page: asyncio.Future[ItemsPage] = asyncio.get_running_loop().create_future()
        t.cast(ItemFeed, self.feed).read_items(channels, page.set_result, **where)
        return await asyncio.wait_for(page, 10)

    async def read_all(self, *channels: str) -> None:
        """Read the living rows, page by page, as a hub does for a new channel."""
        after, end = 0, 1
        while after < end:
            page = await self.read_items(*channels, after=after)
            for row in page.rows:
                self.add(row.channel, row.item, row.number, row.type, row.data)
            after, end = page.reach, page.end

    def living(self, channel: str) -> dict[str, bytes]:
        """The newest value of each item."""
        return {
            item: data
            for (name, item), (_, type, data) in self.rows.items()
            if name == channel and type != UNSET
        }

    def items_of(self, channel: str) -> list[tuple[str, str, bytes]]:
        """All rows that were delivered: the item, the type and the data."""
        return [
            (entry.item, entry.type, entry.data)
            for entry in self.entries
            if entry.channel == channel and entry.item
        ]

    def events_of(self, channel: str) -> list[bytes]:
        """All events of the log that were delivered."""
        return [e.data for e in self.entries if e.channel == channel and not e.item]

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.end)
