"""What a feed calls in the tests of brokers."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import time
import typing as t

from .._event import Entry
from .._event import Page
from .._event import Position
from ..brokers import Broker
from ..brokers import Feed


class RecordingSink:
    """Stands for a hub: records what a feed calls it with, and checks that it may."""

    #: What was wrong in calls of feeds. A feed may take the exception for its own trouble,
    #: and recover from it.
    failures: t.ClassVar[list[AssertionError]] = []

    def __init__(self, broker: Broker, before: RecordingSink | None = None) -> None:
        self.epoch = ""
        self.end = self.missing = 0
        self.entries: list[Entry] = []
        self.watching: dict[str, int] = {}
        after = None
        if before is not None:
            self.epoch, self.end = after = Position(before.epoch, before.end)
            self.watching = dict.fromkeys(before.watching, self.end)
        self.feed: Feed = broker.feed(
            self, asyncio.get_running_loop(), after=after, channels=list(self.watching)
        )

    def expect(self, condition: bool, otherwise: str) -> None:
        if not condition:
            self.failures.append(AssertionError(otherwise))
            raise self.failures[-1]

    def deliver(self, epoch: str, entries: cabc.Sequence[Entry], end: int | None) -> None:
        if epoch != self.epoch:
            self.expect(end is not None, "an epoch begins with a position")
        self.epoch = epoch
        for entry in entries:
            self.expect(entry.channel in self.watching, "not asked for")
            if entry.prev is not None:
                number = max(
                    (e.number for e in self.entries if e.prev is not None), default=0
                )
                since = self.watching[entry.channel]
                self.expect(entry.number > number, "out of order")
                self.expect(entry.number > since, "from before watched")
                self.expect(end is None or entry.number <= end, "from after the end")
            self.entries.append(entry)
        if end is not None:
            self.expect(end >= self.end, "backwards")
            self.end = end

    def missed(self, end: int) -> None:
        self.expect(end >= self.end, "backwards")
        self.end = self.missing = end

    def watched(self, channels: cabc.Sequence[str]) -> None:
        for channel in channels:
            self.watching[channel] = self.end

    async def watch(self, *channels: str) -> None:
        self.feed.watch(channels)
        await until(lambda: all(channel in self.watching for channel in channels))

    async def read(self, *channels: str, **where: int) -> Page:
        page: asyncio.Future[Page] = asyncio.get_running_loop().create_future()
        self.feed.read(channels, page.set_result, **where)
        return await asyncio.wait_for(page, 10)

    def received(self, channel: str) -> list[bytes]:
        return [entry.data for entry in self.entries if entry.channel == channel]


async def until(condition: cabc.Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.002)
