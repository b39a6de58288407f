"""What is measured: the list of all families of metrics, and their values.

:data:`FAMILIES` is the one list. Whatever shows metrics takes names, units, texts, labels
and buckets from it. No label has other values than those in the list.

:class:`Figures` are values of some families. All values are whole numbers, so sums are
exact: times are in microseconds. Figures add up, whoever counted them, and in any order.

How to read them: :func:`flask_push._ipc.stored_figures.read_figures` reads the figures of
all hubs of a store, at once, and so does :meth:`.AppPublisher.figures`. The result has the
sums, and each hub that runs. Get the values of a family with :meth:`Figures.value` and
:meth:`Figures.histogram`, which return seconds for times::

    read = services.publisher.figures()
    for family in FAMILIES:
        figures = read.figures
        if family.kind == "histogram":
            buckets, total = figures.histogram(family)
        else:
            for value in family.values or ("",):
                shown = figures.value(family, value)

Values travel as ``{"streams": 7, "gaps:trimmed": 2}``: the name of a family, and the value
of its label if it has one. A histogram has a count for each bucket, under the bucket's
greatest value, and the sum of all that was observed: ``{"feed_lag_seconds:1000": 4,
"feed_lag_seconds:inf": 1, "feed_lag_seconds:sum": 61000}``. A bucket does not contain the
smaller ones.

A hub of another version may know more families, or other buckets. Sums keep what this
version does not know, because another one reads them. It is only not shown.
"""

from __future__ import annotations

import collections.abc as cabc
import re
import typing as t
from bisect import bisect_left
from itertools import accumulate

Kind = t.Literal["counter", "gauge", "histogram"]

#: How many values are read of one hub. More are of no version that this one knows.
MAX_VALUES = 1000
#: The greatest value that is read.
MAX_VALUE = 2**63 - 1

_KEY = re.compile("[a-z][a-z_]{0,63}(?::[a-z0-9_]{1,32})?")


class Family(t.NamedTuple):
    """A metric with all its labels."""

    #: Without a prefix, and without the ``_total`` of a counter. It ends with the unit.
    name: str
    kind: Kind
    help: str
    #: ``seconds``, ``bytes``, or empty for a number of things.
    unit: str = ""
    label: str = ""
    #: All values of the label.
    values: tuple[str, ...] = ()
    #: The greatest value of each bucket but the last, in microseconds.
    buckets: tuple[int, ...] = ()
    #: Whether the value over several hubs is the greatest, and not the sum.
    greatest: bool = False

    def shown(self, value: int) -> int | float:
        """A value in the family's unit."""
        return value / 1_000_000 if self.unit == "seconds" else value


def _counter(
    name: str, help: str, label: str = "", values: tuple[str, ...] = (), unit: str = ""
) -> Family:
    return Family(name, "counter", help, unit, label, values)


def _gauge(name: str, help: str, unit: str = "") -> Family:
    return Family(name, "gauge", help, unit)


# From a millisecond to ten seconds.
_BUCKETS = (
    *(1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000),
    *(1_000_000, 2_500_000, 5_000_000, 10_000_000),
)


def _times(name: str, help: str, *, least: tuple[int, ...] = ()) -> Family:
    return Family(name, "histogram", help, "seconds", buckets=(*least, *_BUCKETS))


#: Of the hub that began last. It is the wall clock's.
START = Family(
    "hub_start_time_seconds",
    "gauge",
    "When the hub that started last did so, in seconds since 1970.",
    "seconds",
    greatest=True,
)

#: All metrics, in the order in which they are shown.
FAMILIES: tuple[Family, ...] = (
    # What there is now. A hub that has shown no sign of life for 20 seconds has none.
    _gauge("hubs", "Hubs that run."),
    START,
    _gauge("streams", "Streams that are open."),
    _gauge("streams_behind", "Open streams whose browsers have not received everything."),
    _gauge("users", "Users with an open stream. Each hub counts its own."),
    _gauge("channels", "Channels with readers. Each hub counts its own."),
    _gauge("present", "Users who are present, once for each channel and hub."),
    _gauge("log_bytes", "Bytes of events that hubs keep for readers.", "bytes"),
    _gauge("processes", "Processes of the app that count what they publish."),
    _gauge("relays", "Streams that processes of the app relay now."),
    # What happened to streams.
    _counter(
        *("streams_opened", "Streams that hubs have opened.", "kind"),
        ("new", "resumed", "ticket"),
    ),
    _counter(
        *("streams_ended", "Streams that have ended.", "reason"),
        (
            *("left", "lifetime", "finished", "disconnected", "sent_back", "slow"),
            *("shutdown", "failed"),
        ),
    ),
    _counter(
        *("streams_refused", "Streams that hubs have refused, by the limit.", "limit"),
        ("streams", "user", "address", "descriptors"),
    ),
    _counter(
        *("gaps", "Gaps that were sent to browsers.", "reason"),
        ("trimmed", "restarted", "unknown"),
    ),
    # What was sent.
    _counter("events", "Events that hubs have received from the store."),
    _counter("sends", "Events that hubs have sent, once for each stream."),
    _counter("sent_bytes", "Bytes of events that hubs have sent.", unit="bytes"),
    _counter(
        *(
            "replayed_events",
            "Events sent to streams that were behind, by where they were.",
        ),
        *("source", ("log", "store")),
    ),
    _times(
        "feed_lag_seconds",
        "Time from an event's number to its hub, of the oldest event of each turn.",
    ),
    _times(
        "publish_to_write_seconds",
        "Time from an event's number until all live streams were written to, of the oldest"
        " event of each turn.",
    ),
    # Hubs.
    _counter("hub_cpu_seconds", "Processor time that hub processes used.", unit="seconds"),
    _counter("hub_failures", "Exceptions that ended streams of a hub."),
    # The app's processes.
    _counter("published_events", "Events and items that the app has stored."),
    _counter(
        *("publish_failures", "Calls that did not store, or perhaps did.", "reason"),
        ("not_published", "uncertain"),
    ),
    _times("publish_seconds", "Time that publishing took the app.", least=(100, 250, 500)),
    _counter("relayed_streams", "Streams that processes of the app have relayed."),
    _counter(
        *("runs_ended", "Ends of runs, one for each attempt.", "status"),
        ("done", "failed", "stopped", "lost"),
    ),
)

#: The same, by name.
BY_NAME: dict[str, Family] = {family.name: family for family in FAMILIES}

_GAUGES = frozenset(family.name for family in FAMILIES if family.kind == "gauge")


class Figures(cabc.Mapping[str, int]):
    """Values of some families. They never change.

    A value that is missing is 0.
    """

    __slots__ = ("_values",)

    def __init__(self, values: cabc.Mapping[str, int] | None = None) -> None:
        self._values = {key: value for key, value in (values or {}).items() if value}

    def __repr__(self) -> str:
        return f"<Figures {self._values!r}>"

    def __getitem__(self, key: str) -> int:
        return self._values[key]

    def __iter__(self) -> cabc.Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __add__(self, other: Figures) -> Figures:
        """The figures of both."""
        values = dict(self._values)
        for key, value in other.items():
            before, family = values.get(key, 0), BY_NAME.get(key)
            greatest = family is not None and family.greatest
            values[key] = max(before, value) if greatest else before + value
        return Figures(values)

    def __sub__(self, other: Figures) -> Figures:
        """What was counted since the other figures. Only for counters and histograms.

        None is below 0: then the sums of hubs could fall.
        """
        kept = ((key, value - other.get(key, 0)) for key, value in self.items())
        return Figures({key: value for key, value in kept if value > 0})

    @classmethod
    def sum(cls, all: cabc.Iterable[Figures]) -> Figures:
        total = cls()
        for figures in all:
            total += figures
        return total

    @property
    def counted(self) -> Figures:
        """All but the gauges: what has to survive the hub."""
        return Figures({key: value for key, value in self.items() if key not in _GAUGES})

    @property
    def gauges(self) -> Figures:
        """What there is now, and goes with the hub."""
        return Figures({key: value for key, value in self.items() if key in _GAUGES})

    def value(self, family: Family, label: str = "") -> int | float:
        """The value of a counter or a gauge, in the family's unit."""
        key = f"{family.name}:{label}" if label else family.name
        return family.shown(self._values.get(key, 0))

    def histogram(self, family: Family) -> tuple[list[int], float]:
        """Of each bucket, how many values it and the smaller ones have; and the sum of all
        values, in the family's unit. The last bucket has no greatest value."""
        counts = [0] * (len(family.buckets) + 1)
        for key, value in self.items():
            name, _, bound = key.partition(":")
            if name == family.name and (bound == "inf" or bound.isdecimal()):
                # A bucket of another version is a part of the next larger one.
                most = MAX_VALUE if bound == "inf" else int(bound)
                counts[bisect_left(family.buckets, most)] += value
        total = family.shown(self._values.get(f"{family.name}:sum", 0))
        return [*accumulate(counts)], float(total)

    def to_json(self) -> dict[str, int]:
        return dict(self._values)

    @classmethod
    def from_json(cls, values: t.Any) -> Figures:
        """Take figures that another version may have written. Never raises: it leaves out
        what can't be a value."""
        if not isinstance(values, dict):
            return cls()
        known = {key: value for key, value in values.items() if _is_value(key, value)}
        return cls(dict(list(known.items())[:MAX_VALUES]))


class Times:
    """Counts times by bucket, where they are measured. Not for several threads."""

    __slots__ = ("_family", "_counts", "_sum")

    def __init__(self, family: Family) -> None:
        self._family = family
        self._counts = [0] * (len(family.buckets) + 1)
        self._sum = 0

    def __repr__(self) -> str:
        return f"<Times {self._family.name}: {sum(self._counts)}>"

    def add(self, micros: int) -> None:
        """Count a time in microseconds. One below 0 is 0, because clocks differ."""
        if micros > 0:
            self._sum += micros
        self._counts[bisect_left(self._family.buckets, micros)] += 1

    def to_json(self) -> dict[str, int]:
        """As a part of :meth:`Figures.to_json`."""
        name = self._family.name
        counts = zip((*self._family.buckets, "inf"), self._counts, strict=True)
        found = {f"{name}:{bound}": count for bound, count in counts if count}
        return {**found, f"{name}:sum": self._sum} if found else {}


def _is_value(key: object, value: object) -> bool:
    return (
        isinstance(key, str)
        and _KEY.fullmatch(key) is not None
        and type(value) is int
        and 0 <= value <= MAX_VALUE
    )
