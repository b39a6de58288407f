"""Idle streams: what they take, and how plain requests fare beside them."""

from __future__ import annotations

import contextlib
import time
from functools import partial

import servers
from compare import figures
from compare import Result
from compare import Row
from compare import Scale
from compare import started
from compare import take_turns
from processes import kernel_memory
from start.server import Running
from start.server import start

from workloads.fan_out import ALL
from workloads.fan_out import UNIT


def memory(scale: Scale) -> list[Row]:
    """Bytes of the server's memory per idle stream."""
    rows = []
    for server in ALL:
        if not scale.wants(server) and server is not servers.BARE or server.sends_head_late:
            continue
        count = min(scale.large, server.most_readers)
        row = Row(f"memory of {count:,} idle streams", server.name, "bytes a stream")
        if servers.missing(server):
            continue
        rows.append(row)
        running = start(server, count)
        loader = running.loader()
        try:
            # Leave out what the server allocates once, for the first streams.
            running.connect(loader, count // 10)
            before = running.processes.memory()
            answer = running.connect(loader, count)
            time.sleep(0.5)
            taken = running.processes.memory() - before
            row.values.append(taken / (count - count // 10))
            row.faults = answer.faults()
        finally:
            loader.end()
            running.end()
    return rows


def fleet(scale: Scale) -> list[Row]:
    """More streams than a process may have descriptors, on five hub processes; and a fifth
    of them on one, to see what further hubs cost."""
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
    "fan-out, one by one": UNIT,
    "until all have an event": "s",
    "the kernel's memory, of both ends": "bytes a stream",
}


def _fleet(scale: Scale, hubs: int, each: int) -> list[Row]:
    count = hubs * each
    label = f"{count:,} streams, {hubs} hub{'s' if hubs > 1 else ''}"
    rows = [Row(f"a fleet: {name}", label, unit) for name, unit in _FLEET.items()]
    # One interval of heartbeats, so that each stream gets one.
    period = min(15, 30 * scale.seconds)
    config = {"PUSH_HUB_PROCESSES": hubs, "PUSH_MAX_STREAMS": 10 * count}
    running = start(servers.FLASK_PUSH, each, config={**config, "PUSH_HEARTBEAT": period})
    loaders = [running.loader() for _ in range(hubs)]
    try:
        # Leave out what the server allocates once, for the first streams.
        for loader in loaders:
            running.connect(loader, each // 10)
        before, kernel = running.processes.memory(), kernel_memory()
        answers = [running.connect(loader, each) for loader in loaders]
        connected = count - hubs * (each // 10)
        rows[0].values.append((running.processes.memory() - before) / connected)
        rows[4].values.append((kernel_memory() - kernel) / connected)
        pids, spent = running.processes.hub(), running.processes.cpu()
        time.sleep(period)
        idle = running.processes.cpu() - spent
        rows[1].values.append(1e6 * idle / count / period * 60)
        for _ in range(scale.rounds):
            spent, since = running.processes.cpu(pids), time.monotonic()
            for loader in loaders[1:]:
                loader.send("receive", 1, 60)
            received = [loaders[0].run("publish", 1, 0, 60, 1)]
            received += [loader.answer() for loader in loaders[1:]]
            rows[3].values.append(time.monotonic() - since)
            spent = running.processes.cpu(pids) - spent
            rows[2].values.append(sum(answer.events for answer in received) / spent)
            answers += received
        faults = {answer.faults() for answer in answers} - {""}
        rows[0].faults = ", ".join(sorted(faults))
    finally:
        for loader in loaders:
            loader.end()
        running.end()
    return rows


def requests_beside_streams(scale: Scale) -> list[Row]:
    """Plain requests to one sync worker: without streams, and with many."""

    def measure(running: Running) -> Result:
        plain = running.loader("/empty", 0)
        before = running.processes.cpu()
        answer = plain.run("requests", 1000, 8, 30)
        spent = running.processes.cpu() - before
        plain.end()
        return Result(1000 / max(spent, 1e-6), figures(answer), answer.faults())

    sync = ("--worker-class", "sync")
    pairs = []
    with contextlib.ExitStack() as stack:
        for count in 0, scale.large:
            running, loader = started(stack, servers.FLASK_PUSH, count, workers=sync)
            label = f"Flask, {count:,} streams open"
            row = Row("plain requests on one sync worker", label, "requests per CPU second")
            row.faults = running.connect(loader, count).faults()
            pairs.append((row, partial(measure, running)))
        take_turns(pairs, scale.rounds)
    return [row for row, _ in pairs]
