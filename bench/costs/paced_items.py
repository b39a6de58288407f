"""What `every=` saves if items change often.

A hub in this process has readers of two channels with the same items: those of one channel
get each change at once, those of the other one have a pause. Another process reads their
bytes and discards them. The two channels take turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import socket
import time
from functools import partial

from compare import Result
from compare import Row
from compare import Scale
from compare import take_turns

from costs.reading_process import discard
from costs.reading_process import unread
from flask_push._delivery.options import Options
from flask_push._delivery.stream import Stream
from flask_push._hub.hub import Hub
from flask_push._ipc.client import Client
from flask_push.brokers import ItemChange
from flask_push.brokers.memory import MemoryBroker

METRICS, SETS_PER_SECOND = 50, 100
#: By channel, the pause of its readers.
EVERY = {"every=0": 0, "every=0.5": 0.5}


class _Hub:
    def __init__(self, readers: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.broker = MemoryBroker()
        options = Options(max_streams=10**6, heartbeat=3600)
        self.hub = Hub(self.broker, options, self.loop)
        self.ours: list[socket.socket] = []
        theirs: list[tuple[Stream, int]] = []
        for channel, every in EVERY.items():
            for n in range(readers):
                ours, other = socket.socketpair()
                self.ours.append(ours)
                theirs.append((Stream((channel,), f"c{n}", every=every), other.detach()))
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=discard, args=(self.ours,), daemon=True)
        self.process.start()
        for stream, fd in theirs:
            self.hub.adopt(stream, Client(fd))
        self.loop.run_until_complete(self._until_all_is_read())

    async def _until_all_is_read(self) -> None:
        while self.hub.status()["behind"] or any(map(unread, self.ours)):
            await asyncio.sleep(0.005)

    def set_items(self, channel: str, seconds: float) -> float:
        """Processor time of a second in which the items of a channel are set."""
        return self.loop.run_until_complete(self._set_items(channel, seconds))

    async def _set_items(self, channel: str, seconds: float) -> float:
        before, begun = time.process_time(), self.loop.time()
        for n in range(round(seconds * SETS_PER_SECOND)):
            item = f"metric {n % METRICS}"
            self.broker.change([ItemChange(channel, item, f'{{"value": {begun + n}}}')])
            await asyncio.sleep(begun + n / SETS_PER_SECOND - self.loop.time())
        # What waits belongs to these seconds, too.
        await asyncio.sleep(2 * EVERY[channel])
        taken = time.process_time() - before
        await self._until_all_is_read()
        return taken / seconds

    def close(self) -> None:
        self.process.terminate()
        self.process.join()
        self.hub.stop()
        for sock in self.ours:
            sock.close()
        self.broker.close()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()


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
