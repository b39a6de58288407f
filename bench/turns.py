"""How servers take turns. All that a workload measures run at once, idle but one.

A moment each, round after round: so what else the machine does meanwhile hits all of
them, and a figure is the median of each round's ratio to the bare C server.
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

import kinds
from kinds import Kind
from kinds import Running
from kinds import start
from machine import Answer
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
                running, loader = started(stack, kind, readers, **{**more, **given})
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


def started(
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


def also(rows: list[Row], name: str, unit: str, key: str) -> list[Row]:
    """The same turns by another of their figures."""
    measures = [turn.more[key] for turn in rows[0].turns]
    return [_by(row, f"{row.workload}: {name}", unit, key, measures) for row in rows]


def _by(row: Row, name: str, unit: str, key: str, measures: list[float]) -> Row:
    found = replace(row, workload=name, unit=unit)
    found.values = [turn.more[key] for turn in row.turns]
    pairs = zip(found.values, measures, strict=False)
    found.ratios = [value / measure if measure else 0 for value, measure in pairs]
    return found


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
