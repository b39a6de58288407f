"""The harness: what is compared takes turns, and each figure is related to the first.

All servers of a workload run at once, and all but one are idle. Each has a moment, round
after round. Other work on the machine thus affects all of them, and a figure is the median
of its ratios to the first, which is the server in C, in the same round.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import subprocess
import typing as t
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from statistics import median

import servers
from loader import Answer
from loader import Loader
from start.server import Running
from start.server import Server
from start.server import start


@dataclass(frozen=True)
class Scale:
    """How much is measured, and how long it takes."""

    rounds: int
    seconds: float
    small: int = 1000
    large: int = 10_000
    fleet: int = 50_000
    #: Streams of the largest size of the workload "scale".
    streams: int = 100_000
    #: The names of the servers to measure, if not all, and of those to leave out.
    servers: cabc.Collection[str] = ()
    without: cabc.Collection[str] = ()
    #: The source of another version of Flask-Push, to compare with this one.
    before: str = ""

    def wants(self, server: Server) -> bool:
        wanted = server.name in self.servers if self.servers else not server.hidden
        return wanted and server.name not in self.without


class Result(t.NamedTuple):
    """What one turn found: the figure, other figures of interest, and errors."""

    figure: float
    more: dict[str, float] = {}
    faults: str = ""


@dataclass
class Row:
    """The results of one server."""

    workload: str
    server: str
    unit: str
    #: A figure for each round.
    values: list[float] = field(default_factory=list)
    #: Its ratio to the figure of the first row in the same round.
    ratios: list[float] = field(default_factory=list)
    more: dict[str, float] = field(default_factory=dict)
    #: Errors: events that were lost, readers that were refused.
    faults: str = ""
    #: The reason why it was not measured.
    absent: str = ""
    results: list[Result] = field(default_factory=list)

    @property
    def value(self) -> float:
        return median(self.values) if self.values else 0

    @property
    def ratio(self) -> float:
        return median(self.ratios) if self.ratios else 0

    def add(self, result: Result, reference: float) -> None:
        self.values.append(result.figure)
        self.ratios.append(result.figure / reference if reference else 0)
        self.more = result.more
        self.faults = self.faults or result.faults
        self.results.append(result)

    def as_json(self) -> dict[str, t.Any]:
        found = {"workload": self.workload, "server": self.server, "unit": self.unit}
        spread = [min(self.ratios), max(self.ratios)] if self.ratios else []
        figures = {"value": self.value, "ratio": self.ratio, "spread": spread}
        return {**found, **figures, "rounds": len(self.values), **self.more} | {
            "faults": self.faults,
            "absent": self.absent,
        }


def take_turns(
    pairs: cabc.Sequence[tuple[Row, cabc.Callable[[], Result]]], rounds: int
) -> None:
    """Measure each once per round. The first is the reference.

    It is always measured first; the order of the others changes from round to round.
    """
    others = pairs[1:]
    for number in range(rounds):
        reference = 0.0
        at = number % max(1, len(others))
        for row, measure in [*pairs[:1], *others[at:], *others[:at]]:
            result = measure()
            reference = reference or result.figure
            row.add(result, reference)


Measure = cabc.Callable[[Running, Loader], Result]
#: A server; or its label, the server, and the arguments to start it with.
Wanted = Server | tuple[str, Server, dict[str, t.Any]]


def compare(
    name: str,
    unit: str,
    wanted: cabc.Iterable[Wanted],
    scale: Scale,
    readers: int,
    measure: Measure,
    connect: bool = True,
    **more: t.Any,
) -> list[Row]:
    """Start servers and let them take turns. The first is the reference.

    :param connect: Whether the readers connect before the first round.
    """
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        pairs: list[tuple[Row, cabc.Callable[[], Result]]] = []
        for label, server, given in _with_before(wanted, scale.before):
            if pairs and not scale.wants(server):
                continue
            row = Row(name, label, unit)
            rows.append(row)
            if readers > server.most_readers or servers.missing(server):
                missing = servers.missing(server)
                row.absent = f"no {missing}" if missing else ""
                row.absent = row.absent or f"not with {readers:,} readers"
                continue
            try:
                running, loader = started(stack, server, readers, **{**more, **given})
                if connect:
                    _connect(running, loader)
                pairs.append((row, lambda r=running, it=loader: measure(r, it)))  # type: ignore[misc]
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                row.absent = str(error)[-300:]
        take_turns(pairs, scale.rounds)
    return rows


def _with_before(
    wanted: cabc.Iterable[Wanted], source: str
) -> cabc.Iterator[tuple[str, Server, dict[str, t.Any]]]:
    for one in wanted:
        label, server, given = one if isinstance(one, tuple) else (one.name, one, {})
        yield label, server, given
        if source and server.name.startswith("Flask-Push"):
            yield f"{label}, before", server, {**given, "source": source}


def started(
    stack: contextlib.ExitStack, server: Server, readers: int, **more: t.Any
) -> tuple[Running, Loader]:
    """A server and its loader, which end with the stack."""
    running = start(server, readers, **more)
    stack.callback(running.end)
    loader = running.loader()
    stack.callback(loader.end)
    return running, loader


def _connect(running: Running, loader: Loader) -> None:
    readers, late = running.readers, running.server.sends_head_late
    connected = running.connect(loader, readers)
    warm = loader.run("warm", 20)
    faults = warm.faults() or ("" if late else connected.faults())
    if faults or warm.open < readers:
        raise RuntimeError(f"{warm.open:,} of {readers:,} readers connected; {faults}")


def per_cpu(
    window: int, seconds: float, rate: float = 0, only_hub: bool = False, most: int = 10**9
) -> Measure:
    """Events delivered per second of the server's processor time."""

    def measure(running: Running, loader: Loader) -> Result:
        processes = running.processes
        pids = processes.hub() if only_hub else processes.pids()
        before = processes.cpu(pids)
        answer = loader.run("publish", window, rate, seconds, most)
        spent = processes.cpu(pids) - before
        return Result(answer.events / max(spent, 1e-6), figures(answer), answer.faults())

    return measure


def latency_at(rate: float, seconds: float) -> Measure:
    """The time that 99 events in 100 take at most, from their publishing on."""

    def measure(running: Running, loader: Loader) -> Result:
        answer = loader.run("publish", 1000, rate, seconds, 10**9)
        return Result(answer.p99, figures(answer), answer.faults())

    return measure


def by_figure(rows: list[Row], name: str, unit: str, key: str) -> list[Row]:
    """The same results as rows of another of their figures."""
    references = [result.more[key] for result in rows[0].results]
    found = []
    for row in rows:
        values = [result.more[key] for result in row.results]
        pairs = zip(values, references, strict=False)
        ratios = [value / reference if reference else 0 for value, reference in pairs]
        other = replace(row, workload=f"{row.workload}: {name}", unit=unit)
        other.values, other.ratios = values, ratios
        found.append(other)
    return found


def figures(answer: Answer) -> dict[str, float]:
    """Figures to keep beside the one that is compared."""
    return {
        "events": answer.events,
        "events_per_second": answer.events / answer.seconds,
        "bytes": answer.bytes,
        "loader_share": answer.cpu / answer.seconds,
        "p50": answer.p50,
        "p99": answer.p99,
        "p999": answer.p999,
    }
