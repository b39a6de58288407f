"""What setting an item costs, compared with publishing an event.

Calls of both kinds alternate, and each figure is a median, so other work on the machine
does not matter. Brokers that keep no items are not measured.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import itertools
import tempfile
import time
from pathlib import Path
from statistics import median

from compare import Result
from compare import Row
from compare import Scale

from costs.redis_scripts import redis_server
from flask_push import Event
from flask_push.brokers import Broker
from flask_push.brokers import ItemChange
from flask_push.brokers import KeepsItems
from flask_push.brokers import open_broker
from flask_push.brokers import Retention

CHANNELS, ITEMS, KEEP, BATCH = 20, 101, 100, 20
#: Values of an item differ in their length.
DATA = ["x" * size for size in range(190, 211)]


@contextlib.contextmanager
def _brokers() -> cabc.Iterator[dict[str, Broker]]:
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = stack.enter_context(redis_server()).url
        urls = {"memory": "memory:", "SQLite": "sqlite:", "Redis": redis}
        kept = Retention(count=KEEP)
        brokers = {name: open_broker(url, directory, kept) for name, url in urls.items()}
        for broker in brokers.values():
            stack.callback(broker.close)
        yield brokers


def set_cost(scale: Scale) -> list[Row]:
    """Microseconds of a call: of ``set``, and as a ratio to ``publish``."""
    rows: list[Row] = []
    with _brokers() as brokers:
        for name, broker in brokers.items():
            if not isinstance(broker, KeepsItems):
                continue
            for count in 1, BATCH:
                kind = f"{name}, {count} at once" if count > 1 else name
                rows += _measured(broker, broker, kind, count, scale)
    return rows


def _measured(
    publisher: Broker, keeper: KeepsItems, name: str, count: int, scale: Scale
) -> list[Row]:
    channels = itertools.cycle(f"channel:{n}" for n in range(CHANNELS))
    items = itertools.cycle(f"item{n}" for n in range(ITEMS))
    data = itertools.cycle(DATA)

    def publish() -> None:
        channel = next(channels)
        publisher.publish([Event(channel, next(data)) for _ in range(count)])

    def set() -> None:
        channel = next(channels)
        keeper.change([ItemChange(channel, next(items), next(data)) for _ in range(count)])

    # Fill the logs and the items first, so that each call replaces what is there.
    for _ in range(CHANNELS * min(max(KEEP, ITEMS), scale.small)):
        publish()
        set()
    kinds = {"publish": publish, "set": set}
    rows = [Row(f"setting items: {name}", kind, "µs a call") for kind in kinds]
    for _ in range(scale.rounds):
        times: list[list[float]] = [[] for _ in rows]
        end = time.monotonic() + scale.seconds
        while not times[0] or time.monotonic() < end:
            for call, taken in zip(kinds.values(), times, strict=True):
                start = time.perf_counter()
                call()
                taken.append(1e6 * (time.perf_counter() - start))
        for row, taken in zip(rows, times, strict=True):
            row.add(Result(median(taken)), median(times[0]))
    return rows
