"""The pages of history that a hub waits for."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t
from collections import deque
from functools import partial

from ..._event import Page
from ..._event import Position
from ..._event import Proof
from .._common import PageRequest
from ..base import PAGE_BYTES
from . import calls
from . import replies
from . import scripts
from .connection import ReplyError
from .connection_pair import ConnectionPair
from .errors import passes
from .timer import EarliestTimer

# Seconds after which a refused question is asked again.
_REFUSED_RETRY_SECONDS = 1.0
# Pages that are asked for at the same time.
_MAX_READS = 16
# A page of very many channels may have more bytes, so many for each channel, because the
# server has to look at all of them for each page.
_CHANNEL_BYTES = 256


class Reading(t.Protocol):
    """What pages need of the feed that reads them."""

    def live_end(self) -> Position | None:
        """Up to where the sink was given events; nothing while the feed is not live."""

    def tick(self) -> None:
        """Ask for the store's end, or join."""

    def go_on(self) -> None:
        """Ask for more pages on the loop's next pass."""


class PageReads:
    """
    :param timer: Ticks.
    :param holds: Whether a page that reaches beyond the end waits until the feed has
        reached that, because the sink must get the own logs before it.
    """

    def __init__(
        self,
        store: calls.Store,
        loop: asyncio.AbstractEventLoop,
        feed: Reading,
        timer: EarliestTimer,
        holds: bool,
    ) -> None:
        self._store = store
        self._loop = loop
        self._feed = feed
        self._timer = timer
        self._holds = holds
        self._waiting: deque[PageRequest] = deque()
        self._asked: list[PageRequest] = []
        #: Hand over the pages that reach beyond the end.
        self._held: list[cabc.Callable[[], None]] = []
        #: Asks for pages again after one was refused. Until then, none is asked for.
        self.retry: asyncio.TimerHandle | None = None

    def add(self, read: PageRequest) -> None:
        self._waiting.append(read)
        self._feed.go_on()

    def ask(self, redis: ConnectionPair) -> None:
        while self.retry is None and self._waiting and len(self._asked) < _MAX_READS:
            if self._feed.live_end() is None:
                return
            read = self._waiting.popleft()
            self._asked.append(read)
            limit = max(PAGE_BYTES, _CHANNEL_BYTES * len(read.channels))
            args = self._store.read(read.channels, read.after, read.last, limit)
            was_read = partial(self._was_read, read)
            redis.ask(scripts.READ, args, was_read, partial(self._not_read, read))

    def release(self) -> None:
        """Hand over the pages that were held, because the feed's end has moved."""
        held, self._held = self._held, []
        for hand_over in held:
            hand_over()

    def down(self) -> None:
        """The connections are closed."""
        self._held.clear()
        self._waiting.extendleft(reversed(self._asked))
        self._asked.clear()

    def close(self) -> None:
        if self.retry is not None:
            self.retry.cancel()

    def _was_read(self, read: PageRequest, reply: list[t.Any]) -> None:
        page = None
        if not self._store.is_another(reply):
            page = replies.page(reply, read.channels, read.after)
        self._hand_over(read, page)

    def _hand_over(self, read: PageRequest, page: Page | None) -> None:
        end = self._feed.live_end()
        if page is None or end is None or page.epoch != end.epoch:
            # The sink must get the new epoch before a page of it.
            self._asked.remove(read)
            self._waiting.appendleft(read)
            self._feed.tick()
            return
        if page.end > end.number:
            self._timer.set(0)
        if self._holds and page.reach > end.number:
            self._held.append(partial(self._hand_over, read, page))
            return
        self._asked.remove(read)
        self._feed.go_on()
        read.callback(page)

    def _not_read(self, read: PageRequest, error: ReplyError) -> None:
        self._asked.remove(read)
        end = self._feed.live_end()
        if passes(error) or end is None:
            self._waiting.appendleft(read)
            if self.retry is None:
                self.retry = self._loop.call_later(_REFUSED_RETRY_SECONDS, self._ask_again)
            return
        epoch, number = end
        proofs = dict.fromkeys(read.channels, Proof(number, "unknown"))
        after = number if read.after is None else read.after
        self._feed.go_on()
        read.callback(Page(epoch, after, number, number, [], proofs))

    def _ask_again(self) -> None:
        self.retry = None
        self._feed.go_on()
