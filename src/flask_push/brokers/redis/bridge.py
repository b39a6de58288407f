"""What other programs publish with a bare ``PUBLISH``, brought into a channel.

Each hub subscribes, and the one that has the *lease* publishes (law 20). The script that
takes the lease publishes this on a channel of the hub's, so the hub receives it on the
connection that subscribes. What arrives before it was the predecessor's to publish, or is
missing, for which the hub publishes a gap. What arrives after it, the hub publishes, once.

Each publish names its holder, and does nothing if the lease was taken since. Taking the
lease makes a new holder, even in the same hub: commands that are still under way on a lost
connection come too late. So nothing is published twice, and nothing is tried twice: after
any failure, the hub takes the lease again, and publishes a gap.
"""

from __future__ import annotations

import asyncio
import secrets
import typing as t
from collections import deque

from ... import sse
from ..._event import escape
from ..._event import Event
from ..._event import GAP
from ..._system.logs import QuietLogger
from ..base import Bridge
from ..base import Retention
from . import calls
from . import replies
from . import scripts
from .line import Line
from .link import Published
from .link import ReplyError
from .pool import Place

# Seconds for which a lease lasts, after which it is renewed, and between two attempts to
# take it. Another hub replaces one that is gone after the first and the last at most.
_LEASE_SECONDS, _RENEW_SECONDS, _TAKE_SECONDS = 3.0, 1.0, 0.5
# Seconds after which a refused command is tried again.
_REFUSED_RETRY_SECONDS = 1.0
# Events and bytes of one publish, and of all that wait.
_BATCH, _BATCH_BYTES = 200, 256 * 1024
_MAX_WAITING, _MAX_WAITING_BYTES = 20_000, 32 * 2**20


class RedisBridge:
    def __init__(
        self,
        place: Place,
        retention: Retention | None,
        bridge: Bridge,
        loop: asyncio.AbstractEventLoop,
        max_event: int,
    ) -> None:
        self._store = calls.Store(place.names, retention)
        self._channel, self._type = bridge.channel, bridge.type
        self._source = bridge.source.partition(":")[2]
        self._name = (
            f"{escape(bridge.channel)}:{len(bridge.type)}:{bridge.type}:{self._source}"
        )
        self._loop = loop
        self._max_event = max_event
        self._me = secrets.token_urlsafe(12)
        self._told = place.names.bridge(self._me)
        self._taken = 0
        #: Whether the bridge is known to have run.
        self._ran = False
        #: Whether we have the lease; and whether messages arrive that were sent since.
        self._has = self._after = False
        self._asking = False
        self._waiting: deque[Event] = deque()
        self._size = 0
        self._quiet = QuietLogger()
        self._timer: asyncio.TimerHandle | None = None
        self._line = Line(place, loop, self)
        self._line.name = f"The bridge from {self._source} at {place.name}"

    def close(self) -> None:
        if self._has:
            # Another hub may take it at once.
            self._ask([], lambda _: None, going=0.001)
        self._forget()
        self._line.close()

    # Called by the line.

    def up(self) -> None:
        self._line.subscribe([self._source.encode(), self._told])
        self._line.settle(self._take)

    def down(self) -> None:
        self._forget()

    def pushed(self, published: Published) -> None:
        for channel, data in published:
            if channel == self._told:
                if data == self._holder.encode():
                    self._after = True
            elif self._after:
                self._hear(data)
        self._publish()

    # Calls of the store.

    @property
    def _holder(self) -> str:
        return f"{self._me}.{self._taken}"

    def _take(self) -> None:
        self._timer = None
        self._taken += 1
        gap = Event(self._channel, "", GAP)
        self._ask([gap], self._was_taken, taking=True)

    def _was_taken(self, reply: list[t.Any]) -> None:
        self._line.well()
        self._ran = True
        self._has = replies.THEIRS not in reply
        if not self._has:
            self._lose()
            return
        self._renew_later()
        self._publish()

    def _publish(self) -> None:
        if not self._has or self._asking or not self._waiting:
            return
        events, size = list[Event](), 0
        while self._waiting and len(events) < _BATCH and size < _BATCH_BYTES:
            events.append(self._waiting.popleft())
            size += len(events[-1].data.encode())
        self._size -= size
        self._asking = True
        self._ask(events, self._published)

    def _renew(self) -> None:
        self._timer = None
        if not self._asking:
            # Otherwise, a publish is renewing it.
            self._asking = True
            self._ask([], self._published)
        self._renew_later()

    def _renew_later(self) -> None:
        self._timer = self._loop.call_later(_RENEW_SECONDS, self._renew)

    def _published(self, reply: list[t.Any]) -> None:
        self._asking = False
        if replies.THEIRS not in reply:
            self._publish()
        else:
            self._lose()

    def _lose(self) -> None:
        """Another hub has the lease. Try again until it runs out."""
        self._forget()
        self._timer = self._loop.call_later(_TAKE_SECONDS, self._take)

    def _forget(self) -> None:
        self._has = self._after = self._asking = False
        self._waiting.clear()
        self._size = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ask(
        self,
        events: list[Event],
        answered: t.Callable[[list[t.Any]], None],
        taking: bool = False,
        going: float = _LEASE_SECONDS,
    ) -> None:
        runs = calls.Runs(events)
        term = self._holder, round(going * 1000), int(taking), int(self._ran)

        def replied(reply: list[t.Any]) -> None:
            if self._store.is_another(reply):
                ask()
                return
            answered(reply)
            if replies.PRUNE_NEXT in reply:
                self._prune([])

        def ask() -> None:
            self._line.ask(
                scripts.BRIDGE,
                self._store.bridge(runs, self._name, self._told, *term),
                replied,
                self._refused,
            )

        ask()

    def _refused(self, error: ReplyError) -> None:
        """Waiting messages are lost. Taking the lease again publishes a gap."""
        self._forget()
        self._timer = self._loop.call_later(_REFUSED_RETRY_SECONDS, self._take)

    def _prune(self, channels: list[str]) -> None:
        """Remove events and keys that are too old or too many."""

        def pruned(reply: list[t.Any]) -> None:
            if not self._store.is_another(reply):
                if more := replies.channels_to_prune(reply):
                    self._prune(more)

        if self._line.ready:
            args = self._store.prune(channels)
            self._line.ask(scripts.PRUNE, args, pruned, lambda _: None)

    # Messages of other programs.

    def _hear(self, data: bytes) -> None:
        if (size := sse.sent_size(data)) > self._max_event:
            self._miss(f"It has {size:,} bytes (PUSH_MAX_EVENT_BYTES).")
        elif len(self._waiting) >= _MAX_WAITING or self._size > _MAX_WAITING_BYTES:
            self._miss("It is said faster than it can be stored.")
        else:
            try:
                text = data.decode()
            except UnicodeDecodeError as error:
                self._miss(str(error))
                return
            self._waiting.append(Event(self._channel, text, self._type))
            self._size += len(data)

    def _miss(self, reason: str) -> None:
        if not self._waiting or self._waiting[-1].type != GAP:
            self._waiting.append(Event(self._channel, "", GAP))
        self._quiet.error(
            "Could not make an event of what was published on %s; readers get a gap: %s",
            *(self._source, reason),
        )
