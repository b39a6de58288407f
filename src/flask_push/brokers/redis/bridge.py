"""What other programs publish with a bare ``PUBLISH``, brought into a channel.

Each hub subscribes, and the one that has the *lease* publishes (law 20). The script that
takes the lease publishes this on a channel of the hub's, so the hub receives it on the
connection that subscribes. What arrives before it was the predecessor's to publish, or is
missing, for which the hub publishes a gap. What arrives after it, the hub publishes, once.

Each publish names its holder, and does nothing if the lease was taken since. Taking the
lease makes a new holder, even in the same hub: commands that are still under way on a lost
connection come too late. So nothing is published twice, and nothing is tried twice: after
any failure, the hub takes the lease again, and publishes a gap.

Beside the keys of ``scripts.py``, ``{push}:bridge:<bridge>`` is the holder of a bridge's
lease, until the lease runs out. The store's field ``bridge:<bridge>`` keeps the last
holder.
"""

from __future__ import annotations

import asyncio
import secrets
import typing as t

from ..._event import escape
from ..._event import Event
from ..._event import GAP
from ..base import Retention
from ..bridging import Bridge
from . import calls
from . import replies
from . import scripts
from .connection import Published
from .connection import ReplyError
from .connection_pair import ConnectionPair
from .pool import Place
from .scripts import Arg
from .waiting import source_of
from .waiting import WaitingEvents

_BRIDGE = scripts.Script.read("bridge.lua")

# Seconds for which a lease lasts, after which it is renewed, and between two attempts to
# take it. Another hub replaces one that is gone after the first and the last at most.
_LEASE_SECONDS, _RENEW_SECONDS, _TAKE_SECONDS = 3.0, 1.0, 0.5
# Seconds after which a refused command is tried again.
_REFUSED_RETRY_SECONDS = 1.0


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
        self._channel = bridge.channel
        source = source_of(bridge)
        self._source = source.encode()
        #: The lease, as all hubs name it.
        self._lease = f"{escape(bridge.channel)}:{len(bridge.type)}:{bridge.type}:{source}"
        if bridge.wire:
            self._lease = f"{bridge.wire}:{self._lease}"
        self._loop = loop
        self._me = secrets.token_urlsafe(12)
        #: The channel on which the script publishes that we have taken the lease.
        self._notices = place.names.key("bridge", self._me).encode()
        self._taken = 0
        #: Whether the bridge is known to have run.
        self._ran = False
        #: Whether we have the lease; and whether what arrives was published since.
        self.has_lease = self.receives = False
        self._asking = False
        self._waiting = WaitingEvents(bridge, max_event)
        self._timer: asyncio.TimerHandle | None = None
        self._redis = ConnectionPair(place, loop, self)
        self._redis.name = f"The bridge from {source} at {place.name}"

    def close(self) -> None:
        if self.has_lease:
            # Another hub may take it at once.
            self._ask([], lambda _: None, going=0.001)
        self._forget()
        self._redis.close()

    # Called by the pair of connections.

    def up(self) -> None:
        self._redis.subscribe([self._source, self._notices])
        self._redis.settle(self._take)

    def down(self) -> None:
        self._forget()

    def pushed(self, published: Published) -> None:
        for channel, data in published:
            if channel == self._notices:
                if data == self._holder.encode():
                    self.receives = True
            elif self.receives:
                self._waiting.add(data)
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
        self._redis.well()
        self._ran = True
        self.has_lease = replies.THEIRS not in reply
        if not self.has_lease:
            self._lose()
            return
        self._renew_later()
        self._publish()

    def _publish(self) -> None:
        if self.has_lease and self._waiting and not self._asking:
            self._asking = True
            self._ask(self._waiting.take(), self._published)

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
        self.has_lease = self.receives = self._asking = False
        self._waiting.clear()
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
        keys = [self._store.names.key("bridge", self._lease).encode(), self._notices]
        args: list[Arg] = ["", self._lease, self._holder]
        args += [round(going * 1000), int(taking), int(self._ran)]

        def replied(reply: list[t.Any]) -> None:
            if self._store.is_another(reply):
                ask()
                return
            answered(reply)
            if replies.PRUNE_NEXT in reply:
                self._prune([])

        def ask() -> None:
            self._redis.ask(
                _BRIDGE, self._store.store(runs, keys, args), replied, self._refused
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

        if self._redis.ready:
            args = self._store.prune(channels)
            self._redis.ask(scripts.PRUNE, args, pruned, lambda _: None)
