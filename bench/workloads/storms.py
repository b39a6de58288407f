"""Many readers that connect or reconnect at the same time."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace

import servers
from compare import by_figure
from compare import compare
from compare import figures
from compare import Result
from compare import Row
from compare import Scale
from compare import Wanted
from loader import Loader
from start.server import Running

from workloads.fan_out import UNIT


def connect(scale: Scale) -> list[Row]:
    """All readers connect at once. The reference is as many requests to an empty view."""

    def measure(running: Running, _: Loader) -> Result:
        empty = running.config.get("BENCH_EMPTY")
        # New readers: those of the last turn would send their position.
        fresh = running.loader("/empty" if empty else "")
        group = running.processes
        before, hub_before = group.cpu(), group.cpu(group.hub())
        most = min(200, running.server.at_once)
        answer = fresh.run("requests" if empty else "connect", scale.small, most, 60)
        spent, hub_spent = group.cpu() - before, group.cpu(group.hub()) - hub_before
        fresh.end()
        time.sleep(0.2)
        worker = max(spent - hub_spent, 1e-6)
        more = {**figures(answer), "worker": scale.small / worker}
        return Result(scale.small / max(spent, 1e-6), more, answer.faults())

    sync = {"workers": ("--worker-class", "sync")}
    empty = {"config": {"BENCH_EMPTY": True}}
    wanted: list[Wanted]
    wanted = [("empty Flask view", servers.FLASK_PUSH, {**sync, **empty})]
    wanted += [
        ("Flask-Push", servers.FLASK_PUSH, sync),
        ("Flask-Push on Redis", servers.ON_REDIS, sync),
    ]
    wanted += [servers.BARE, servers.NCHAN, servers.GO, servers.NODE, servers.PUSHPIN]
    wanted += [servers.AIOHTTP, servers.STARLETTE]
    unit = "connections per CPU second"
    name = f"{scale.small:,} readers connect at once"
    rows = compare(name, unit, wanted, scale, scale.small, measure, connect=False)
    # On its own, because the hub may have a processor of its own.
    ours = [row for row in rows if row.server in ("empty Flask view", "Flask-Push")]
    return [*rows, *by_figure(ours, "the worker's own time", unit, "worker")]


def reconnect(scale: Scale) -> list[Row]:
    """All readers lose their connection, miss 100 events, and reconnect at once."""
    return _reconnect(scale, scale.small)


def reconnect_large(scale: Scale) -> list[Row]:
    return _reconnect(scale, scale.large)


def _reconnect(scale: Scale, readers: int) -> list[Row]:
    def measure(running: Running, loader: Loader) -> Result:
        loader.run("disconnect")
        loader.run("publish", 8, 0, 30, 100)
        before, since = running.processes.cpu(), time.monotonic()
        connected = running.connect(loader, readers)
        late = loader.run("catch_up", 60)
        spent = running.processes.cpu() - before
        more = {
            "seconds": time.monotonic() - since,
            "events": connected.events + late.events,
        }
        return Result(readers * 100 / spent, more, connected.faults() or late.faults())

    wanted = [
        servers.NCHAN,
        servers.FLASK_PUSH,
        servers.BEHIND_NGINX,
        servers.BY_TICKET,
        servers.ON_REDIS,
    ]
    name = f"{readers:,} reconnect, 100 missed events each"
    rows = compare(name, UNIT, wanted, scale, readers, measure)
    return [*rows, *by_figure(rows, "until all have them", "s", "seconds")]


# The length of gunicorn's queue by default.
_QUEUE = ("--worker-class", "gthread", "--threads", "4", "--backlog", "2048")
# Plain requests per second.
_RATE = 50


def requests_while_reconnecting(scale: Scale) -> list[Row]:
    """Plain requests after the hub was stopped, while all of its readers reconnect, each
    after its `retry`."""

    def measure(running: Running, loader: Loader) -> Result:
        plain = running.loader("/empty", 0)
        try:
            if running.config.get("BENCH_QUIET"):
                requests = plain.run(
                    "requests", round(500 * scale.seconds), 1000, 60, _RATE
                )
                return Result(
                    requests.p99, {**figures(requests), "back": 0}, requests.faults()
                )
            loader.send("wait_for_end", 30)
            for pid in running.processes.hub():
                os.kill(pid, signal.SIGTERM)
            loader.answer()
            loader.run("publish", 8, 0, 30, 10)
            plain.send("requests", 10**6, 1000, 120, _RATE)
            back = loader.run("reconnect", running.readers, 120)
            late = loader.run("catch_up", 60)
            plain.send("stop")
            requests = plain.answer()
        finally:
            plain.end()
        more = {**figures(requests), "back": back.seconds, "retried": back.retried}
        return Result(
            requests.p99, more, back.faults() or late.faults() or requests.faults()
        )

    quiet = {"config": {"BENCH_QUIET": True}, "workers": _QUEUE}
    wanted: list[Wanted] = [("no reader reconnects", servers.FLASK_PUSH, quiet)]
    for server in servers.FLASK_PUSH, servers.ON_REDIS, servers.BY_TICKET:
        wanted.append((server.name, server, {"workers": _QUEUE}))
    for server in servers.FLASK_PUSH, servers.BY_TICKET:
        at_once = {"config": {"PUSH_RETURN_RATE": 0}, "workers": _QUEUE}
        wanted.append((f"{server.name}, not spread", server, at_once))
    name = f"plain requests while {scale.large:,} reconnect"
    few = replace(scale, rounds=min(3, scale.rounds))
    rows = compare(name, "ms, 99 of 100", wanted, few, scale.large, measure)
    half = by_figure(rows, "half of them", "ms, 50 of 100", "p50")
    return [
        *rows,
        *half,
        *by_figure(rows[1:], "until the last has reconnected", "s", "back"),
    ]
