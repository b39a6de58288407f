"""Reads what all hubs of a store have stored of their figures. See :mod:`.figures`."""

from __future__ import annotations

import collections.abc as cabc

from .._delivery.figure_rows import FIGURES_IN_TOTAL
from .._delivery.figure_rows import FIGURES_OF_HUBS
from .._delivery.figure_rows import ReadFigures
from ..brokers import Broker
from ..brokers import ItemRow
from ..brokers import KeepsItems
from ..brokers.due_items import NO_LIMIT


def read_figures(broker: Broker) -> ReadFigures:
    """Read the figures of all hubs of a store, in one snapshot. Any thread.

    :raises NotRead: If the store can't be read now.
    :raises RuntimeError: If the broker keeps no items.
    """
    if not isinstance(broker, KeepsItems):
        raise RuntimeError(
            f"{type(broker).__name__} keeps no items (flask_push.brokers.KeepsItems), so"
            " hubs have no place for their figures. Use sqlite: or a Redis."
        )
    return ReadFigures.of(read_rows(broker))


def read_rows(broker: KeepsItems) -> cabc.Sequence[ItemRow]:
    """All rows of both channels, in one snapshot. Any thread.

    :raises NotRead: If the store can't be read now.
    """
    # More than one page would be more than one snapshot. Between two, a hub's row may have
    # been added to the others.
    return broker.read_items([FIGURES_OF_HUBS, FIGURES_IN_TOTAL], limit=NO_LIMIT).rows
