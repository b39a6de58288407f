"""One of Flask-Push's own logs in memory."""

from __future__ import annotations

from collections import deque
from itertools import takewhile

from ..own import MAX_OWN_BYTES
from ..own import MAX_OWN_ENTRIES
from ..own import OwnEntry


class OwnLog:
    """Its entries, and the number up to which they have expired.

    :param horizon: That number, at the beginning.
    """

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon
        # Beside each entry, the number at which its time is over.
        self._entries: deque[tuple[int, OwnEntry]] = deque()
        self._bytes = 0

    def append(self, number: int, data: bytes, keep: float) -> None:
        self._entries.append((number + round(keep * 1_000_000), OwnEntry(number, data)))
        self._bytes += len(data)
        while (
            self._entries[0][0] < number
            or len(self._entries) > MAX_OWN_ENTRIES
            or self._bytes > MAX_OWN_BYTES
        ):
            _, entry = self._entries.popleft()
            self._bytes -= len(entry.data)
            self.horizon = entry.number

    def after(self, number: int) -> list[OwnEntry]:
        newest = (entry for _, entry in reversed(self._entries))
        return [*takewhile(lambda entry: entry.number > number, newest)][::-1]
