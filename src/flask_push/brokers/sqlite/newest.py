"""The newest event of each channel, while no other process publishes.

Each event names the one before it on its channel. A process need not look for that one in
the file if the last number in the file is the one that it wrote itself: each write of any
process raises that number.
"""

from __future__ import annotations

# Of so many channels. It is begun again when there are more.
_MOST = 20_000

#: By channel, the number of its newest event, and how many were held then.
Newest = dict[str, tuple[int, int]]


class KnownNewest:
    """For one connection. Used within its transactions."""

    def __init__(self) -> None:
        self._of: Newest = {}
        self._epoch, self._last = "", 0

    def known(self, epoch: str, last: int) -> Newest:
        """What is known of a file that is at this number.

        An event up to the file's floor may have been forgotten.
        """
        return self._of if (epoch, last) == (self._epoch, self._last) else {}

    def note(self, epoch: str, last: int, found: tuple[Newest, Newest] | None) -> None:
        """Call it after a commit, with what was known before it and what is new. Without,
        nothing is known any more."""
        known, newest = found or ({}, {})
        if len(known) + len(newest) > _MOST:
            known = {}
        known.update(newest)
        self._of, self._epoch, self._last = known, epoch, last
