"""What a word of a run costs the process that writes it, compared with publishing an event.

The processor time of the whole process counts: threads of ours may store the words.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import tempfile
import time
from pathlib import Path

from compare import Result
from compare import Row
from compare import Scale

from costs.redis_scripts import redis_server
from flask_push import Publisher

WORD = "word "
#: Words of a model that pauses between them.
A_SECOND = 50
#: Calls after which the clock is read again, and words of one answer.
CALLS = 200


@contextlib.contextmanager
def _publishers() -> cabc.Iterator[dict[str, Publisher]]:
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = stack.enter_context(redis_server()).url
        urls = {"SQLite": f"sqlite://{directory}/push.db", "Redis": redis}
        publishers = {name: Publisher(url) for name, url in urls.items()}
        for publisher in publishers.values():
            stack.callback(publisher.close)
        yield publishers


def run_writes(scale: Scale) -> list[Row]:
    """Microseconds of a word: by ``write``, by ``write_all`` without and with pauses, and
    as a ratio to ``publish``."""
    rows: list[Row] = []
    with _publishers() as publishers:
        for name, publisher in publishers.items():
            rows += _measured(publisher, name, scale)
    return rows


def _measured(publisher: Publisher, name: str, scale: Scale) -> list[Row]:
    def publish(end: float) -> int:
        count = 0
        while time.monotonic() < end:
            for _ in range(CALLS):
                publisher.publish("events", WORD)
            count += CALLS
        return count

    def write(end: float) -> int:
        count = 0
        with publisher.run("written") as run:
            while time.monotonic() < end:
                for _ in range(CALLS):
                    run.write(WORD)
                count += CALLS
        return count

    def write_all(end: float) -> int:
        with publisher.run("all") as run:
            written = run.write_all(_words(end))
        return len(written)

    def write_slowly(end: float) -> int:
        with publisher.run("slow") as run:
            written = run.write_all(_words(end, 1 / A_SECOND))
        return len(written)

    ways = {
        "publish": publish,
        "write": write,
        "write_all": write_all,
        f"write_all, {A_SECOND} a second": write_slowly,
    }
    rows = [Row(f"words of a run: {name}", way, "µs of CPU a word") for way in ways]
    for _ in range(scale.rounds):
        costs = []
        for way in ways.values():
            spent = time.process_time()
            count = way(time.monotonic() + scale.seconds)
            costs.append(1e6 * (time.process_time() - spent) / count)
        for row, cost in zip(rows, costs, strict=True):
            row.add(Result(cost), costs[0])
    return rows


def _words(end: float, pause: float = 0) -> cabc.Iterator[str]:
    while time.monotonic() < end:
        if pause:
            time.sleep(pause)
        yield WORD
