"""Carries out what a hub plans for its figures, in the store. Any thread."""

from __future__ import annotations

from .._delivery.figure_record import FigurePlan
from ..brokers import ItemChange


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
