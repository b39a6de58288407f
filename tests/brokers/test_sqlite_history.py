"""How a store is read: pages of many channels."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from support.sqlite_stores import broker as broker
from support.sqlite_stores import path as path
from support.sqlite_stores import say

from flask_push import Event
from flask_push.brokers.sqlite import feed
from flask_push.brokers.sqlite import SqliteBroker
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until

# Reading.


def read_bytes() -> int:
    """What this process has read from files, from a disk or not."""
    (line, *_) = Path("/proc/self/io").read_text().splitlines()
    return int(line.removeprefix("rchar: "))


def test_a_page_of_many_channels_reads_the_data_of_its_events_alone(
    path: Path, broker: SqliteBroker
) -> None:
    names = [f"c{n}" for n in range(100)]
    for _ in range(2):
        broker.publish([Event(name, "x" * 60_000) for name in names])
    broker.close()
    before = read_bytes()
    page = broker.read(names, after=0)
    assert len(page.entries) == 2
    assert read_bytes() - before < 2**20


def test_a_page_of_many_channels_is_as_one_of_few(broker: SqliteBroker) -> None:
    names = [f"c{n}" for n in range(20)]
    rng = random.Random(1)
    events = [Event(rng.choice(names), "x" * rng.choice([1, 5000])) for _ in range(200)]
    numbers = [position.number for position in broker.publish(events)]
    read: list[int] = []
    after = 0
    while True:
        page = broker.read(names, after=after, limit=20_000)
        assert sum(len(e.data) + 100 for e in page.entries[:-1]) < 20_000
        read += [entry.number for entry in page.entries]
        after = page.reach
        if page.reach == page.end:
            break
        assert page.reach == page.entries[-1].number
    assert read == numbers
    assert len(broker.read(names, after=0, limit=1).entries) == 1


def test_a_hub_reads_pages_one_after_another_and_does_more_between(
    broker: SqliteBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "_SLICE_SECONDS", 0)

    async def main() -> None:
        say(broker)
        hub = RecordingSink(broker)
        await hub.watch("a")
        order: list[str] = []

        def tick() -> None:
            order.append("tick")
            if order.count("page") < 10:
                asyncio.get_running_loop().call_soon(tick)

        for _ in range(10):
            hub.feed.read(["a"], lambda page: order.append("page"), after=0)
        tick()
        await until(lambda: order.count("page") == 10)
        assert "page page" not in " ".join(order)
        hub.feed.close()

    asyncio.run(main())
