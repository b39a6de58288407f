"""What is measured. Each workload has all its servers running at once, idle but one.

They take turns, a moment each, round after round: so what else the machine does meanwhile
hits all of them, and a figure is the median of each round's ratio to the bare C server.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import partial
from statistics import median

import kinds
from kinds import Kind
from kinds import Running
from kinds import start
from machine import Answer
from machine import HERE
from machine import Loader


@dataclass(frozen=True)
class Scale:
    """How long a run takes."""

    rounds: int
    seconds: float
    small: int = 1000
    large: int = 10_000
    fleet: int = 50_000
    kinds: cabc.Collection[str] = ()
    without: cabc.Collection[str] = ()
    #: Where another version of Flask-Push is, to stand beside this one.
    before: str = ""

    def wants(self, kind: Kind) -> bool:
        wanted = kind.name in self.kinds if self.kinds else not kind.hidden
        return wanted and kind.name not in self.without


@dataclass
class Row:
    """What one server did."""

    workload: str
    server: str
    unit: str
    #: One for each round.
    values: list[float] = field(default_factory=list)
    #: To the server that is the measure, in the same round.
    ratios: list[float] = field(default_factory=list)
    more: dict[str, float] = field(default_factory=dict)
    #: What must not be: events that were lost, readers that were refused.
    faults: str = ""
    #: Why it was not measured.
    absent: str = ""
    turns: list[Turn] = field(default_factory=list)

    @property
    def value(self) -> float:
        return median(self.values) if self.values else 0

    @property
    def ratio(self) -> float:
        return median(self.ratios) if self.ratios else 0

    def as_json(self) -> dict[str, t.Any]:
        found = {"workload": self.workload, "server": self.server, "unit": self.unit}
        spread = [min(self.ratios), max(self.ratios)] if self.ratios else []
        figures = {"value": self.value, "ratio": self.ratio, "spread": spread}
        return {**found, **figures, "rounds": len(self.values), **self.more} | {
            "faults": self.faults,
            "absent": self.absent,
        }


#: One turn of a server: a figure, what else there is to tell, and what went wrong.
class Turn(t.NamedTuple):
    figure: float
    more: dict[str, float]
    faults: str


Act = cabc.Callable[[Running, Loader], Turn]
#: A server; or what to call it, and how to start it.
Wanted = Kind | tuple[str, Kind, dict[str, t.Any]]


def compare(
    name: str,
    unit: str,
    wanted: cabc.Iterable[Wanted],
    scale: Scale,
    readers: int,
    act: Act,
    come: bool = True,
    **more: t.Any,
) -> list[Row]:
    """Let servers take turns. The first is the measure.

    :param come: Whether the readers come before that.
    """
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        pairs: list[tuple[Row, Running, Loader]] = []
        for label, kind, given in _with_before(wanted, scale.before):
            if pairs and not scale.wants(kind):
                continue
            row = Row(name, label, unit)
            rows.append(row)
            if readers > kind.most or kinds.missing(kind):
                row.absent = kinds.missing(kind) and f"no {kinds.missing(kind)}"
                row.absent = row.absent or f"not with {readers:,} readers"
                continue
            try:
                running, loader = _started(stack, kind, readers, **{**more, **given})
                if come:
                    _fill(running, loader)
                pairs.append((row, running, loader))
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                row.absent = str(error)[-300:]
        for number in range(scale.rounds):
            measure = 0.0
            # In another order each time, but for the measure.
            others = pairs[1:]
            at = number % max(1, len(others))
            for row, running, loader in [*pairs[:1], *others[at:], *others[:at]]:
                turn = act(running, loader)
                measure = measure or turn.figure
                row.values.append(turn.figure)
                row.ratios.append(turn.figure / measure if measure else 0)
                row.more = turn.more
                row.faults = row.faults or turn.faults
                row.turns.append(turn)
    return rows


def _with_before(
    wanted: cabc.Iterable[Wanted], source: str
) -> cabc.Iterator[tuple[str, Kind, dict[str, t.Any]]]:
    for kind in wanted:
        label, kind, given = kind if isinstance(kind, tuple) else (kind.name, kind, {})
        yield label, kind, given
        if source and kind.name.startswith("Flask-Push"):
            yield f"{label}, before", kind, {**given, "source": source}


def _started(
    stack: contextlib.ExitStack, kind: Kind, readers: int, **more: t.Any
) -> tuple[Running, Loader]:
    running = start(kind, readers, **more)
    stack.callback(running.end)
    loader = running.loader()
    stack.callback(loader.end)
    return running, loader


def _fill(running: Running, loader: Loader) -> None:
    readers, silent = running.readers, running.kind.silent
    came = running.come(loader, readers)
    warm = loader.do("warm", 20)
    faults = warm.faults() or ("" if silent else came.faults())
    if faults or warm.open < readers:
        raise RuntimeError(f"{warm.open:,} of {readers:,} came; {faults}")


def per_cpu(
    window: int, seconds: float, rate: float = 0, only_hub: bool = False, most: int = 10**9
) -> Act:
    """Events delivered in each second of the server's processor time."""

    def act(running: Running, loader: Loader) -> Turn:
        pids = running.group.hub() if only_hub else running.group.pids()
        before = running.group.cpu(pids)
        answer = loader.do("burst", window, rate, seconds, most)
        spent = running.group.cpu(pids) - before
        return Turn(answer.events / max(spent, 1e-6), told(answer), answer.faults())

    return act


def latency(rate: float, seconds: float) -> Act:
    """What one event in a hundred takes longer than, from its publishing on."""

    def act(running: Running, loader: Loader) -> Turn:
        answer = loader.do("burst", 1000, rate, seconds, 10**9)
        return Turn(answer.p99, told(answer), answer.faults())

    return act


def told(answer: Answer) -> dict[str, float]:
    """What is worth keeping of a turn beside its figure."""
    return {
        "events": answer.events,
        "events_per_second": answer.events / answer.seconds,
        "bytes": answer.bytes,
        "loader_share": answer.cpu / answer.seconds,
        "p50": answer.p50,
        "p99": answer.p99,
        "p999": answer.p999,
    }


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
    wanted = [*FAST[:4], kinds.BATCHES, *FAST[4:]]
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
    """The hub's own time, while a view computes; and how much comes through then."""
    quiet = per_cpu(1, scale.seconds, only_hub=True)

    def act(running: Running, loader: Loader) -> Turn:
        if running.kind.name == kinds.BARE.name:
            return per_cpu(1, scale.seconds)(running, loader)
        if not running.config.get("BENCH_BURNS"):
            return quiet(running, loader)
        burner = running.loader(f"/burn?seconds={scale.seconds + 1}", 0)
        burner.tell("requests", 1, 1, 60)
        time.sleep(0.2)
        try:
            turn = quiet(running, loader)
            burner.answer()
        finally:
            burner.end()
        return turn

    def ours(hub: str, burns: bool) -> tuple[str, Kind, dict[str, t.Any]]:
        config = {"PUSH_HUB": hub, "BENCH_BURNS": burns}
        label = f"Flask-Push, hub in a {hub}, {'a view computes' if burns else 'quiet'}"
        return label, kinds.OURS, {"config": config}

    wanted: list[Wanted] = [kinds.BARE, ours("process", False), ours("process", True)]
    name = f"fan-out to {scale.small:,} beside a busy view"
    return compare(
        name, "events per CPU second of the hub", wanted, scale, scale.small, act
    )


# Coming, and coming back.


def storm(scale: Scale) -> list[Row]:
    """All readers come at once, and leave again; the empty view is a request each."""

    def act(running: Running, _: Loader) -> Turn:
        empty = running.config.get("BENCH_EMPTY")
        # Not those of the last turn, who would say where they were.
        fresh = running.loader("/empty" if empty else "")
        before = running.group.cpu()
        answer = fresh.do("requests" if empty else "come", scale.small, 200, 60)
        spent = running.group.cpu() - before
        fresh.end()
        time.sleep(0.2)
        return Turn(scale.small / max(spent, 1e-6), told(answer), answer.faults())

    sync = {"workers": ("--worker-class", "sync")}
    empty = {"config": {"BENCH_EMPTY": True}}
    wanted: list[Wanted]
    wanted = [("empty Flask view", kinds.OURS, {**sync, **empty})]
    wanted += [("Flask-Push", kinds.OURS, sync), kinds.BARE, kinds.NCHAN, kinds.GO]
    wanted += [kinds.NODE, kinds.AIOHTTP, kinds.STARLETTE]
    unit = "connections per CPU second"
    name = f"{scale.small:,} readers come at once"
    return compare(name, unit, wanted, scale, scale.small, act, come=False)


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
    return [*rows, *map(partial(_until_live, rows[0]), rows)]


def _until_live(measure: Row, row: Row) -> Row:
    """The same turns, by how long it took until everybody had everything."""
    found = replace(row, workload=f"{row.workload}: until all have them", unit="s")
    found.values = [turn.more["seconds"] for turn in row.turns]
    found.ratios = (
        [
            turn.more["seconds"] / beside.more["seconds"]
            for turn, beside in zip(row.turns, measure.turns, strict=True)
        ]
        if row.turns
        else []
    )
    return found


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
    """More streams than a process has descriptors: over several hub processes."""
    each = 10_000
    hubs = max(1, -(-scale.fleet // each))
    config = {"PUSH_HUB_PROCESSES": hubs, "PUSH_MAX_STREAMS": 10 * scale.fleet}
    running = start(kinds.OURS, each, config=config)
    loaders: list[Loader] = []
    name = f"memory of {scale.fleet:,} idle streams"
    row = Row(name, f"Flask-Push, {hubs} hubs", "bytes a stream")
    try:
        loaders = [running.loader() for _ in range(hubs)]
        running.come(loaders[0], 1000)
        before = running.group.memory()
        answers = [running.come(loader, each) for loader in loaders]
        row.values.append((running.group.memory() - before) / (hubs * each - 1000))
        row.more = {"seconds": sum(answer.seconds for answer in answers)}
        row.faults = next(filter(None, (answer.faults() for answer in answers)), "")
    finally:
        for loader in loaders:
            loader.end()
        running.end()
    return [row]


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
            running, loader = _started(stack, kind, **given)
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
        found: dict[str, Row] = {}
        for _ in range(scale.rounds):
            for broker, url in urls.items():
                for batch, processes in (1, 1), (100, 1), (1, 2):
                    if broker == "memory" and processes > 1:
                        continue
                    label = f"{broker}, {f'{batch} at once' if batch > 1 else 'one by one'}"
                    label += f", {processes} processes" if processes > 1 else ""
                    fresh = Row("publishing", label, "µs of CPU an event")
                    row = found.setdefault(label, fresh)
                    row.values.append(_publish(url, batch, processes, scale.seconds))
        rows += found.values()
    return rows


def _publish(url: str, batch: int, processes: int, seconds: float) -> float:
    words = [sys.executable, "-P", HERE / "apps" / "publish.py", url, batch, seconds]
    started = [
        subprocess.Popen([*map(str, words)], stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    answers = [json.loads(process.communicate()[0]) for process in started]
    spent: float = sum(answer["cpu"] for answer in answers)
    events: int = sum(answer["events"] for answer in answers)
    return 1e6 * spent / events


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
    "storm": storm,
    "come_back": come_back,
    "come_back_large": come_back_large,
    "memory": memory,
    "beside_streams": beside_streams,
    "publishing": publishing,
    "fleet": fleet,
}
