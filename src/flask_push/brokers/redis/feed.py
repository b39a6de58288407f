"""How a hub receives events from a Redis.

Events arrive as they are published, on one connection, in the order of their numbers. The
*tick* proves that none is missing: it is a question whose answer arrives after all events
that were published before it. The same tick detects a silent server, a server that became a
replica, and another life of the store. After the connection was lost, *joining* asks for
the events since the last one that was handed on. If they can't be proved complete, the
feed reports to the hub that events are missing.

A connection whose server refuses a question is kept. If the reason may pass, because the
server is full or busy, the feed asks again. A script that fails would fail each time: then
nothing can be proved, the hub reports a gap, and the feed continues after it.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t
from functools import partial

from ..._event import Entry
from ..._event import Page
from ..._event import Position
from .._common import PageRequest
from .._items import as_watched
from .._items import one_kind
from ..base import Retention
from ..base import Sink
from ..items import ItemsPage
from . import calls
from . import replies
from . import scripts
from .channels import Channels
from .connection import Published
from .connection import ReplyError
from .connection_pair import ConnectionPair
from .errors import passes
from .item_feed import FeedItems
from .own import OwnLogs
from .page_reads import ItemsRequest
from .page_reads import PageReads
from .pool import Place
from .progress import Progress
from .replies import Head
from .timer import EarliestTimer

# Seconds to the next tick: while events are not proved complete, and otherwise.
_UNPROVED_TICK_SECONDS, _TICK_SECONDS = 0.5, 4.0
# Seconds after which a refused question is asked again.
_REFUSED_RETRY_SECONDS = 1.0


class RedisFeed:
    def __init__(
        self,
        place: Place,
        retention: Retention | None,
        sink: Sink,
        loop: asyncio.AbstractEventLoop,
        after: Position | None = None,
        channels: cabc.Collection[str] = (),
    ) -> None:
        self.retention = round((retention or Retention()).age * 1_000_000)
        self._store = calls.Store(place.names, retention)
        self._prefix = len(place.names.channel(""))
        self._sink = sink
        self._loop = loop
        self._progress = Progress(after)
        self._channels = Channels(channels)
        self._question = 0
        #: Whether arriving events continue those that were handed on.
        self._live = False
        self._due = self._closed = False
        #: Whether joining was refused; and whether it failed, so that events are missed.
        self._refused = self._broken = False
        self._timer = EarliestTimer(loop, self.tick)
        self._own = OwnLogs(self._store, sink, self._timer)
        self._items = FeedItems(self._store, retention, sink, self._channels)
        holds = bool(self._own.channels)
        self._reads = PageReads(self._store, loop, self, self._timer, holds)
        self._redis = ConnectionPair(place, loop, self)

    # Called by the hub.

    @property
    def trouble(self) -> str:
        return self._redis.trouble

    def watch(self, channels: cabc.Collection[str]) -> None:
        self._channels.watch(channels, self._question)
        self.go_on()

    def unwatch(self, channels: cabc.Collection[str]) -> None:
        self._channels.unwatch(channels)
        self._items.horizons.unwatch(channels)
        self.go_on()

    def read(
        self,
        channels: cabc.Collection[str],
        callback: cabc.Callable[[Page], None],
        *,
        after: int | None = None,
        last: int = 0,
    ) -> None:
        request = PageRequest(list(channels), after, last, callback)
        self._reads.add(self._items.page(request))

    def read_items(
        self,
        channels: cabc.Collection[str],
        callback: cabc.Callable[[ItemsPage], None],
        *,
        after: int = 0,
        upto: int | None = None,
    ) -> None:
        kind, names = one_kind(channels)

        def answer(page: ItemsPage) -> None:
            callback(as_watched(page, kind))

        request = ItemsRequest(names, after, upto, answer, kind)
        self._reads.add(self._items.rows(request))
        if not self._progress.is_proved:
            # The readers wait until what was handed on is proved complete.
            self._timer.set(0)

    def close(self) -> None:
        self._closed, self._live = True, False
        self._timer.cancel()
        self._reads.close()
        self._redis.close()

    # Called by the pair of connections.

    def up(self) -> None:
        self._redis.subscribe(self._own.channels)
        self._redis.subscribe(map(self._store.names.channel, self._channels))
        self._join()

    def down(self) -> None:
        self._live = self._refused = self._broken = False
        self._own.down()
        self._reads.down()

    def pushed(self, published: Published) -> None:
        published, all_fit = self._own.take(published)
        if not self._live:
            return
        entries: list[Entry] = []
        fits = True
        for channel, data in published:
            try:
                name = channel[self._prefix :].decode()
            except UnicodeDecodeError:
                name = calls.own_name(channel[self._prefix :])
            if name not in self._channels.watched:
                continue
            try:
                epoch, new = replies.published(name, data)
            except ValueError:
                fits = self._items.take(name, data, self._progress, entries)
            else:
                fits = self._progress.take(epoch, new, entries)
            if not fits:
                break
        if entries:
            self._sink.deliver(self._progress.epoch, entries, None)
        if fits and all_fit:
            self._timer.set(_UNPROVED_TICK_SECONDS)
        elif not self._closed:
            self._join()

    def live_end(self) -> Position | None:
        return Position(self._progress.epoch, self._progress.end) if self._live else None

    # Questions.

    def go_on(self) -> None:
        if not self._due:
            self._due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._due = False
        if self._closed:
            return
        unwanted = self._channels.take_unwanted()
        if self._redis.ready:
            # A new connection has no subscriptions to end.
            self._redis.unsubscribe(map(self._store.names.channel, unwanted))
        if not self._live:
            return  # Joining will do the rest.
        if self._channels.wait_for(self._question):
            self.tick()
        self._reads.ask(self._redis)

    def _ask(
        self,
        channels: list[str],
        answered: cabc.Callable[[int, list[str], list[t.Any]], None],
        refused: cabc.Callable[[ReplyError], None],
    ) -> None:
        """Ask for events. The answer also confirms the channels wanted before.

        :param answered: Called with the question's number, the names of the channels whose
            horizons were asked for, and the reply.
        """
        question, self._question = self._question, self._question + 1
        new = self._channels.wait_for(question)
        self._redis.subscribe(map(self._store.names.channel, new))
        self._own.ask(self._redis)
        others = self._channels.waiting(question) if self._items else []
        epoch, end = self._progress.epoch, self._progress.end
        if self._broken:
            script, args = scripts.READ, self._store.join([], epoch, end)
            others = [*self._channels]
        else:
            script, args = self._items.join(channels, others, epoch, end)
        names = [*channels, *others]
        self._redis.prove(script, args, partial(answered, question, names), refused)

    def _join(self) -> None:
        self._live = self._refused = False
        channels = [] if self._broken else sorted(self._channels.watched)
        self._ask(channels, partial(self._joined, channels), self._not_joined)

    def tick(self) -> None:
        self._timer.cancel()
        if self._live:
            self._ask([], self.ticked, self._not_ticked)
        elif self._refused:
            self._join()

    # Answers.

    def _joined(
        self, channels: list[str], question: int, names: list[str], reply: list[t.Any]
    ) -> None:
        self._redis.well()
        if self._store.is_another(reply):
            self._join()
            return
        self._refused = not self._own.reaches(reply)
        if self._refused:
            return
        self._live = True
        entries = None if self._broken else self._items.missed(reply, channels)
        self._broken = False
        if entries is not None:
            # The hub may have unwatched a channel since it was asked.
            watched = self._channels.watched
            entries = [entry for entry in entries if entry.channel in watched]
        self._answered(question, names, reply, entries)

    def _not_joined(self, error: ReplyError) -> None:
        if passes(error) or self._broken:
            self._refused = True
            self._timer.set(_REFUSED_RETRY_SECONDS)
        else:
            # Join without the events of the channels, to receive those to come.
            self._broken = True
            self._join()

    def _not_ticked(self, error: ReplyError) -> None:
        if self._items and not passes(error):
            self._broken = True
            self._join()
        else:
            self._timer.set(_REFUSED_RETRY_SECONDS)

    def ticked(self, question: int, names: list[str], reply: list[t.Any]) -> None:
        if self._store.is_another(reply):
            self.tick()
        elif self._live and self._own.reaches(reply):
            if self._items and Head.of(reply).epoch != self._progress.epoch:
                # The sink gets the horizons of all channels before another epoch.
                self._join()
            else:
                self._answered(question, names, reply, [])

    def _answered(
        self,
        question: int,
        names: list[str],
        reply: list[t.Any],
        entries: list[Entry] | None,
    ) -> None:
        epoch, end, self.retention = Head.of(reply)
        before = self._progress.epoch
        self._items.confirm(reply, names, question)
        self._progress.prove(epoch, end)
        if epoch != before:
            self._sink.deliver(epoch, [], end)
        elif entries is None:
            self._sink.missed(end)
        else:
            self._sink.deliver(epoch, entries, end)
        if found := self._channels.take_answered(question):
            self._sink.watched(found)
        self._timer.set(_TICK_SECONDS)
        self.go_on()
        self._reads.release()
