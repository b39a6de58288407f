"""Reads what the feed has missed, so that the log has no hole."""

from __future__ import annotations

import asyncio
import collections.abc as cabc

from .._delivery.log import Log
from .._delivery.subscription import ReaderGroup
from .._event import Page
from .feeding import Feeding

# Seconds before the store is read again, if it did not have the missing events yet.
_REREAD_SECONDS = 0.05


class Filling:
    """
    :param guard: Calls a function, and handles its exceptions.
    :param send: Sends what a page has brought to these groups, after the log's end was at a
        number.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        log: Log,
        feed: Feeding,
        guard: cabc.Callable[..., None],
        send: cabc.Callable[[list[ReaderGroup], int], None],
    ) -> None:
        self._loop = loop
        self._log = log
        self._feed = feed
        self._guard = guard
        self._send = send
        self._asked = False
        self._over = False

    def fill(self) -> None:
        """Ask for a page of what is missing, unless one was asked for."""
        if not self._asked:
            self._ask()

    def cancel(self) -> None:
        """Ask for no more pages."""
        self._over = True

    def _ask(self) -> None:
        self._asked = True
        self._feed.read(self._log.holds(), self._take, after=self._log.end)

    def _take(self, page: Page) -> None:
        log = self._log
        start = log.end
        touched = log.fill(page)
        self._send(touched, start)
        self._asked = bool(log.hole)
        if self._asked and log.end > start:
            self._ask()
        elif self._asked:
            self._loop.call_later(_REREAD_SECONDS, self._guard, self._ask_later)

    def _ask_later(self) -> None:
        if not self._over:
            self._ask()
