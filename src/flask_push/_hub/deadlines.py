"""Ends items whose time to live is over, even if nothing is published (law 37).

The feed says whether the store has items with a ``ttl``, of any channel. While it has some,
the hub asks the store about once a second for those that are due, and stores their unsets.
Each hub of a store does so, because any of them may end. Their pauses differ, so most often
one of them finds an item first, and the others find nothing.

If the item says until when a run waits, the run is ended in the same transaction.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import random

from .._ipc.lost_runs import Count
from .._ipc.lost_runs import end_due
from ..brokers import ItemChange
from ..brokers import KeepsItems
from .writer import Answer
from .writer import MAX_CHANGES
from .writer import Writer

# Seconds between two looks, at least and at most.
_PAUSES_SECONDS = 0.75, 1.25


class Deadlines:
    """
    :param guard: Calls a function, and handles its exceptions.
    :param count: As for :class:`.RunKeeper`.
    """

    goes_on = True

    def __init__(
        self,
        writer: Writer,
        loop: asyncio.AbstractEventLoop,
        guard: cabc.Callable[..., None],
        count: Count,
    ) -> None:
        self._writer = writer
        self._loop = loop
        self._guard = guard
        self._count = count
        self._some = False
        # Whether a look is asked for, or will be.
        self._looks = False

    def __repr__(self) -> str:
        return f"<Deadlines some={self._some}>"

    def timed(self, some: bool) -> None:
        """As :meth:`.TimedSink.timed`."""
        self._some = some
        if some and not self._looks:
            self._looks = True
            self._look()

    def _look(self) -> None:
        self._looks = self._some
        if self._some:
            self._writer.want(self)

    def missing(self, broker: KeepsItems) -> list[ItemChange]:
        return end_due(broker, broker.due(MAX_CHANGES), self._count)

    def answered(self, answer: Answer) -> None:
        if not answer.goes_on:
            pause = random.uniform(*_PAUSES_SECONDS)
            self._loop.call_later(pause, self._guard, self._look)
