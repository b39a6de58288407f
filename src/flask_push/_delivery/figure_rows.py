"""The two channels in which hubs store their figures, and what a row of them says.

- :data:`FIGURES_OF_HUBS` has a row of each hub that runs, with all that it measures. The
  row has a time to live, so that of a dead hub goes by itself.
- :data:`FIGURES_IN_TOTAL` has what each hub has counted, and does not go. The row
  :data:`PAST` is the sum of all hubs that are gone.

So the gauges are those of the first channel, and the counters are the sum of the second.
A row is an ordinary item of its channel, whose name no app can use.
"""

from __future__ import annotations

import collections.abc as cabc
import json
import typing as t

from .._event import ItemRow
from .figures import Figures
from .wire import RESERVED

FIGURES_OF_HUBS = RESERVED + "hubs"
FIGURES_IN_TOTAL = RESERVED + "totals"

#: The item of the hubs that are gone. A hub's name is longer.
PAST = "past"


class HubFigures(t.NamedTuple):
    """What a row says of one hub."""

    #: The hub's own name, which is new with each start.
    name: str
    figures: Figures
    version: str = ""
    host: str = ""
    pid: int = 0

    def to_json(self) -> str:
        about = {"version": self.version, "host": self.host, "pid": self.pid}
        return _text({**about, "figures": self.figures.to_json()})

    @classmethod
    def of(cls, row: ItemRow) -> HubFigures:
        """Never raises. A row that can't be read has no figures."""
        values, pid = _values(row), _values(row).get("pid")
        about = (values.get(name) for name in ("version", "host"))
        version, host = (text[:100] if isinstance(text, str) else "" for text in about)
        pid = pid if type(pid) is int else 0
        return cls(row.item, Figures.from_json(values.get("figures")), version, host, pid)


class Total(t.NamedTuple):
    """What a row of the totals says."""

    figures: Figures = Figures()
    #: How often the hub has stored it.
    beat: int = 0
    #: Of the row :data:`PAST`: the last beat of each hub that was added to it lately.
    kept: dict[str, int] = {}

    def to_json(self) -> str:
        about = {"kept": self.kept} if self.kept else {"beat": self.beat}
        return _text({**about, "figures": self.figures.to_json()})

    @classmethod
    def of(cls, row: ItemRow) -> Total:
        """Never raises. A row that can't be read has no figures."""
        values = _values(row)
        beat, kept = values.get("beat"), values.get("kept")
        pairs = kept.items() if isinstance(kept, dict) else ()
        return cls(
            Figures.from_json(values.get("figures")),
            beat if type(beat) is int else 0,
            {name: number for name, number in pairs if type(number) is int},
        )

    def with_dead(self, row: ItemRow, most: int) -> Total:
        """This row, with that of a dead hub added.

        :param most: Of how many hubs the last beat is kept.
        """
        dead = Total.of(row)
        kept = [*self.kept.items(), (row.item, dead.beat)]
        return Total(self.figures + dead.figures, 0, dict(kept[-most:]))


class ReadFigures(t.NamedTuple):
    """The figures of a store."""

    #: The hubs that run, by name.
    hubs: list[HubFigures]
    #: The gauges of the hubs that run, and what all hubs have counted so far.
    figures: Figures

    @classmethod
    def of(cls, rows: cabc.Iterable[ItemRow]) -> ReadFigures:
        """From all living rows of both channels, read at once."""
        hubs, totals = [], Figures()
        for row in rows:
            if row.channel == FIGURES_OF_HUBS:
                hubs.append(HubFigures.of(row))
            elif row.channel == FIGURES_IN_TOTAL:
                totals += Total.of(row).figures
        gauges = Figures.sum(hub.figures.gauges for hub in hubs)
        return cls(sorted(hubs), gauges + totals.counted)


def _text(values: dict[str, t.Any]) -> str:
    return json.dumps(values, separators=(",", ":"))


def _values(row: ItemRow) -> dict[str, t.Any]:
    try:
        values = json.loads(row.data)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
