"""What is measured of readers that come, or come back, all at once."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace

import kinds
from kinds import Running
from machine import Loader
from turns import also
from turns import compare
from turns import Row
from turns import Scale
from turns import told
from turns import Turn
from turns import Wanted


def storm(scale: Scale) -> list[Row]:
    """All readers come at once, and leave again; the empty view is a request each."""

    def act(running: Running, _: Loader) -> Turn:
        empty = running.config.get("BENCH_EMPTY")
        # Not those of the last turn, who would say where they were.
        fresh = running.loader("/empty" if empty else "")
        group = running.group
        before, hub_before = group.cpu(), group.cpu(group.hub())
        most = min(200, running.kind.at_once)
        answer = fresh.do("requests" if empty else "come", scale.small, most, 60)
        spent, hub_spent = group.cpu() - before, group.cpu(group.hub()) - hub_before
        fresh.end()
        time.sleep(0.2)
        worker = max(spent - hub_spent, 1e-6)
        more = {**told(answer), "worker": scale.small / worker}
        return Turn(scale.small / max(spent, 1e-6), more, answer.faults())

    sync = {"workers": ("--worker-class", "sync")}
    empty = {"config": {"BENCH_EMPTY": True}}
    wanted: list[Wanted]
    wanted = [("empty Flask view", kinds.OURS, {**sync, **empty})]
    wanted += [("Flask-Push", kinds.OURS, sync), ("Flask-Push on Redis", kinds.REDIS, sync)]
    wanted += [kinds.BARE, kinds.NCHAN, kinds.GO, kinds.NODE, kinds.PUSHPIN]
    wanted += [kinds.AIOHTTP, kinds.STARLETTE]
    unit = "connections per CPU second"
    name = f"{scale.small:,} readers come at once"
    rows = compare(name, unit, wanted, scale, scale.small, act, come=False)
    # The hub may have a processor of its own.
    ours = [row for row in rows if row.server in ("empty Flask view", "Flask-Push")]
    return [*rows, *also(ours, "the worker's own time", unit, "worker")]


def come_back(scale: Scale) -> list[Row]:
    """All readers are cut off, miss 100 events, and come back at once."""
    return _come_back(scale, scale.small)


def come_back_large(scale: Scale) -> list[Row]:
    return _come_back(scale, scale.large)


def _come_back(scale: Scale, readers: int) -> list[Row]:
    def act(running: Running, loader: Loader) -> Turn:
        loader.do("leave")
        loader.do("burst", 8, 0, 30, 100)
        before, since = running.group.cpu(), time.monotonic()
        came = running.come(loader, readers)
        late = loader.do("catch_up", 60)
        spent = running.group.cpu() - before
        more = {"seconds": time.monotonic() - since, "events": came.events + late.events}
        return Turn(readers * 100 / spent, more, came.faults() or late.faults())

    wanted = [kinds.NCHAN, kinds.OURS, kinds.BEHIND, kinds.TICKET, kinds.REDIS]
    name = f"{readers:,} come back, 100 missed events each"
    rows = compare(name, "events per CPU second", wanted, scale, readers, act)
    return [*rows, *also(rows, "until all have them", "s", "seconds")]


# What browsers that were all cut off at once do, and what becomes of others meanwhile.
# A queue of 2,048 is what gunicorn has if it is told nothing.
_QUEUE = ("--worker-class", "gthread", "--threads", "4", "--backlog", "2048")
# Plain requests in each second.
_RATE = 50


def beside_a_storm(scale: Scale) -> list[Row]:
    """Plain requests while the hub is told to end, and all of its readers come back, each
    when it was told to."""

    def act(running: Running, loader: Loader) -> Turn:
        plain = running.loader("/empty", 0)
        try:
            if running.config.get("BENCH_QUIET"):
                beside = plain.do("requests", round(500 * scale.seconds), 1000, 60, _RATE)
                return Turn(beside.p99, {**told(beside), "back": 0}, beside.faults())
            loader.tell("lose", 30)
            for pid in running.group.hub():
                os.kill(pid, signal.SIGTERM)
            loader.answer()
            loader.do("burst", 8, 0, 30, 10)
            plain.tell("requests", 10**6, 1000, 120, _RATE)
            back = loader.do("come_back", running.readers, 120)
            late = loader.do("catch_up", 60)
            plain.tell("stop")
            beside = plain.answer()
        finally:
            plain.end()
        more = {**told(beside), "back": back.seconds, "again": back.again}
        return Turn(beside.p99, more, back.faults() or late.faults() or beside.faults())

    quiet = {"config": {"BENCH_QUIET": True}, "workers": _QUEUE}
    wanted: list[Wanted] = [("no storm", kinds.OURS, quiet)]
    for kind in kinds.OURS, kinds.REDIS, kinds.TICKET:
        wanted.append((kind.name, kind, {"workers": _QUEUE}))
    for kind in kinds.OURS, kinds.TICKET:
        crowd = {"config": {"PUSH_RETURN_RATE": 0}, "workers": _QUEUE}
        wanted.append((f"{kind.name}, nobody held back", kind, crowd))
    name = f"plain requests while {scale.large:,} come back"
    few = replace(scale, rounds=min(3, scale.rounds))
    rows = compare(name, "ms, 99 of 100", wanted, few, scale.large, act)
    half = also(rows, "half of them", "ms, 50 of 100", "p50")
    return [*rows, *half, *also(rows[1:], "until the last is back", "s", "back")]
