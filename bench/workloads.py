"""What is measured, and how each of it is called."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import subprocess
import sys
import time
import typing as t

import kinds
import storms
from kinds import Kind
from kinds import Running
from kinds import start
from machine import HERE
from machine import kernel_memory
from machine import Loader
from turns import also
from turns import compare
from turns import latency
from turns import per_cpu
from turns import Row
from turns import Scale
from turns import started
from turns import told
from turns import Turn
from turns import Wanted

# Events.

_UNIT = "events per CPU second"
FAST = [kinds.BARE, kinds.LOSSY, kinds.DIRECT, kinds.OURS, kinds.REDIS, *kinds.PEERS]
_FULL = [kinds.BARE, kinds.BATCH, *FAST[1:]]


def fan_out(scale: Scale) -> list[Row]:
    """One channel, one event under way: each is written by itself."""
    act = per_cpu(1, scale.seconds)
    name = f"fan-out to {scale.small:,}, one by one"
    return compare(name, _UNIT, FAST, scale, scale.small, act)


def fan_out_joined(scale: Scale) -> list[Row]:
    """One channel, 32 events under way: what waits can be written at once."""
    act = per_cpu(32, scale.seconds)
    name = f"fan-out to {scale.small:,}, as fast as it goes"
    return compare(name, _UNIT, _FULL, scale, scale.small, act)


def fan_out_large(scale: Scale) -> list[Row]:
    act = per_cpu(1, scale.seconds)
    name = f"fan-out to {scale.large:,}, one by one"
    return compare(name, _UNIT, FAST, scale, scale.large, act)


def fan_out_large_joined(scale: Scale) -> list[Row]:
    act = per_cpu(8, scale.seconds)
    name = f"fan-out to {scale.large:,}, as fast as it goes"
    return compare(name, _UNIT, _FULL, scale, scale.large, act)


def steady(scale: Scale) -> list[Row]:
    name = f"latency, {scale.small:,} readers, 10 events a second"
    act = latency(10, max(1, scale.seconds))
    return compare(name, "ms, 99 of 100", FAST, scale, scale.small, act)


def many_channels(scale: Scale) -> list[Row]:
    n = scale.small
    name = f"{n:,} channels with a reader each"
    act = per_cpu(n, scale.seconds)
    wanted = [*FAST[:4], kinds.BATCHES, kinds.MEMORY, *FAST[4:]]
    return compare(name, _UNIT, wanted, scale, n, act, channels=n)


def several_channels(scale: Scale) -> list[Row]:
    """Readers of ten channels out of a hundred, so that their sets differ."""
    several = [kind for kind in FAST if kind.several]
    act = per_cpu(32, scale.seconds)
    name = f"{scale.small:,} readers, 10 of 100 channels each"
    return compare(name, _UNIT, several, scale, scale.small, act, channels=100, per=10)


def slow_readers(scale: Scale) -> list[Row]:
    """A tenth of the readers stops to read, and then has to get all of it."""

    def act(running: Running, loader: Loader) -> Turn:
        # More than their sockets hold.
        loader.do("pause", scale.small // 10)
        before = running.group.cpu()
        answer = loader.do("burst", 32, 0, 2 * scale.seconds, 700)
        spent = running.group.cpu() - before
        late = loader.do("catch_up", 20)
        faults = answer.faults() or late.faults()
        return Turn(answer.events / max(spent, 1e-6), told(answer), faults)

    wanted = [kinds.BARE, kinds.DIRECT, kinds.OURS, kinds.NCHAN]
    name = f"fan-out to {scale.small:,}, a tenth of them stopped"
    return compare(name, _UNIT, wanted, scale, scale.small, act)


def beside_a_busy_view(scale: Scale) -> list[Row]:
    """What comes through while a view computes: to a hub that is a process, and to one
    that is a thread of the worker. Events come from another server of the app's, for a
    request to the busy one would itself have to wait."""

    def act(running: Running, loader: Loader) -> Turn:
        hub = running.group.hub()
        turn = per_cpu(1, scale.seconds, only_hub=bool(hub))
        burner = None
        if running.config.get("BENCH_BURNS"):
            burner = running.loader(f"/burn?seconds={scale.seconds + 1}", 0)
            burner.tell("requests", 1, 1, 60)
            time.sleep(0.2)
        try:
            figure, more, faults = turn(running, loader)
            if burner:
                burner.answer()
        finally:
            if burner:
                burner.end()
        return Turn(more["events_per_second"], {**more, "per_cpu": figure}, faults)

    def ours(hub: str, burns: bool) -> tuple[str, Kind, dict[str, t.Any]]:
        config = {"PUSH_HUB": hub, "BENCH_BURNS": burns}
        label = f"Flask-Push, hub in a {hub}, {'a view computes' if burns else 'quiet'}"
        return label, kinds.OURS, {"config": config, "apart": True}

    wanted: list[Wanted] = [kinds.BARE, ours("process", False), ours("process", True)]
    wanted += [ours("thread", False), ours("thread", True)]
    name = f"fan-out to {scale.small:,} beside a busy view"
    rows = compare(name, "events per second", wanted, scale, scale.small, act)
    # What a thread takes is not to be told from what its process does.
    return [*rows, *also(rows[:3], "the hub's own time", _UNIT, "per_cpu")]


# What idle streams cost.


def memory(scale: Scale) -> list[Row]:
    """Bytes of the server's memory that a stream takes, when many are idle."""
    rows = []
    for kind in FAST:
        if not scale.wants(kind) and kind is not kinds.BARE or kind.silent:
            continue
        count = min(scale.large, kind.most)
        row = Row(f"memory of {count:,} idle streams", kind.name, "bytes a stream")
        if kinds.missing(kind):
            continue
        rows.append(row)
        running = start(kind, count)
        loader = running.loader()
        try:
            # What the first few take is taken once.
            running.come(loader, count // 10)
            before = running.group.memory()
            answer = running.come(loader, count)
            time.sleep(0.5)
            taken = running.group.memory() - before
            row.values.append(taken / (count - count // 10))
            row.faults = answer.faults()
        finally:
            loader.end()
            running.end()
    return rows


def fleet(scale: Scale) -> list[Row]:
    """More streams than a process has descriptors: over five hub processes; and a fifth
    of them in one, to see what more hubs cost."""
    rows: list[Row] = []
    for hubs in 1, 5:
        rows += _fleet(scale, hubs, scale.fleet // 5)
    for one, several in zip(rows[:5], rows[5:], strict=True):
        one.ratios = [1.0] * len(one.values)
        several.ratios = [v / one.value if one.value else 0 for v in several.values]
    return sorted(rows, key=lambda row: row.workload)


_FLEET = {
    "memory of idle streams": "bytes a stream",
    "idling": "µs of CPU a stream and minute",
    "fan-out, one by one": _UNIT,
    "until all have an event": "s",
    "the kernel's memory, of both ends": "bytes a stream",
}


def _fleet(scale: Scale, hubs: int, each: int) -> list[Row]:
    count = hubs * each
    label = f"{count:,} streams, {hubs} hub{'s' if hubs > 1 else ''}"
    rows = [Row(f"a fleet: {name}", label, unit) for name, unit in _FLEET.items()]
    # As long as one heartbeat takes, so that all are touched once.
    period = min(15, 30 * scale.seconds)
    config = {"PUSH_HUB_PROCESSES": hubs, "PUSH_MAX_STREAMS": 10 * count}
    running = start(kinds.OURS, each, config={**config, "PUSH_HEARTBEAT": period})
    loaders = [running.loader() for _ in range(hubs)]
    try:
        # What the first few take is taken once.
        for loader in loaders:
            running.come(loader, each // 10)
        before, kernel = running.group.memory(), kernel_memory()
        answers = [running.come(loader, each) for loader in loaders]
        came = count - hubs * (each // 10)
        rows[0].values.append((running.group.memory() - before) / came)
        rows[4].values.append((kernel_memory() - kernel) / came)
        pids, spent = running.group.hub(), running.group.cpu()
        time.sleep(period)
        idle = running.group.cpu() - spent
        rows[1].values.append(1e6 * idle / count / period * 60)
        for _ in range(scale.rounds):
            spent, since = running.group.cpu(pids), time.monotonic()
            for loader in loaders[1:]:
                loader.tell("listen", 1, 60)
            heard = [loaders[0].do("burst", 1, 0, 60, 1)]
            heard += [loader.answer() for loader in loaders[1:]]
            rows[3].values.append(time.monotonic() - since)
            spent = running.group.cpu(pids) - spent
            rows[2].values.append(sum(answer.events for answer in heard) / spent)
            answers += heard
        faults = {answer.faults() for answer in answers} - {""}
        rows[0].faults = ", ".join(sorted(faults))
    finally:
        for loader in loaders:
            loader.end()
        running.end()
    return rows


def beside_streams(scale: Scale) -> list[Row]:
    """Plain requests to one sync worker: with no stream, and with many."""

    def act(running: Running, loader: Loader) -> Turn:
        plain = running.loader("/empty", 0)
        before = running.group.cpu()
        answer = plain.do("requests", 1000, 8, 30)
        spent = running.group.cpu() - before
        plain.end()
        return Turn(1000 / max(spent, 1e-6), told(answer), answer.faults())

    def prepare(streams: int) -> tuple[str, Kind, dict[str, t.Any]]:
        sync = {"workers": ("--worker-class", "sync"), "readers": streams}
        return f"Flask, {streams:,} streams open", kinds.OURS, sync

    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        pairs = []
        for label, kind, given in prepare(0), prepare(scale.large):
            running, loader = started(stack, kind, **given)
            faults = running.come(loader, running.readers).faults()
            row = Row("plain requests on one sync worker", label, "requests per CPU second")
            row.faults = faults
            rows.append(row)
            pairs.append((row, running, loader))
        for _ in range(scale.rounds):
            measure = 0.0
            for row, running, loader in pairs:
                turn = act(running, loader)
                measure = measure or turn.figure
                row.values.append(turn.figure)
                row.ratios.append(turn.figure / measure)
                row.more = turn.more
                row.faults = row.faults or turn.faults
    return rows


# Publishing.


def publishing(scale: Scale) -> list[Row]:
    """What `publish` costs the one who calls it, and a Redis beside it."""
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        store = start(kinds.REDIS, 0)
        stack.callback(store.end)
        ports = [port for port in store.group.ports if port != store.port]
        urls = {
            "memory": "memory:",
            "SQLite": f"sqlite://{store.directory}/bench.db",
            "Redis": f"redis://127.0.0.1:{ports[0]}",
        }
        for _ in range(scale.rounds):
            for at, (label, words) in enumerate(_publishers(urls).items()):
                if len(rows) == at:
                    rows.append(Row("publishing", label, "µs of CPU an event"))
                row = rows[at]
                cost, rate = _publish(*words, scale.seconds)
                row.values.append(cost)
                row.ratios.append(cost / rows[0].values[-1])
                row.turns.append(Turn(cost, {"rate": rate}, ""))
    return [*rows, *also(rows, "how many", "events a second", "rate")]


def _publishers(urls: dict[str, str]) -> dict[str, tuple[str, int, int]]:
    """One by one and in batches, from one process and from several."""
    found = {}
    for broker, url in urls.items():
        for processes in (1,) if broker == "memory" else (1, 2):
            for batch in 1, 100:
                label = f"{broker}, {f'{batch} at once' if batch > 1 else 'one by one'}"
                label += f", {processes} processes" if processes > 1 else ""
                found[label] = url, batch, processes
    return found


def _publish(url: str, batch: int, processes: int, seconds: float) -> tuple[float, float]:
    words = [sys.executable, "-P", HERE / "apps" / "publish.py", url, batch, seconds]
    started = [
        subprocess.Popen([*map(str, words)], stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    answers = [json.loads(process.communicate()[0]) for process in started]
    spent: float = sum(answer["cpu"] for answer in answers)
    events: int = sum(answer["events"] for answer in answers)
    return 1e6 * spent / events, events / seconds


WORKLOADS: dict[str, cabc.Callable[[Scale], list[Row]]] = {
    "fan_out": fan_out,
    "fan_out_joined": fan_out_joined,
    "fan_out_large": fan_out_large,
    "fan_out_large_joined": fan_out_large_joined,
    "steady": steady,
    "many_channels": many_channels,
    "several_channels": several_channels,
    "slow_readers": slow_readers,
    "beside_a_busy_view": beside_a_busy_view,
    "storm": storms.storm,
    "come_back": storms.come_back,
    "come_back_large": storms.come_back_large,
    "beside_a_storm": storms.beside_a_storm,
    "memory": memory,
    "beside_streams": beside_streams,
    "publishing": publishing,
    "fleet": fleet,
}
