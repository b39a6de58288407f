"""How readers that are behind get the rows of items that they missed.

Rows that the log no longer has are read in a page, with the events. The page is put before
the log if the budget allows it. An item comes at the number of its newest row, which may be
after events that were published later than an older row (law 32).
"""

from __future__ import annotations

import collections.abc as cabc

from .._event import Page
from .._event import Position
from . import wire
from .channel import Piece
from .item_log import ItemPiece
from .log import Log
from .subscription import ReaderGroup
from .subscription import Subscription


def known_items(sub: Subscription, reach: int, epoch: str) -> list[cabc.Iterable[Piece]]:
    """The rows that the log has, by channel."""
    return [
        _changes(channel.items.between(max(sub.cursor, channel.items.floor), reach), epoch)
        for channel in sub.group.with_items
        if channel.items is not None
    ]


def _changes(pieces: cabc.Iterable[ItemPiece], epoch: str) -> cabc.Iterator[Piece]:
    for piece in pieces:
        yield piece.number, wire.change(str(Position(epoch, piece.number)), piece.tail)


def replay_items(
    sub: Subscription, page: Page, reach: int, log: Log
) -> cabc.Iterator[Piece]:
    """The rows of the page that the log does not have, up to each channel's floor."""
    channels = sub.group.channels
    floors = {c.name: c.items.floor for c in channels if c.items is not None}
    upto = {name: min(reach, floor) for name, floor in floors.items()}
    pieces = (piece for _, piece in _rows(page, sub.cursor, upto, log))
    yield from _changes(pieces, page.epoch)


def absorb_items(group: ReaderGroup, page: Page, log: Log) -> None:
    """Put the page before the log, if the budget allows it."""
    floors = {}
    for channel in group.channels:
        items, horizon = channel.items, page.horizons.get(channel.name, 0)
        if items is None or not page.after < items.floor <= page.reach:
            continue
        # Beyond the end, unsets may be forgotten that the log has not reached.
        if horizon > log.end:
            continue
        floors[channel.name] = items.floor
    pieces: dict[str, list[ItemPiece]] = {name: [] for name in floors}
    if floors:
        for name, piece in _rows(page, page.after, floors, log):
            pieces[name].append(piece)
    for name in floors:
        channel = log.channels[name]
        assert channel.items is not None
        if log.item_budget.put_before(channel.items, pieces[name]):
            channel.items.floor = page.after
            log.horizons.rise(channel, page.horizons.get(name, 0), log.end)


def _rows(
    page: Page, after: int, upto: cabc.Mapping[str, int], log: Log
) -> cabc.Iterator[tuple[str, ItemPiece]]:
    """Rows of the page after a number, of these channels up to theirs."""
    for entry in page.entries:
        if entry.item and after < entry.number <= upto.get(entry.channel, 0):
            position = Position(page.epoch, entry.number)
            about = entry.channel, entry.item, entry.type, entry.data
            piece = log.encoder.item(*about, position)
            if piece is not None:
                yield entry.channel, piece
