"""Events to many readers."""

from __future__ import annotations

import time
import typing as t

import servers
from compare import by_figure
from compare import compare
from compare import figures
from compare import latency_at
from compare import per_cpu
from compare import Result
from compare import Row
from compare import Scale
from compare import Wanted
from loader import Loader
from start.server import Running
from start.server import Server

UNIT = "events per CPU second"
ALL = [servers.BARE, servers.LOSSY, servers.HUB_ALONE, servers.FLASK_PUSH]
ALL += [servers.ON_REDIS, *servers.PEERS]
_ALL_AND_JOINED = [servers.BARE, servers.JOINED, *ALL[1:]]


def fan_out(scale: Scale) -> list[Row]:
    """One channel, one event in flight: each is written separately."""
    measure = per_cpu(1, scale.seconds)
    name = f"fan-out to {scale.small:,}, one by one"
    return compare(name, UNIT, ALL, scale, scale.small, measure)


def fan_out_joined(scale: Scale) -> list[Row]:
    """One channel, 32 events in flight: a server may join those that wait."""
    measure = per_cpu(32, scale.seconds)
    name = f"fan-out to {scale.small:,}, as fast as it goes"
    return compare(name, UNIT, _ALL_AND_JOINED, scale, scale.small, measure)


def fan_out_large(scale: Scale) -> list[Row]:
    measure = per_cpu(1, scale.seconds)
    name = f"fan-out to {scale.large:,}, one by one"
    return compare(name, UNIT, ALL, scale, scale.large, measure)


def fan_out_large_joined(scale: Scale) -> list[Row]:
    measure = per_cpu(8, scale.seconds)
    name = f"fan-out to {scale.large:,}, as fast as it goes"
    return compare(name, UNIT, _ALL_AND_JOINED, scale, scale.large, measure)


def latency(scale: Scale) -> list[Row]:
    name = f"latency, {scale.small:,} readers, 10 events a second"
    measure = latency_at(10, max(1, scale.seconds))
    return compare(name, "ms, 99 of 100", ALL, scale, scale.small, measure)


def many_channels(scale: Scale) -> list[Row]:
    n = scale.small
    name = f"{n:,} channels with a reader each"
    measure = per_cpu(n, scale.seconds)
    batches = [servers.IN_BATCHES, servers.IN_MEMORY, servers.IN_MEMORY_OF_UWSGI]
    wanted = [*ALL[:4], *batches, *ALL[4:]]
    return compare(name, UNIT, wanted, scale, n, measure, channels=n)


def several_channels(scale: Scale) -> list[Row]:
    """Readers of ten channels out of a hundred, in many combinations."""
    several = [server for server in ALL if server.several_channels]
    measure = per_cpu(32, scale.seconds)
    name = f"{scale.small:,} readers, 10 of 100 channels each"
    given = [(server.name, server, {"channels_per_reader": 10}) for server in several]
    return compare(name, UNIT, given, scale, scale.small, measure, channels=100)


def slow_readers(scale: Scale) -> list[Row]:
    """A tenth of the readers stops reading, and later receives all that it missed."""

    def measure(running: Running, loader: Loader) -> Result:
        loader.run("pause", scale.small // 10)
        before = running.processes.cpu()
        # More events than their sockets hold.
        answer = loader.run("publish", 32, 0, 2 * scale.seconds, 700)
        spent = running.processes.cpu() - before
        late = loader.run("catch_up", 20)
        faults = answer.faults() or late.faults()
        return Result(answer.events / max(spent, 1e-6), figures(answer), faults)

    wanted = [servers.BARE, servers.HUB_ALONE, servers.FLASK_PUSH, servers.NCHAN]
    name = f"fan-out to {scale.small:,}, a tenth of them stopped"
    return compare(name, UNIT, wanted, scale, scale.small, measure)


def busy_view(scale: Scale) -> list[Row]:
    """Events delivered while a view computes, by a hub in a process and by one in a thread.

    They are published through another server of the app, because a request to the busy one
    would have to wait as well.
    """

    def measure(running: Running, loader: Loader) -> Result:
        hub = running.processes.hub()
        publish = per_cpu(1, scale.seconds, only_hub=bool(hub))
        computing = None
        if running.config.get("BENCH_COMPUTES"):
            computing = running.loader(f"/compute?seconds={scale.seconds + 1}", 0)
            computing.send("requests", 1, 1, 60)
            time.sleep(0.2)
        try:
            figure, more, faults = publish(running, loader)
            if computing:
                computing.answer()
        finally:
            if computing:
                computing.end()
        return Result(more["events_per_second"], {**more, "per_cpu": figure}, faults)

    def app(hub: str, computes: bool) -> tuple[str, Server, dict[str, t.Any]]:
        config = {"PUSH_HUB": hub, "BENCH_COMPUTES": computes}
        label = f"Flask-Push, hub in a {hub}, {'a view computes' if computes else 'quiet'}"
        return label, servers.FLASK_PUSH, {"config": config, "separate_publisher": True}

    wanted: list[Wanted] = [servers.BARE, app("process", False), app("process", True)]
    wanted += [app("thread", False), app("thread", True)]
    name = f"fan-out to {scale.small:,} beside a busy view"
    rows = compare(name, "events per second", wanted, scale, scale.small, measure)
    # The time of a thread can't be told apart from that of its process, the worker.
    return [*rows, *by_figure(rows[:3], "the hub's own time", UNIT, "per_cpu")]
