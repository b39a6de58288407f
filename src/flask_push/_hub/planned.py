"""What a hub plans on its loop, and its writer's thread then carries out."""

from __future__ import annotations

import asyncio
import collections.abc as cabc

from .._system.logs import QuietLogger
from ..brokers import OwnChannel
from .writer import Writer


class Planned:
    """
    :param watches: What the hub's feed watches for this. If it is nothing, the store can't
        keep what this needs, and nothing is planned.
    :param guard: Calls a function, and handles its exceptions.
    """

    #: Each plan is made at a time of its own, and needs the answer to the one before it.
    goes_on = False

    def __init__(
        self,
        watches: list[OwnChannel],
        writer: Writer,
        loop: asyncio.AbstractEventLoop,
        guard: cabc.Callable[..., None],
    ) -> None:
        self.watches = watches
        self._writer = writer
        self._loop = loop
        self._guard = guard
        self._quiet = QuietLogger()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def _plans(self) -> bool:
        """Whether anything is planned."""
        return bool(self.watches)

    def _plan_at(self, when: float) -> None:
        """Ask at this time, or before if that is planned already."""
        timer = self._timer
        # One that is late is about to run. If it were planned again, a busy loop might put
        # it off without end.
        if self._closed or not self._plans or (timer and timer.when() <= when):
            return
        self._drop_timer()
        self._timer = self._loop.call_at(when, self._guard, self._ask)

    def _ask(self) -> None:
        """Ask the writer to do what has to be done now. The timer has ended."""
        raise NotImplementedError

    def _drop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Plan nothing more."""
        self._closed = True
        self._drop_timer()
