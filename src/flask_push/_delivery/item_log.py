"""The items that the log keeps of each channel: the newest row of each item.

A channel's items are a log of their own, beside that of its events, in which an item's row
replaces its older one (law 27). They have a floor, as events have. Below it, they may have
all living rows up to some number, with which readers begin. The store removes old unsets;
``Channel.horizon`` is the number up to which it may have done so.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from bisect import bisect_right
from operator import attrgetter

_number_of = attrgetter("number")

# Bytes of memory that a piece takes beside its frame and its item's name: a named tuple, an
# int, the headers of both texts, and its places in a dict and a list.
_OVERHEAD_BYTES = 320
# A list of pieces is made again when it has twice as many as are in use, and these more.
_MAX_SPARE = 64


class ItemPiece(t.NamedTuple):
    """One row: an item was set or unset."""

    number: int
    item: str
    #: Whether it was set. Unsets are for readers that have the item.
    living: bool
    #: The end of its frame, behind the position in the id. See :func:`.wire.item`.
    tail: bytes


class ItemLog:
    """The rows of one channel.

    :param number: It has every row after this number.
    :param whole: Whether there are no rows up to the number.
    """

    __slots__ = ("floor", "whole_to", "last", "size", "_rows", "_pieces")

    def __init__(self, number: int, whole: bool = False) -> None:
        #: It has every row after this number, unless a newer one has replaced it.
        self.floor = 0 if whole else number
        #: It has every living row up to this number, too.
        self.whole_to = 0
        #: The number of the newest row that it has had.
        self.last = number
        #: Bytes of memory, about.
        self.size = 0
        # By item, in the order of numbers; and the same with some that were replaced.
        self._rows: dict[str, ItemPiece] = {}
        self._pieces: list[ItemPiece] = []

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, piece: ItemPiece) -> None:
        """Add the newest row."""
        old = self._rows.pop(piece.item, None)
        self.size += _cost(piece) - (0 if old is None else _cost(old))
        self._rows[piece.item] = piece
        self._pieces.append(piece)
        self.last = piece.number
        if len(self._pieces) > 2 * len(self._rows) + _MAX_SPARE:
            self._pieces = list(self._rows.values())

    def put_before(self, pieces: cabc.Iterable[ItemPiece]) -> None:
        """Add rows up to the floor that were read, unless it has newer ones."""
        rows = self._rows.copy()
        for piece in pieces:
            known = rows.get(piece.item)
            newer = known is None or known.number < piece.number
            if newer and piece.number <= self.floor:
                rows[piece.item] = piece
        self._replace(sorted(rows.values(), key=_number_of))

    def drop(self, upto: int) -> None:
        """Drop everything up to the number, and what is below the floor."""
        self.floor, self.whole_to = max(self.floor, upto), 0
        self.last = max(self.last, upto)
        self._replace([p for p in self._rows.values() if p.number > self.floor])

    def forget_unsets(self, keep: int) -> int:
        """Drop unsets but for the newest ones, and return the number of the newest that
        was dropped."""
        unsets = [piece for piece in self._rows.values() if not piece.living]
        dropped = unsets[: len(unsets) - keep]
        gone = {piece.item for piece in dropped}
        self._replace([p for p in self._rows.values() if p.item not in gone])
        return dropped[-1].number if dropped else 0

    def _replace(self, rows: list[ItemPiece]) -> None:
        self._rows = {piece.item: piece for piece in rows}
        self._pieces = rows
        self.size = sum(map(_cost, rows))

    def between(self, after: int, upto: int) -> cabc.Iterator[ItemPiece]:
        """The rows in ``(after, upto]`` that no newer ones have replaced."""
        pieces, rows = self._pieces, self._rows
        for index in range(bisect_right(pieces, after, key=_number_of), len(pieces)):
            piece = pieces[index]
            if piece.number > upto:
                return
            if rows.get(piece.item) is piece:
                yield piece

    def living_to(self, after: int, upto: int) -> int:
        """The number up to which it has every living row after another number."""
        if self.floor <= max(after, self.whole_to):
            return upto
        return min(self.whole_to, upto)


class ItemBudget:
    """Bounds the bytes of all items. Drops those of the channel that has been without a
    change for longest, because half of a channel's items are of no use to new readers."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        #: True while one reader changes it. An exception then concerns all readers.
        self.torn = False
        self.clear()

    @property
    def size(self) -> int:
        """Bytes of memory, about."""
        return self._size

    def clear(self) -> None:
        self._size = 0
        self._order: dict[ItemLog, None] = {}

    def put(self, items: ItemLog, piece: ItemPiece) -> None:
        before = items.size
        items.put(piece)
        self._size += items.size - before
        self._order.pop(items, None)
        self._order[items] = None
        while self._size > self.max_bytes:
            oldest = next(iter(self._order))
            self.drop(oldest, oldest.last)

    def put_before(self, items: ItemLog, pieces: cabc.Sequence[ItemPiece]) -> bool:
        """Add rows that were read, if the budget allows it."""
        if self._size + sum(map(_cost, pieces)) > self.max_bytes:
            return False
        self.torn = True
        before = items.size
        items.put_before(pieces)
        self._size += items.size - before
        self._order.setdefault(items)
        self.torn = False
        return True

    def drop(self, items: ItemLog, upto: int) -> None:
        self.torn = True
        before = items.size
        items.drop(upto)
        self._size += items.size - before
        if not items:
            self._order.pop(items, None)
        self.torn = False

    def forget(self, items: ItemLog) -> None:
        """Drop all rows of a channel that no longer has readers."""
        self.drop(items, items.last)


def _cost(piece: ItemPiece) -> int:
    return _OVERHEAD_BYTES + len(piece.item) + len(piece.tail)
