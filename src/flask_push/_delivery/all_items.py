"""How a reader gets all items of its channels, before it gets what changes.

``push:items`` comes first. Then come the living rows up to the reader's position, as they
are when they are read, in the order of their numbers. Each has the reader's position in its
id. Then the reader continues at its position: newer rows come among the events. It gets
``push:whole`` when it first reaches the end (laws 28 to 32).

So a reader that is cut off in the middle resumes at its position, and gets all items again.
An item never becomes older, because its page has got nothing that is newer than its
position.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from heapq import merge
from operator import attrgetter

from .._event import ItemsPage
from .._event import Position
from . import wire
from .channel import Frame
from .item_log import ItemPiece
from .log import Log
from .subscription import ItemsPlace
from .subscription import ReaderGroup
from .subscription import Subscription

_number_of, _is_living = attrgetter("number"), attrgetter("living")


class LivingPieces(t.NamedTuple):
    """A page of living rows, encoded for all readers of a group."""

    epoch: str
    after: int
    reach: int
    #: The store's position when they were read.
    end: int
    pieces: list[ItemPiece]


def begin_items(sub: Subscription) -> None:
    """Send a reader all items, which then continues at its cursor."""
    sub.items = ItemsPlace(sub.cursor)


def items_for(sub: Subscription, epoch: str, position: Position | None) -> str:
    """What ``push:open`` says of the items: see :func:`.wire.opening`.

    :param position: ``None`` if the reader has none, or one that is not known.
    """
    group = sub.group
    if position is None or position.number >= group.horizon():
        if not (sub.asks_for_items or group.has_items()):
            return ""
        # A position alone does not say that its page has the items (law 28).
        word = wire.holds(epoch, group.names, group.watch)
        if position is not None and sub.holds == word:
            return "changes"
    return "all"


def lacks_items(sub: Subscription, horizon: int) -> bool:
    """Whether unsets that the reader has missed may be forgotten."""
    base = 0 if sub.items is None else sub.items.base
    return horizon > max(sub.cursor, base)


def read_items(
    sub: Subscription,
    place: ItemsPlace,
    log: Log,
    limit: int,
    page: LivingPieces | None,
) -> list[Frame] | None:
    """The frames to write next, about `limit` bytes.

    ``None`` if the reader has to wait, for the log's end or for a page. When it has all
    items, its place is no longer ``sending``.
    """
    if place.base < 0:
        # Before, the log may lack a row that its feed did not read, because a newer one is
        # beyond the end. So it may have an older one (law 32).
        if log.proved < place.position:
            return None
        if sub.group.lacks_rosters:
            return None
        place.base, sub.cursor = log.end, 0
        sub.send_first(wire.all_items(sub.group.names, sub.group.watch))
        return [(0, sub.rest)]
    position = str(Position(log.epoch, place.position))
    while sub.cursor < place.position:
        if page is not None and not _fits(page, sub, log):
            page = None
        reach, pieces = (
            _known(sub, place.position)
            if page is None
            else _read(sub, min(page.reach, place.position), page.pieces)
        )
        if reach <= sub.cursor:
            return None
        frames: list[Frame] = []
        for piece in pieces:
            if not sub.cursor < piece.number <= reach:
                continue
            frames.append((piece.number, wire.one_of_all(position, piece.tail)))
            limit -= len(frames[-1][1])
            if limit <= 0:
                break
        else:
            if frames:
                frames.append((reach, b""))
        if frames:
            return frames
        sub.cursor = reach
    sub.cursor, place.sending = place.position, False
    return None


def _known(sub: Subscription, upto: int) -> tuple[int, cabc.Iterable[ItemPiece]]:
    """The living rows that the log has after the reader's cursor, and how far they are
    complete."""
    logs = [c.items for c in sub.group.with_items if c.items is not None]
    reach = min([upto, *(items.living_to(sub.cursor, upto) for items in logs)])
    rows = merge(*(items.between(sub.cursor, reach) for items in logs), key=_number_of)
    return reach, (piece for piece in rows if piece.living)


def _read(
    sub: Subscription, reach: int, pieces: cabc.Iterable[ItemPiece]
) -> tuple[int, cabc.Iterable[ItemPiece]]:
    """The pieces of a page, and those of rosters, which no page has."""
    rosters = [roster.items.between(sub.cursor, reach) for roster in sub.group.rosters]
    living = [filter(_is_living, roster) for roster in rosters]
    return reach, merge(pieces, *living, key=_number_of)


def _fits(page: LivingPieces, sub: Subscription, log: Log) -> bool:
    """Whether the page continues what the reader has."""
    if page.epoch != log.epoch or sub.is_newer_than(page.end):
        return False
    return page.after <= sub.cursor < page.reach


def take_rows(group: ReaderGroup, page: ItemsPage, log: Log) -> LivingPieces:
    """Encode the rows of a page. The log keeps them, too, if its budget allows it."""
    pieces: list[ItemPiece] = []
    taken = LivingPieces(page.epoch, page.after, page.reach, page.end, pieces)
    if page.epoch != log.epoch:
        return taken
    by_channel: dict[str, list[ItemPiece]] = {name: [] for name in group.names}
    for row in page.rows:
        position = Position(log.epoch, row.number)
        about = row.channel, row.item, row.type, row.data
        piece = log.encoder.item(*about, position)
        if piece is not None and piece.living and row.channel in by_channel:
            pieces.append(piece)
            by_channel[row.channel].append(piece)
    for channel in group.channels:
        items = channel.items
        if items is None or not page.after <= items.whole_to < items.floor:
            continue
        # The log has what changed after its floor. A change before it must be in the page.
        if page.end < items.floor:
            continue
        # Beyond the end, unsets may be forgotten that the log has not reached.
        if page.horizons[channel.name] > log.end:
            continue
        if log.item_budget.put_before(items, by_channel[channel.name]):
            items.whole_to = max(items.whole_to, page.reach)
    return taken
