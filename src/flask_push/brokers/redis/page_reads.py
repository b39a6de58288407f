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
from ..items import ItemsPage
from . import calls
from . import item_replies
from . import replies
from . import scripts
from .connection import ReplyError
from .connection_pair import ConnectionPair
from .errors import passes
from .item_calls import ItemCalls
from .scripts import Arg
from .scripts import Script
from .timer import EarliestTimer

# Seconds after which a refused question is asked again.
_REFUSED_RETRY_SECONDS = 1.0
# Pages that are asked for at the same time.
_MAX_READS = 16
# A page of very many channels may have more bytes, so many for each channel, because the
# server has to look at all of them for each page.
_CHANNEL_BYTES = 256


class ReadPage(t.Protocol):
    """A page that a hub waits for."""

    script: Script

    @property
    def args(self) -> list[Arg]: ...

    def page(self, reply: list[t.Any]) -> Page | ItemsPage: ...

    def nothing(self, end: Position) -> Page | ItemsPage:
        """The page if the script fails: it proves nothing up to the end."""

    def hand_over(self, page: t.Any) -> None: ...


class LogPage:
    script = scripts.READ

    def __init__(self, store: calls.Store, request: PageRequest) -> None:
        self._store = store
        self._request = request

    @property
    def args(self) -> list[Arg]:
        channels, after, last, _ = self._request
        return self._store.read(channels, after, last, _limit(channels))

    def page(self, reply: list[t.Any]) -> Page:
        return replies.page(reply, self._request.channels, self._request.after)

    def nothing(self, end: Position) -> Page:
        channels, after, _, _ = self._request
        epoch, number = end
        proofs = dict.fromkeys(channels, Proof(number, "unknown"))
        after = number if after is None else after
        horizons = dict.fromkeys(channels, number)
        return Page(epoch, after, number, number, [], proofs, horizons)

    def hand_over(self, page: Page) -> None:
        self._request.callback(page)


class PageWithItems(LogPage):
    script = scripts.READ_WITH_ITEMS

    def __init__(self, calls: ItemCalls, request: PageRequest) -> None:
        super().__init__(calls.store, request)
        self._calls = calls

    @property
    def args(self) -> list[Arg]:
        channels, after, last, _ = self._request
        return self._calls.read_page(channels, after, last, _limit(channels))

    def page(self, reply: list[t.Any]) -> Page:
        channels, after, _, _ = self._request
        return item_replies.page(reply, channels, after, _limit(channels))


class ItemsRequest(t.NamedTuple):
    channels: cabc.Sequence[str]
    after: int
    upto: int | None
    callback: cabc.Callable[[ItemsPage], None]
    kind: str = ""


class ItemsRead:
    script = scripts.READ_ITEMS

    def __init__(self, calls: ItemCalls, request: ItemsRequest) -> None:
        self._calls = calls
        self._request = request

    @property
    def args(self) -> list[Arg]:
        channels, after, upto, _, kind = self._request
        return self._calls.read(channels, after, upto, _limit(channels), kind, True)

    def page(self, reply: list[t.Any]) -> ItemsPage:
        channels, after, *_ = self._request
        return item_replies.items_page(reply, channels, after)

    def nothing(self, end: Position) -> ItemsPage:
        channels, after, *_ = self._request
        horizons = dict.fromkeys(channels, end.number)
        # Items have no gap, so their readers wait.
        return ItemsPage(end.epoch, after, after, end.number, [], horizons)

    def hand_over(self, page: ItemsPage) -> None:
        self._request.callback(page)


def _limit(channels: cabc.Sequence[str]) -> int:
    return max(PAGE_BYTES, _CHANNEL_BYTES * len(channels))


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
        self._waiting: deque[ReadPage] = deque()
        self._asked: list[ReadPage] = []
        #: Hand over the pages that reach beyond the end.
        self._held: list[cabc.Callable[[], None]] = []
        #: Asks for pages again after one was refused. Until then, none is asked for.
        self.retry: asyncio.TimerHandle | None = None

    def add(self, read: ReadPage) -> None:
        self._waiting.append(read)
        self._feed.go_on()

    def ask(self, redis: ConnectionPair) -> None:
        while self.retry is None and self._waiting and len(self._asked) < _MAX_READS:
            if self._feed.live_end() is None:
                return
            read = self._waiting.popleft()
            self._asked.append(read)
            was_read, not_read = (
                partial(self._was_read, read),
                partial(self._not_read, read),
            )
            redis.ask(read.script, read.args, was_read, not_read)

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

    def _was_read(self, read: ReadPage, reply: list[t.Any]) -> None:
        page = None
        if not self._store.is_another(reply):
            page = read.page(reply)
        self._hand_over(read, page)

    def _hand_over(self, read: ReadPage, page: Page | ItemsPage | None) -> None:
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
        read.hand_over(page)

    def _not_read(self, read: ReadPage, error: ReplyError) -> None:
        self._asked.remove(read)
        end = self._feed.live_end()
        if passes(error) or end is None:
            self._waiting.appendleft(read)
            if self.retry is None:
                self.retry = self._loop.call_later(_REFUSED_RETRY_SECONDS, self._ask_again)
            return
        self._feed.go_on()
        read.hand_over(read.nothing(end))

    def _ask_again(self) -> None:
        self.retry = None
        self._feed.go_on()
