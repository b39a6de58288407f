"""What `publish` costs the process that calls it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from functools import partial

import servers
from compare import by_figure
from compare import Result
from compare import Row
from compare import Scale
from compare import take_turns
from processes import HERE
from start.server import start


def publishing(scale: Scale) -> list[Row]:
    """What `publish` costs its caller, for each store."""
    with contextlib.ExitStack() as stack:
        store = start(servers.ON_REDIS, 0)
        stack.callback(store.end)
        ports = [port for port in store.processes.ports if port != store.port]
        urls = {
            "memory": "memory:",
            "SQLite": f"sqlite://{store.directory}/bench.db",
            "Redis": f"redis://127.0.0.1:{ports[0]}",
        }
        pairs = [
            (Row("publishing", label, "µs of CPU an event"), partial(_publish, *words))
            for label, words in _publishers(urls, scale.seconds).items()
        ]
        take_turns(pairs, scale.rounds)
    rows = [row for row, _ in pairs]
    return [*rows, *by_figure(rows, "how many", "events a second", "rate")]


def _publishers(
    urls: dict[str, str], seconds: float
) -> dict[str, tuple[str, int, int, float]]:
    """One event at a time and in batches, from one process and from two."""
    found = {}
    for broker, url in urls.items():
        for processes in (1,) if broker == "memory" else (1, 2):
            for batch in 1, 100:
                label = f"{broker}, {f'{batch} at once' if batch > 1 else 'one by one'}"
                label += f", {processes} processes" if processes > 1 else ""
                found[label] = url, batch, processes, seconds
    return found


def _publish(url: str, batch: int, processes: int, seconds: float) -> Result:
    words = [sys.executable, "-P", HERE / "apps" / "publish.py", url, batch, seconds]
    started = [
        subprocess.Popen([*map(str, words)], stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    answers = [json.loads(process.communicate()[0]) for process in started]
    spent: float = sum(answer["cpu"] for answer in answers)
    events: int = sum(answer["events"] for answer in answers)
    return Result(1e6 * spent / events, {"rate": events / seconds})
