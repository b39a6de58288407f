"""Carries out what a hub plans for its figures, in the store. Any thread."""

from __future__ import annotations

import collections.abc as cabc

from .._delivery.figure_record import FigurePlan
from .._delivery.figure_rows import FIGURES_IN_TOTAL
from .._delivery.figure_rows import FIGURES_OF_HUBS
from ..brokers import ItemChange
from ..brokers import ItemRow
from ..brokers import KeepsItems
from ..brokers.due_items import NO_LIMIT


def read(broker: KeepsItems) -> cabc.Sequence[ItemRow]:
    """All rows of both channels, in one snapshot.

    :raises NotRead: If the store can't be read now.
    """
    return broker.read_items([FIGURES_OF_HUBS, FIGURES_IN_TOTAL], limit=NO_LIMIT).rows


def changes(plan: FigurePlan) -> list[ItemChange]:
    """What the plan stores."""
    return [
        ItemChange(
            *(change.channel, change.item, change.data),
            ttl=change.ttl,
            version=change.version,
            expect=change.expect,
        )
        for change in plan.changes
    ]
