"""A timer that runs at the earliest of the times that it was set to."""

from __future__ import annotations

import asyncio
import collections.abc as cabc


class EarliestTimer:
    def __init__(
        self, loop: asyncio.AbstractEventLoop, callback: cabc.Callable[[], None]
    ) -> None:
        self._loop = loop
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        """Run within so many seconds."""
        when = self._loop.time() + seconds
        if self._handle is not None:
            if self._handle.when() <= when:
                return
            self._handle.cancel()
        self._handle = self._loop.call_at(when, self._run)

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _run(self) -> None:
        self._handle = None
        self._callback()
