"""What a hub hears from a Redis.

Events come as they are published, on one connection, in the order of numbers. That
they are all is proved by the *tick*: a question whose answer comes behind everything
that was published before it. The same tick finds a server that is silent, one that was
demoted, and another life of the store. After a cut, *joining* asks for what the channels
got since the last event that was handed on; what can't be shown to be whole is missed.

A server that refuses a question is not lost. What passes, as that it is full or busy, is
asked again. A script that fails would fail each time: then nothing can be shown, which is
a gap, and the feed goes on behind it.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t
from collections import deque
from functools import partial

from ..._event import Entry
from ..._event import Page
from ..._event import Position
from ..._event import Proof
from .._common import PageRequest
from ..base import PAGE_BYTES
from ..base import Retention
from ..base import Sink
from . import calls
from . import replies
from . import scripts
from .errors import passes
from .line import Line
from .link import News
from .link import ReplyError
from .pool import Place

# Seconds to the next tick: while something is not proved, and otherwise.
_SOON, _LATER = 0.5, 4.0
# And after a question that was refused.
_AGAIN = 1.0
# Pages asked for at once.
_READS = 16
# Bytes that a page may have for each of its channels, where they are very many: the server
# has to look at all of them for each page.
_CHANNEL_BYTES = 256


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
        self._names = place.names
        self._prefix = len(place.names.channel(""))
        self._sink = sink
        self._loop = loop
        #: Everything of the epoch up to the end was handed on, as far as can be seen;
        #: up to `proved`, provably.
        self._epoch, self._end = after or ("", 0)
        self._proved = self._end
        #: The last number of channels that had an event since `proved`.
        self._last: dict[str, int] = {}
        self._channels = set(channels)
        #: Channels that were asked for, each with the question that will answer it.
        self._wanted: dict[str, int] = {}
        #: Channels to unsubscribe from in the next turn.
        self._unwanted: set[str] = set()
        self._question = 0
        #: Whether what is published continues what was handed on.
        self._live = False
        self._reads: deque[PageRequest] = deque()
        self._reading: list[PageRequest] = []
        self._due = self._closed = False
        #: Whether joining was refused, and if so, whether nothing else can be had.
        self._refused = self._broken = False
        #: Until when no page is asked for.
        self._rest: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._line = Line(place, loop, self)

    # What the hub says.

    def watch(self, channels: cabc.Collection[str]) -> None:
        self._wanted.update(dict.fromkeys(channels, self._question))
        self._go_on()

    def unwatch(self, channels: cabc.Collection[str]) -> None:
        for name in channels:
            self._wanted.pop(name, None)
        self._channels.difference_update(channels)
        self._unwanted.update(channels)
        self._go_on()

    def read(
        self,
        channels: cabc.Collection[str],
        callback: cabc.Callable[[Page], None],
        *,
        after: int | None = None,
        last: int = 0,
    ) -> None:
        self._reads.append(PageRequest(list(channels), after, last, callback))
        self._go_on()

    def close(self) -> None:
        self._closed = True
        for timer in self._timer, self._rest:
            if timer is not None:
                timer.cancel()
        self._line.close()

    # What the line says.

    def up(self) -> None:
        self._line.subscribe(map(self._names.channel, {*self._channels, *self._wanted}))
        self._join()

    def down(self) -> None:
        self._live = self._refused = self._broken = False
        self._reads.extendleft(reversed(self._reading))
        self._reading.clear()

    def pushed(self, news: News) -> None:
        if not self._live:
            return
        entries: list[Entry] = []
        fits = True
        for channel, data in news:
            name = channel[self._prefix :].decode()
            if name not in self._channels:
                continue
            try:
                epoch, new = replies.published(name, data)
            except ValueError:
                continue  # Somebody else's, and nothing that was published by us.
            fits = epoch == self._epoch and self._fits(new[0])
            if not fits:
                break
            if new[0].prev is not None:
                new = [entry for entry in new if entry.number > self._end]
                if not new:
                    continue
                self._end = self._last[name] = new[-1].number
            entries += new
        if entries:
            self._sink.deliver(self._epoch, entries, None)
        if fits:
            self._tick_in(_SOON)
        elif not self._closed:
            self._join()

    def _fits(self, entry: Entry) -> bool:
        """Whether nothing is missing before it."""
        number, prev, name, _, _, _ = entry
        if prev is None or number <= self._end:
            return True
        return prev <= max(self._last.get(name, 0), self._proved)

    # What is asked of the store.

    def _go_on(self) -> None:
        if not self._due:
            self._due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._due = False
        if self._closed:
            return
        unwanted, self._unwanted = self._unwanted, set()
        if self._line.ready:
            # A server that was lost has no channels of ours left.
            unwanted -= self._channels | self._wanted.keys()
            self._line.unsubscribe(map(self._names.channel, unwanted))
        if not self._live:
            return  # Joining takes up the rest.
        if self._question in self._wanted.values():
            self._tick()
        while self._live and self._reads and len(self._reading) < _READS:
            if self._rest is not None:
                return
            read = self._reads.popleft()
            self._reading.append(read)
            limit = max(PAGE_BYTES, _CHANNEL_BYTES * len(read.channels))
            args = self._store.read(read.channels, read.after, read.last, limit)
            was_read = partial(self._was_read, read)
            self._line.ask(scripts.READ, args, was_read, partial(self._not_read, read))

    def _ask(
        self,
        channels: list[str],
        answered: cabc.Callable[[int, list[t.Any]], None],
        refused: cabc.Callable[[ReplyError], None],
    ) -> None:
        """Its answer is one to whatever was asked for before, too."""
        question, self._question = self._question, self._question + 1
        new = [name for name, n in self._wanted.items() if n == question]
        self._line.subscribe(map(self._names.channel, new))
        args = self._store.join(channels, self._epoch, self._end)
        self._line.prove(scripts.READ, args, partial(answered, question), refused)

    def _join(self) -> None:
        self._live = self._refused = False
        channels = [] if self._broken else sorted(self._channels)
        self._ask(channels, partial(self._joined, channels), self._not_joined)

    def _tick_in(self, seconds: float) -> None:
        when = self._loop.time() + seconds
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._live:
            self._ask([], self._ticked, self._not_ticked)
        elif self._refused:
            self._join()

    # What the store answers.

    def _joined(self, channels: list[str], question: int, reply: list[t.Any]) -> None:
        self._line.well()
        if self._store.is_another(reply):
            self._join()
            return
        self._live = True
        entries = None if self._broken else replies.all_missed(reply, channels)
        self._broken = False
        if entries is not None:
            # A channel that was let go of meanwhile is in it, too.
            entries = [entry for entry in entries if entry.channel in self._channels]
        self._answered(question, reply, entries)

    def _not_joined(self, error: ReplyError) -> None:
        if passes(error) or self._broken:
            self._refused = True
            self._tick_in(_AGAIN)
        else:
            # Without what the channels got, for the rest may still be had.
            self._broken = True
            self._join()

    def _not_ticked(self, error: ReplyError) -> None:
        self._tick_in(_AGAIN)

    def _ticked(self, question: int, reply: list[t.Any]) -> None:
        if self._store.is_another(reply):
            self._tick()
        elif self._live:
            self._answered(question, reply, [])

    def _answered(
        self, question: int, reply: list[t.Any], entries: list[Entry] | None
    ) -> None:
        epoch, end, self.retention = replies.Head.of(reply)
        before, self._epoch = self._epoch, epoch
        self._end = self._proved = end
        self._last.clear()
        if epoch != before:
            self._sink.deliver(epoch, [], end)
        elif entries is None:
            self._sink.missed(end)
        else:
            self._sink.deliver(epoch, entries, end)
        found = sorted(name for name, n in self._wanted.items() if n <= question)
        for name in found:
            del self._wanted[name]
        self._channels.update(found)
        if found:
            self._sink.watched(found)
        self._tick_in(_LATER)
        self._go_on()

    def _was_read(self, read: PageRequest, reply: list[t.Any]) -> None:
        self._reading.remove(read)
        page = None
        if not self._store.is_another(reply):
            page = replies.page(reply, read.channels, read.after)
        if page is None or page.epoch != self._epoch or not self._live:
            # The epoch has to be told before it is read of.
            self._reads.appendleft(read)
            self._tick()
            return
        if page.end > self._end:
            self._tick_in(0)
        self._go_on()
        read.callback(page)

    def _not_read(self, read: PageRequest, error: ReplyError) -> None:
        self._reading.remove(read)
        if passes(error) or not self._live:
            self._reads.appendleft(read)
            if self._rest is None:
                self._rest = self._loop.call_later(_AGAIN, self._rested)
            return
        end = self._end
        proofs = dict.fromkeys(read.channels, Proof(end, "unknown"))
        after = end if read.after is None else read.after
        self._go_on()
        read.callback(Page(self._epoch, after, end, end, [], proofs))

    def _rested(self) -> None:
        self._rest = None
        self._go_on()
