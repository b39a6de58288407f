"""How large a run is, and which rows can be forgotten.

A run that exceeds its bound loses its oldest rows, a sixteenth of the bound at a time. Its
newest row is never forgotten, because the next write expects it.
"""

from __future__ import annotations

from collections import deque

from .._event import Position
from .run_record import Record
from .run_record import Transition
from .run_rows import Change
from .run_rows import NOW
from .run_rows import RUN
from .run_rows import size_of

#: Bytes of an attempt, unless the app says otherwise.
MAX_RUN_BYTES = 16 * 2**20
#: What an app may say. A channel of a store keeps several runs.
RUN_BYTES_RANGE = 1024, 64 * 2**20

# So many parts are forgotten one after another.
_PARTS = 16
# What a row takes besides its data, about, in any store.
_ROW_BYTES = 100


class RunSize:
    """
    :param most: How many bytes the rows of an attempt may have.
    """

    def __init__(self, most: int) -> None:
        self._most, self._part = most, max(1, most // _PARTS)
        # All that was stored, and all that has to be forgotten.
        self._stored = self._forgotten = 0
        # The id of the newest row.
        self._last = ""
        # Where the run may be cut: how much was stored before, and the id of the last row
        # of it.
        self._cuts: deque[tuple[int, str]] = deque([(0, "")])

    def add(self, row: Change, id: str) -> str:
        """A row was stored.

        :return: The id of the last row that has to be forgotten now. Usually empty.
        """
        if self._stored >= self._cuts[-1][0] + self._part:
            self._cuts.append((self._stored, self._last))
        self._stored += size_of(row.data or "") + _ROW_BYTES
        self._last = id
        upto = ""
        while self._stored - self._forgotten > self._most and len(self._cuts) > 1:
            self._cuts.popleft()
            self._forgotten, upto = self._cuts[0]
        return upto


def renew(channel: str, before: Record) -> Transition:
    """Store the record of an active run again, so that the rows before it can be forgotten.
    The status stays the same, so no event is stored."""
    version = before.version + 1
    after = before._replace(first=before.start, version=version, position=Position("", 0))
    record = Change(
        *(RUN, channel, NOW, after.to_json()),
        owner=after.process,
        version=version,
        expect=before.id,
    )
    return Transition([record], after)


def is_renewed(now: Record, before: Record) -> bool:
    """Whether only :func:`renew` can have changed the record since."""
    now = now._replace(version=before.version, position=before.position)
    return now == before._replace(first=before.start)


def older(record: Record) -> int:
    """No row up to this number is one of the attempt.

    :param record: One that is stored, or that could not be stored.
    """
    last = record.past[0].last if record.past else 0
    return (record.first or record.last_attempt or record.position.number or last) - 1
