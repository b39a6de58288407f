"""The rows that the relay of an outbox published last, in case the store loses them.

A store with replicas says that it has a batch before its replicas have it. If one of them
takes over then, the batch is lost, and so is the lease that names it: the lease has the
number of an older batch. The rows are deleted in the app's database by then. So their relay
remembers them for a while, and puts them back.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from collections import deque

#: For so many seconds rows are remembered, and so many bytes of them.
RECENT_SECONDS, RECENT_BYTES = 60.0, 16 * 2**20
# What a row counts besides its text.
_ROW_BYTES = 100


class OutboxRow(t.NamedTuple):
    """A row of an outbox: its number, and its text."""

    id: int
    text: str


class _Batch(t.NamedTuple):
    number: int
    rows: cabc.Sequence[OutboxRow]
    size: int
    at: float


class RecentRows:
    def __init__(self) -> None:
        self._batches: deque[_Batch] = deque()
        self._size = 0
        # All batches after this one are remembered.
        self._after = 0
        #: The number of the last batch.
        self.last = 0

    def __repr__(self) -> str:
        return f"<RecentRows [{len(self._batches)} batches, {self._size:,} bytes]>"

    def begin(self, batch: int) -> None:
        """Forget all.

        :param batch: The number of the batch before the next one.
        """
        self._batches.clear()
        self._size, self._after, self.last = 0, batch, batch

    def add(self, number: int, rows: cabc.Sequence[OutboxRow], now: float) -> None:
        """A batch is stored."""
        size = sum(len(row.text) + _ROW_BYTES for row in rows)
        self._batches.append(_Batch(number, rows, size, now))
        self._size, self.last = self._size + size, number
        self.trim(now)

    def trim(self, now: float) -> None:
        """Forget what is too old, or too much."""
        while self._batches and (
            self._size > RECENT_BYTES or self._batches[0].at < now - RECENT_SECONDS
        ):
            old = self._batches.popleft()
            self._size, self._after = self._size - old.size, old.number

    def lost(self, batch: int) -> tuple[list[OutboxRow], bool]:
        """The rows of all batches after one, which the store has lost.

        :return: Also whether these are all: earlier batches may be lost, too, that are no
            longer remembered.
        """
        rows = [row for each in self._batches if each.number > batch for row in each.rows]
        return rows, self._after <= batch
