"""What ``flask push top`` shows: lines of text, made of two looks at the hubs."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from ._delivery.figures import BY_NAME
from ._delivery.figures import Figures
from ._system.terminal import cut
from ._system.terminal import padded
from ._system.terminal import shown
from ._system.terminal import width_of

#: By what is shown, the counters of which it is the rate.
RATES = {
    "events": "events",
    "sends": "sends",
    "bytes": "sent_bytes",
    "opened": "streams_opened",
    "ended": "streams_ended",
}


class Stored(t.NamedTuple):
    """The figures of a hub, as it has stored them."""

    figures: Figures
    #: When that was: microseconds of the store's clock.
    number: int


class Look(t.NamedTuple):
    """The hubs at one moment."""

    #: Of each hub, what ``flask push status`` shows.
    hubs: cabc.Sequence[dict[str, t.Any]]
    #: The channels with the most readers.
    channels: cabc.Sequence[tuple[str, int]] = ()
    #: By process id. Empty if hubs don't measure.
    stored: cabc.Mapping[int, Stored] = {}
    #: By the monotonic clock.
    time: float = 0
    #: A sentence for each hub that does not answer.
    problems: cabc.Sequence[str] = ()


def lines(
    now: Look,
    before: Look | None,
    rates: cabc.Mapping[str, float],
    width: int,
    measures: bool = True,
) -> list[str]:
    """
    :param before: The look before, for the processors.
    :param rates: As :func:`rates_of` returns them; empty if they are not known yet.
    :param width: Columns of the terminal.
    :param measures: Whether hubs measure.
    """

    def total(name: str) -> int:
        return sum(_count(hub, name) for hub in now.hubs)

    figures = Figures.sum(stored.figures for stored in now.stored.values())
    found = [
        _row(
            *(f"{len(now.hubs)} hub{'s'[: len(now.hubs) != 1]} of this machine",),
            *(f"{total(name):,} {name}" for name in ("streams", "behind", "present")),
            f"{total('channels'):,} channels",
        )
    ]
    if measures:
        shown_rates = (_rate(name, rates.get(name)) for name in RATES)
        found.append(_row(*shown_rates))
        found += [_row(*_by_label("gaps", figures)), _row(*_by_label("refused", figures))]
    else:
        found.append("With PUSH_METRICS = True, this shows rates, gaps and refusals, too.")
    found += map(shown, now.problems)
    found += ["", *_table(("hub", "streams", "behind", "cpu", "open"), _hubs(now, before))]
    if now.channels:
        readers = [(name, f"{count:,}") for name, count in now.channels]
        found += ["", *_table(("channel", "readers"), readers)]
    return [cut(line, width) for line in found]


def rates_of(now: Look, before: Look) -> dict[str, float]:
    """How much of each was counted in a second, over all hubs. Empty if no hub has stored
    its figures again."""
    rates = dict.fromkeys(RATES, 0.0)
    known = False
    for pid, stored in now.stored.items():
        earlier = before.stored.get(pid)
        if earlier is None or stored.number <= earlier.number:
            continue
        known, seconds = True, (stored.number - earlier.number) / 1_000_000
        for name, family in RATES.items():
            # A hub that begins anew under another name counts from 0.
            more = _sum(stored.figures, family) - _sum(earlier.figures, family)
            rates[name] += max(0, more) / seconds
    return rates if known else {}


def _sum(figures: Figures, name: str) -> int:
    family = BY_NAME[name]
    labels = family.values or ("",)
    return sum(int(figures.value(family, label)) for label in labels)


def _by_label(what: str, figures: Figures) -> cabc.Iterator[str]:
    name = {"gaps": "gaps", "refused": "streams_refused"}[what]
    yield f"{_sum(figures, name):,} {what}"
    for label in BY_NAME[name].values:
        yield f"{int(figures.value(BY_NAME[name], label)):,} {label}"


def _hubs(now: Look, before: Look | None) -> list[tuple[str, ...]]:
    earlier = {} if before is None else {hub.get("pid"): hub for hub in before.hubs}
    rows = []
    for hub in now.hubs:
        old, cpu = earlier.get(hub.get("pid")), "-"
        if old is not None and before is not None and now.time > before.time:
            used = float(hub.get("cpu_seconds", 0)) - float(old.get("cpu_seconds", 0))
            cpu = f"{max(0.0, used / (now.time - before.time)):.0%}"
        counts = (f"{_count(hub, name):,}" for name in ("streams", "behind"))
        rows.append((str(hub.get("pid")), *counts, cpu, span(_count(hub, "seconds"))))
    return rows


def _count(hub: dict[str, t.Any], name: str) -> int:
    """A number of a hub's status. One that an older version lacks is 0."""
    value = hub.get(name, 0)
    return value if isinstance(value, int) else 0


def _rate(name: str, rate: float | None) -> str:
    return f"- {name}/s" if rate is None else f"{_short(rate)} {name}/s"


def _short(number: float) -> str:
    """A number in five characters, such as ``41.2M``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            return f"{number / (1e3 if unit == 'k' else size):.1f}{unit}"
    return f"{number:.1f}" if 0 < number < 10 else f"{number:,.0f}"


def _row(*parts: str) -> str:
    return "   ".join(parts)


def _table(
    head: tuple[str, ...], rows: cabc.Sequence[tuple[str, ...]]
) -> cabc.Iterator[str]:
    """Lines of equal columns. The first is text, and the others are numbers."""
    cells = [head, *((shown(row[0], 60), *row[1:]) for row in rows)]
    widths = [max(width_of(row[n]) for row in cells) for n in range(len(head))]
    for first, *others in cells:
        numbers = zip(others, widths[1:], strict=True)
        columns = [padded(first, widths[0]), *(f"{text:>{size}}" for text, size in numbers)]
        yield "  ".join(columns)


def span(seconds: float) -> str:
    """A time in its two largest units, such as ``2h 5m``."""
    left = round(seconds)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60)):
        if left >= size:
            return f"{left // size}{unit} {left % size // part}{smaller}"
    return f"{left // 60}m {left % 60}s" if left >= 60 else f"{left}s"
