"""What `every=` saves if items change often.

A hub in this process has readers of two channels with the same items: those of one channel
get each change at once, those of the other one have a pause. Another process reads their
bytes and discards them. The two channels take turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from functools import partial

from compare import Result
from compare import Row
from compare import Scale
from compare import take_turns

from costs.reading_process import ReadHub
from flask_push._delivery.options import Options
from flask_push._delivery.stream import Stream
from flask_push.brokers import ItemChange

METRICS, SETS_PER_SECOND = 50, 100
#: By channel, the pause of its readers.
EVERY = {"every=0": 0, "every=0.5": 0.5}


class _Hub(ReadHub):
    def __init__(self, readers: int) -> None:
        super().__init__(Options(max_streams=10**6, heartbeat=3600))
        for channel, every in EVERY.items():
            for n in range(readers):
                self.add(Stream((channel,), f"c{n}", every=every), *socket.socketpair())
        self.begin()

    def set_items(self, channel: str, seconds: float) -> float:
        """Processor time of a second in which the items of a channel are set."""
        return self.loop.run_until_complete(self._set_items(channel, seconds))

    async def _set_items(self, channel: str, seconds: float) -> float:
        before, begun = time.process_time(), self.loop.time()
        for n in range(round(seconds * SETS_PER_SECOND)):
            item = f"metric {n % METRICS}"
            self.broker.change([ItemChange(channel, item, f'{{"value": {begun + n}}}')])
            await asyncio.sleep(begun + n / SETS_PER_SECOND - self.loop.time())
        # Events that wait belong to these seconds, too.
        await asyncio.sleep(2 * EVERY[channel])
        taken = time.process_time() - before
        await self.until_all_is_read()
        return taken / seconds


def paced_items(scale: Scale) -> list[Row]:
    """Processor time of the hub and of a store in memory for a second."""
    name = f"{METRICS} items are set {SETS_PER_SECOND} times in a second"
    name += f", {scale.small:,} readers"
    with contextlib.closing(_Hub(scale.small)) as hub:

        def measure(channel: str) -> Result:
            return Result(1e3 * hub.set_items(channel, max(1, scale.seconds)))

        unit = "ms in a second"
        pairs = [(Row(name, kind, unit), partial(measure, kind)) for kind in EVERY]
        take_turns(pairs, scale.rounds)
        return [row for row, _ in pairs]
