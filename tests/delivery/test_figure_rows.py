"""The rows in which hubs store their figures."""

from __future__ import annotations

import json

import pytest

from flask_push._delivery.figure_rows import FIGURES_IN_TOTAL
from flask_push._delivery.figure_rows import FIGURES_OF_HUBS
from flask_push._delivery.figure_rows import HubFigures
from flask_push._delivery.figure_rows import PAST
from flask_push._delivery.figure_rows import ReadFigures
from flask_push._delivery.figure_rows import Total
from flask_push._delivery.figures import Figures
from flask_push._event import ItemRow
from flask_push._event import Position


def row(channel: str, item: str, data: str) -> ItemRow:
    return ItemRow(Position("epoch", 1), channel, item, "message", data.encode())


def of_hub(name: str, **values: int) -> ItemRow:
    hub = HubFigures(name, Figures(values), "1.0", "here", 7)
    return row(FIGURES_OF_HUBS, name, hub.to_json())


def total(name: str, **values: int) -> ItemRow:
    return row(FIGURES_IN_TOTAL, name, json.dumps({"figures": values}))


def test_a_row_says_all_of_a_hub() -> None:
    hub = HubFigures("abc", Figures({"streams": 3}), "1.0", "here", 7)
    assert HubFigures.of(row(FIGURES_OF_HUBS, "abc", hub.to_json())) == hub


def test_gauges_are_of_hubs_that_run_and_counters_of_all() -> None:
    read = ReadFigures.of(
        [
            of_hub("b", streams=3, events=10),
            of_hub("a", streams=4, events=20),
            total("a", events=20),
            total("b", events=10),
            total("dead", events=5, streams=9),
            total(PAST, events=100),
        ]
    )
    assert read.figures == {"streams": 7, "events": 135}
    assert [hub.name for hub in read.hubs] == ["a", "b"]
    assert read.hubs[0].figures == {"streams": 4, "events": 20}


@pytest.mark.parametrize("data", ["", "[", "[]", "7", '{"figures": 3}', "[" * 10**5])
def test_a_row_that_cannot_be_read_has_no_figures(data: str) -> None:
    strange = row(FIGURES_OF_HUBS, "x", data)
    assert HubFigures.of(strange) == HubFigures("x", Figures())
    assert Total.of(strange) == Total()


def test_a_row_of_another_version_does_no_harm() -> None:
    data = json.dumps({"version": 5, "host": "h" * 999, "pid": True, "new": 1})
    hub = HubFigures.of(row(FIGURES_OF_HUBS, "x", data))
    assert hub == HubFigures("x", Figures(), "", "h" * 100, 0)
