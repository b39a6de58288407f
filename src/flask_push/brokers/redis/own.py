"""How a hub receives logs of Flask-Push's own from a Redis.

Each log has a channel of its own, to which the feed subscribes first. Then it reads the
log, and then it joins; it also reads the log before each tick. All of this is on one
connection, so an entry that is appended between reading and joining arrives in between.
Each entry that arrives names the number of the entry before it. If that one was not given
to the sink, the feed reads again before it delivers anything else.
"""

from __future__ import annotations

import typing as t
from functools import partial
from operator import itemgetter

from ..base import Sink
from ..own import OWN_LOGS
from ..own import OwnPage
from ..own import OwnPages
from . import calls
from . import replies
from . import scripts
from .connection import Published
from .connection import ReplyError
from .connection_pair import ConnectionPair
from .errors import passes
from .timer import EarliestTimer

_CHANNEL = itemgetter(0)
# Seconds after which a refused question is asked again.
_REFUSED_RETRY_SECONDS = 1.0


class OwnLogs:
    """What a feed has given to its sink of the own logs."""

    def __init__(self, store: calls.Store, sink: Sink, timer: EarliestTimer) -> None:
        self._store = store
        self._pages = OwnPages(sink)
        logs = OWN_LOGS if self._pages else ()
        #: The logs by the channels on which they arrive.
        self.channels = {store.names.own_channel(log): log for log in logs}
        # Of each log, the epoch in which all entries until now were given. They were also
        # given if they arrive with the next data of the connection.
        self._proved: dict[str, str] = {}
        # Those that can't be read, because the script fails.
        self._failing: set[str] = set()
        self._timer = timer
        self._retry_seconds = 0.0

    def down(self) -> None:
        """The connection is closed."""
        self._proved.clear()
        self._failing.clear()

    def ask(self, redis: ConnectionPair) -> None:
        """Read what is after the last entry that was given."""
        for log in self.channels.values():
            known = self._pages.end(log)
            args = self._store.read_own(log, known, calls.JOIN_BYTES)
            answered = partial(self._was_read, log), partial(self._was_not_read, log)
            redis.prove(scripts.READ_OWN, args, *answered)

    def take(self, published: Published) -> tuple[Published, bool]:
        """Give entries of own logs to the sink.

        :return: What is left, up to an entry that does not follow those that were given;
            and whether there was none.
        """
        own = self.channels
        if not own or own.keys().isdisjoint(map(_CHANNEL, published)):
            return published, True
        rest: Published = []
        for channel, data in published:
            if channel not in own:
                rest.append((channel, data))
            elif not self._give(own[channel], data):
                return rest, False
        return rest, True

    def _give(self, log: str, data: bytes) -> bool:
        try:
            epoch, entry, prev = replies.own_pushed(data)
        except ValueError:
            return True  # Another program has published it.
        end = self._pages.after(log, epoch)
        if entry.number <= end:
            return True
        if prev > end:
            self._proved.pop(log, None)
            return False
        self._pages.give(log, OwnPage(epoch, end, entry.number, [entry]))
        return True

    def reaches(self, reply: list[t.Any]) -> bool:
        """Whether each entry up to this answer was given, or the sink knows that some may
        be missing. If not, the feed asks again soon."""
        epoch, end, _ = replies.Head.of(reply)
        for log in self.channels.values():
            if self._proved.get(log) == epoch:
                continue
            if log not in self._failing:
                self._timer.set(self._retry_seconds)
                return False
            self._pages.give(log, OwnPage(epoch, end, end, []))
            self._proved[log] = epoch
        return True

    def _was_read(self, log: str, reply: list[t.Any]) -> None:
        self._retry_seconds = 0.0
        self._failing.discard(log)
        if self._store.is_another(reply):
            return
        page, is_whole = replies.own_page(reply)
        # More may have arrived since it was asked.
        end = self._pages.after(log, page.epoch)
        if page.since < end <= page.end:
            entries = [entry for entry in page.entries if entry.number > end]
            page = page._replace(since=end, entries=entries)
        if page.end >= end:
            self._pages.give(log, page)
        if is_whole:
            self._proved[log] = page.epoch

    def _was_not_read(self, log: str, error: ReplyError) -> None:
        self._retry_seconds = _REFUSED_RETRY_SECONDS
        if not passes(error):
            self._failing.add(log)
