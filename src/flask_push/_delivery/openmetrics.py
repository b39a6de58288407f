"""The figures of all hubs as text that Prometheus reads.

There are two formats, and the request says which one its reader knows: OpenMetrics 1.0, and
the older text format, 0.0.4. Both have the same names and labels, so that a reader which
begins to ask for the other one gets no new series.

No series has the time when it was created, because Prometheus would store it as one more
series, and sums of several hubs have none.
"""

from __future__ import annotations

import collections.abc as cabc

from .figures import FAMILIES
from .figures import Family
from .figures import Figures

#: Each name begins with this.
PREFIX = "flask_push_"

#: The content types.
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"

#: Whether all others were read. See :data:`READ`.
UP = Family("up", "gauge", "Whether the store could be read: 1 if it could, otherwise 0.")
#: The value of it, for figures that were read.
READ = Figures({"up": 1})

#: All metrics, in the order in which they are shown.
SHOWN: tuple[Family, ...] = (UP, *FAMILIES)


def to_text(figures: Figures, *, openmetrics: bool) -> str:
    """The figures in OpenMetrics, or in the older format."""
    lines: list[str] = []
    for family in SHOWN:
        lines += _about(family, openmetrics)
        lines += _samples(family, figures)
    if openmetrics:
        # Without it, the reader knows that the text was cut off.
        lines.append("# EOF")
    return "\n".join(lines) + "\n"


def sample_name(family: Family) -> str:
    """The name of the family's value. That of a histogram has the suffixes of its parts."""
    return PREFIX + family.name + ("_total" if family.kind == "counter" else "")


def bounds(family: Family) -> list[str]:
    """The greatest value of each bucket, as both formats write it."""
    return [*(repr(float(family.shown(most))) for most in family.buckets), "+Inf"]


def _about(family: Family, openmetrics: bool) -> cabc.Iterator[str]:
    # In OpenMetrics, a counter's name has no suffix, and that of its value has.
    name = PREFIX + family.name if openmetrics else sample_name(family)
    yield f"# HELP {name} {family.help}"
    yield f"# TYPE {name} {family.kind}"
    if openmetrics and family.unit:
        yield f"# UNIT {name} {family.unit}"


def _samples(family: Family, figures: Figures) -> cabc.Iterator[str]:
    name = sample_name(family)
    if family.kind == "histogram":
        counts, total = figures.histogram(family)
        for most, count in zip(bounds(family), counts, strict=True):
            yield f'{name}_bucket{{le="{most}"}} {count}'
        yield f"{name}_count {counts[-1]}"
        yield f"{name}_sum {total!r}"
        return
    for label in family.values or ("",):
        labels = f'{{{family.label}="{label}"}}' if label else ""
        yield f"{name}{labels} {figures.value(family, label)!r}"
