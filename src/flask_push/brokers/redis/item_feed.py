"""How a hub receives items from a Redis.

A row arrives on the Redis channel of its channel's events, in the order of numbers, and
names the row before it. The horizon of a channel arrives there when it grows, and with each
answer that confirms the channel. So the feed joins, reads pages and proves that nothing is
missing as it does for events, with scripts that read rows as well.
"""

from __future__ import annotations

import typing as t

from ..._event import Entry
from .._common import PageRequest
from .._items import Horizons
from .._items import Timed
from ..base import Retention
from ..base import Sink
from . import calls
from . import item_replies
from . import replies
from . import scripts
from .channels import Channels
from .item_calls import ItemCalls
from .page_reads import ItemsRead
from .page_reads import ItemsRequest
from .page_reads import LogPage
from .page_reads import PageWithItems
from .page_reads import ReadPage
from .progress import Progress
from .scripts import Arg
from .scripts import Script


class FeedItems:
    """It is false if the sink takes no items."""

    def __init__(
        self,
        store: calls.Store,
        retention: Retention | None,
        sink: Sink,
        channels: Channels,
    ) -> None:
        self._store = store
        self._calls = ItemCalls(store, retention)
        self.horizons = Horizons(sink)
        self._timed = Timed(sink)
        self._channels = channels

    def __bool__(self) -> bool:
        return bool(self.horizons)

    def join(
        self, channels: list[str], others: list[str], epoch: str, end: int
    ) -> tuple[Script, list[Arg]]:
        """The question for events, and for rows if the sink takes them.

        :param others: Channels that the answer will confirm.
        """
        if self and (channels or others):
            args = self._calls.join(channels, others, epoch, end)
            return scripts.READ_WITH_ITEMS, args
        script = scripts.READ_TIMED if self._timed else scripts.READ
        return script, self._store.join(channels, epoch, end)

    def confirm(self, reply: list[t.Any], names: list[str], question: int) -> None:
        """Give the horizons of an answer to the sink, and whether rows have a time to live.

        A channel that was unwatched, and is wanted again, waits for the answer to a later
        question: its first row may be set before that.

        :param names: The channels that were asked for.
        """
        some = replies.has_deadlines(reply)
        if some is not None:
            self._timed.give(some)
        if not self:
            return
        epoch, end, _ = replies.Head.of(reply)
        known, without = dict.fromkeys(names, end), set[str]()
        if len(reply) > 10:
            known, without = item_replies.horizons(reply, names)
        # Otherwise no row could be read, so each that the sink has may be old.
        confirmed = self._channels.is_confirmed
        wanted = {n: number for n, number in known.items() if confirmed(n, question)}
        self.horizons.give(epoch, wanted, without)

    def missed(self, reply: list[t.Any], channels: list[str]) -> list[Entry] | None:
        """The entries that a feed has missed, or ``None`` if the reply has not all."""
        if len(reply) > 10:
            return item_replies.all_missed(reply, channels)
        return replies.all_missed(reply, channels)

    def take(
        self, channel: str, data: bytes, progress: Progress, entries: list[Entry]
    ) -> bool:
        """Add what is published of a channel's items to the entries to deliver, or give its
        horizon to the sink.

        :return: Whether no entry is missing before it.
        """
        if not self:
            return True
        try:
            epoch, rows, horizon = item_replies.pushed(channel, data)
        except ValueError:
            return True  # Another program has published it.
        if rows:
            return progress.take(epoch, rows, entries)
        if epoch != progress.epoch:
            return False
        self.horizons.give(epoch, {channel: horizon}, ())
        return True

    def page(self, request: PageRequest) -> ReadPage:
        """A page of events, and of rows if the sink takes them."""
        if self:
            return PageWithItems(self._calls, request)
        return LogPage(self._store, request)

    def rows(self, request: ItemsRequest) -> ReadPage:
        return ItemsRead(self._calls, request)
