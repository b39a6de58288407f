"""What an app reads of the figures of all hubs."""

from __future__ import annotations

import typing as t

import pytest

from flask_push._delivery.figure_rows import FIGURES_IN_TOTAL
from flask_push._delivery.figure_rows import FIGURES_OF_HUBS
from flask_push._delivery.figure_rows import HubFigures
from flask_push._delivery.figures import Figures
from flask_push._ipc.stored_figures import read_figures
from flask_push.brokers import ItemChange
from flask_push.brokers import open_broker


def test_all_rows_are_read_at_once(tmp_path: t.Any) -> None:
    broker: t.Any = open_broker(f"sqlite:///{tmp_path}/push.db")
    # More than a page has.
    figures = Figures({f"new_{'x' * 50}:{number}": 10**15 for number in range(900)})
    changes = [
        ItemChange(FIGURES_IN_TOTAL, str(number), HubFigures("", figures).to_json())
        for number in range(20)
    ]
    hub = HubFigures("abc", Figures({"streams": 3}))
    broker.change([*changes, ItemChange(FIGURES_OF_HUBS, "abc", hub.to_json(), ttl=20)])
    read = read_figures(broker)
    assert read.hubs == [hub]
    assert read.figures["streams"] == 3
    assert {v for k, v in read.figures.items() if k != "streams"} == {20 * 10**15}
    broker.close()


def test_a_broker_without_items_is_named() -> None:
    class Plain:
        """Stores events only."""

    with pytest.raises(RuntimeError, match="Plain keeps no items"):
        read_figures(t.cast(t.Any, Plain()))
