"""Space on full channels: their items that are due are unset."""

from __future__ import annotations

import collections.abc as cabc

from .base import TROUBLE
from .items import ItemChange
from .items import ItemsFull
from .items import KeepsItems

#: All items of a channel are read at once, however many bytes they have: pages would be of
#: different times.
NO_LIMIT = 2**40

# How many items are unset in one transaction.
_MAX_UNSETS = 500


def unset_due(items: KeepsItems, channels: cabc.Collection[str], full: ItemsFull) -> None:
    """Unset the items that are due on these channels.

    :raises ItemsFull: If there are none, or the store is in trouble.
    """
    try:
        due = _due(items, channels) if items.due(1) else []
        for start in range(0, len(due), _MAX_UNSETS):
            items.change(due[start : start + _MAX_UNSETS])
    except TROUBLE as error:
        raise full from error
    if not due:
        raise full


def _due(items: KeepsItems, channels: cabc.Collection[str]) -> list[ItemChange]:
    """Unsets of the items of these channels that are due. Other channels may have many
    more, which ``KeepsItems.due`` might return first."""
    rows = items.read_items(channels, limit=NO_LIMIT, due=True).rows
    living = {row.number for row in items.read_items(channels, limit=NO_LIMIT).rows}
    return [
        ItemChange(row.channel, row.item, None, due=True)
        for row in rows
        if row.number not in living
    ]
