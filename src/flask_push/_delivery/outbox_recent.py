"""The rows that the relay of an outbox published last, in case the store loses them.

A store with replicas says that it has a batch before its replicas have it. If one of them
takes over then, the batch is lost, and so is the lease that names it: the lease has the
number of an older batch. The rows are deleted in the app's database by then. So their relay
remembers them for a while, and puts them back (law T12).

If two replicas take each other for dead, one after the other, the store may have again what
was lost, and lose what was published meanwhile. So batches are remembered as a tree: each
knows the one before it.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t
import zlib

#: For so many seconds rows are remembered, and so many bytes of them.
RECENT_SECONDS, RECENT_BYTES = 60.0, 16 * 2**20
# What a row counts besides its text.
_ROW_BYTES = 100


class OutboxRow(t.NamedTuple):
    """A row of an outbox: its number, and its text."""

    id: int
    text: str


def check_of(rows: cabc.Iterable[OutboxRow]) -> int:
    """A checksum. If the app's table was emptied or made again, its new rows have the
    numbers of old ones, and another checksum. That of two lists is ``a ^ b``."""
    check = 0
    for id, text in rows:
        check ^= zlib.crc32(f"{id} {text}".encode())
    return check


class _Batch(t.NamedTuple):
    #: The number of the batch that the store had before.
    before: int
    rows: cabc.Sequence[OutboxRow]
    size: int
    at: float


class RecentRows:
    def __init__(self) -> None:
        # By number, in their order.
        self._batches: dict[int, _Batch] = {}
        # Those of which it is not known whether the store has them.
        self._unsure: set[int] = set()
        # Rows that were put back into the database, and are not published again yet.
        self._put_back: set[int] = set()
        self._size = 0
        # All batches after this one are remembered.
        self._after = 0
        # The greatest number that was given to a batch.
        self._greatest = 0
        #: The number of the last batch that the store has.
        self.last = 0

    def __repr__(self) -> str:
        return f"<RecentRows [{len(self._batches)} batches, {self._size:,} bytes]>"

    def begin(self, batch: int) -> None:
        """Forget all.

        :param batch: The number of the batch before the next one.
        """
        self._batches.clear()
        self._unsure.clear()
        self._put_back.clear()
        self._size, self._after = 0, batch
        self._greatest = self.last = batch

    def add(self, rows: cabc.Sequence[OutboxRow], now: float) -> int:
        """A batch is going to be stored.

        :return: Its number. No batch of this process ever had it, so that the number in a
            lease tells which batch the store has, though it has lost others before.
        """
        self._greatest = number = max(self._greatest, self.last) + 1
        size = sum(len(row.text) + _ROW_BYTES for row in rows)
        self._batches[number] = _Batch(self.last, rows, size, now)
        self._unsure.add(number)
        self._size += size
        return number

    def is_stored(self, number: int, now: float) -> None:
        """The store has the batch."""
        self._unsure.discard(number)
        self._put_back.difference_update(row.id for row in self._batches[number].rows)
        self.last = number
        self.trim(now)

    def is_not_stored(self, number: int) -> None:
        """The store has refused the batch."""
        self._forget(number)

    def _forget(self, number: int) -> None:
        self._unsure.discard(number)
        batch = self._batches.pop(number, None)
        self._size -= batch.size if batch else 0

    def trim(self, now: float) -> None:
        """Forget what is too old, or too much."""
        while self._batches:
            number, batch = next(iter(self._batches.items()))
            if self._size <= RECENT_BYTES and batch.at >= now - RECENT_SECONDS:
                break
            self._forget(number)
            self._after = number

    def follows(self, batch: int) -> bool:
        """Whether it is the batch that came after the last one, which the store perhaps
        had not stored."""
        return batch in self._unsure and self._batches[batch].before == self.last

    def rows_of(self, batch: int) -> cabc.Sequence[OutboxRow]:
        return self._batches[batch].rows

    def lost(self, batch: int) -> tuple[list[OutboxRow], bool]:
        """The rows that the store had and has not, in their order.

        :param batch: The last one that it has. It need not be older than others that are
            lost: two masters may each have stored batches, before one of them gave up its
            own.
        :return: Also whether these are all: there may be others that are no longer
            remembered.
        """
        if batch > self._greatest:
            # It has more than this process knows.
            return [], True
        has, before = self._chain(batch)
        there = self._ids(has)
        rows = {
            row.id: row
            for number, each in self._batches.items()
            if number not in has and number not in self._unsure
            for row in each.rows
            if row.id not in there
        }
        return [rows[id] for id in sorted(rows)], self._after <= before

    def there_again(self, batch: int) -> list[int]:
        """Rows that were put back, and that the store has after all."""
        has, _ = self._chain(batch)
        return sorted(self._put_back & self._ids(has))

    def go_back(self, batch: int) -> None:
        """The store has this batch and those before it, and what it has lost was put back.
        That is remembered as long as before, because the master that has it may take over
        again."""
        self._put_back |= {row.id for row in self.lost(batch)[0]}
        self._put_back -= {*self.there_again(batch)}
        self._unsure.discard(batch)
        self.last = batch

    def _chain(self, batch: int) -> tuple[set[int], int]:
        """The batch and those before it, and the first that is not remembered."""
        has: set[int] = set()
        while batch in self._batches:
            has.add(batch)
            batch = self._batches[batch].before
        return has, batch

    def _ids(self, batches: set[int]) -> set[int]:
        return {row.id for number in batches for row in self._batches[number].rows}
