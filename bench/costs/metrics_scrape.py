"""How long the view of the metrics takes, while many streams are open on four hubs.

Each hub stores a row every five seconds, and the view reads these rows. So it should not
matter how many streams there are.
"""

from __future__ import annotations

import contextlib
import http.client
import time
import typing as t
from functools import partial
from statistics import median

import servers
from compare import Result
from compare import Row
from compare import Scale
from compare import started
from compare import take_turns
from start.server import Running

HUBS = 4
# Requests of a turn, and seconds until all hubs have stored the streams.
_REQUESTS, _SECONDS = 50, 60
_UNIT = "ms of a request"


def metrics_scrape(scale: Scale) -> list[Row]:
    """Milliseconds of a scrape, beside a request for an empty view of the same app."""
    rows: list[Row] = []
    for streams in 0, scale.large:
        name = f"a scrape of the metrics while {streams:,} streams are open on {HUBS} hubs"
        config = {"PUSH_METRICS": True, "PUSH_HUB_PROCESSES": HUBS}
        with contextlib.ExitStack() as stack:
            more: dict[str, t.Any] = {"config": config}
            running, loader = started(stack, servers.FLASK_PUSH, streams, **more)
            if streams:
                running.connect(loader, streams)
            faults = _wait(running, streams)
            pairs = [
                (Row(name, "an empty view", _UNIT), partial(_requests, running, "/empty")),
                (Row(name, "push.metrics()", ""), partial(_requests, running, "/metrics")),
            ]
            take_turns(pairs, scale.rounds)
        for row, _ in pairs:
            row.faults = row.faults or faults
            rows.append(row)
    return rows


def _wait(running: Running, streams: int) -> str:
    """Wait until the metrics show all streams."""
    until = time.monotonic() + _SECONDS
    wanted = f"\nflask_push_streams {streams}\n"
    while wanted not in (text := _get(running, "/metrics")[1]):
        if time.monotonic() > until:
            found = [line for line in text.splitlines() if "push_streams " in line]
            return f"{found} instead of {streams:,} streams"
        time.sleep(0.5)
    return ""


def _requests(running: Running, path: str) -> Result:
    times, size = [], 0
    for _ in range(_REQUESTS):
        taken, text = _get(running, path)
        times.append(taken)
        size = len(text)
    return Result(1e3 * median(times), {"bytes": size})


def _get(running: Running, path: str) -> tuple[float, str]:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
    with contextlib.closing(connection):
        # As Prometheus, which keeps its connection: that is not measured.
        connection.connect()
        since = time.perf_counter()
        connection.request("GET", path)
        text = connection.getresponse().read()
        return time.perf_counter() - since, text.decode()
