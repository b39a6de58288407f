"""What a broker is: a store that puts events into one order, and tells hubs of them.

A broker has two faces, because two kinds of process use it. Whoever publishes calls
:class:`Broker`, which blocks and may be used by any thread and after any fork. The hub
holds a :class:`Feed`, which lives on an event loop and calls back in the order of the
log. Third-party brokers implement both, register a scheme as an entry point in the
group ``flask_push.brokers``, and inherit the tests of
:class:`flask_push.testing.BrokerContract`.

What must hold between the calls:

- Numbers grow over all channels, in the order in which events can be read.
- ``Entry.prev`` and ``Proof.since`` never claim what the store does not know. A
  number that stands for forgotten events is never one of an event on another channel
  that is still held.
- Publishing either stores all of the events given, in their order, or none.
- ``Event.exclude`` is stored with the event, and returned as ``Entry.exclude``, by pages
  and by feeds. If a store loses it, the excluded connection receives the event.
- A feed's ``deliver`` with an ``end`` means that everything up to it, on the channels
  watched, has been delivered. A change of epoch is delivered, with an ``end``, before
  anything else says the new epoch.
- A feed that can't say so, since the store has forgotten what it was about to deliver,
  says ``missed``. The hub then reads what there is, and tells of the rest.
- From ``watched`` on, the channels' events after the last ``end`` are delivered.
- Numbers are microseconds since 1970, as of a clock that is never set. The age of an
  event, of a key, and of what is not stored is the time that the store has had it. So a
  wall clock that is wrong, forward or back, for one event or for a day, makes nothing
  older or younger.
- All that a store keeps is within :class:`Retention`. Keys are forgotten with the events
  of their age. Events that are not stored are forgotten within seconds, and take an
  eighth of the bytes at most.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t
from dataclasses import dataclass

from .._event import Entry
from .._event import Event
from .._event import Page
from .._event import Position

#: Bytes after which a page of history is full: about what a socket takes at once, since
#: what it does not take is read again.
PAGE_BYTES = 64 * 1024
#: What an entry counts on a page beside its data.
ENTRY_BYTES = 100


class NotPublished(Exception):
    """Nothing was stored: the store can't be reached or is full. Publish again later."""


class NotRead(Exception):
    """The store can't be reached, or is busy, and nothing is known: read again later."""


class PublishUncertain(Exception):
    """The store may have the events or not. Publishing again with the same ``key``
    stores them once."""


@dataclass(frozen=True)
class Retention:
    """How long events are kept. Whichever limit is reached first, the oldest go."""

    #: Seconds, which is also how long positions can be resumed.
    age: float = 86400
    #: Events of each channel.
    count: int = 1000
    #: Bytes of all channels together.
    bytes: int = 256 * 2**20


@t.runtime_checkable
class Broker(t.Protocol):
    """The publishing face. Any thread, any process, before or after a fork."""

    @property
    def url(self) -> str:
        """Opens the same store in another process."""

    def publish(self, events: cabc.Sequence[Event]) -> list[Position]:
        """Store events in this order, all or none, and wake the feeds.

        An event whose key its channel has seen within the retention is not stored
        again, and has the position that it had.

        :raises NotPublished: If it is certain that nothing was stored.
        :raises PublishUncertain: If it is not.
        """

    def read(
        self,
        channels: cabc.Collection[str],
        *,
        after: int | None = None,
        last: int = 0,
        limit: int = PAGE_BYTES,
    ) -> Page:
        """One page of history, and the store's position with it.

        :param after: The number to begin at. If it is ``None``, the page begins
            ``last`` events before the end, or as many as can be read without a gap.
        :param limit: Bytes after which the page is full, :data:`ENTRY_BYTES` for each
            entry among them. It has at least one entry, if there is one.
        :raises NotRead: If the store can't be read now.
        """

    def feed(
        self,
        sink: Sink,
        loop: asyncio.AbstractEventLoop,
        *,
        after: Position | None = None,
        channels: cabc.Collection[str] = (),
    ) -> Feed:
        """Begin to deliver to a hub. Called on the loop, and first delivers there.

        :param after: Go on where another feed has ended, not at the end of the store,
            with the channels that it watched.
        """

    def close(self) -> None:
        """Let go of what is open. The broker opens it again when it is used."""


class Sink(t.Protocol):
    """What a feed calls, always on its loop and never while it is being called."""

    def deliver(
        self, epoch: str, entries: cabc.Sequence[Entry], end: int | None
    ) -> None: ...

    def missed(self, end: int) -> None: ...

    def watched(self, channels: cabc.Sequence[str]) -> None: ...


class Feed(t.Protocol):
    """The hub's face. Everything happens on the loop that it was opened on."""

    @property
    def retention(self) -> int:
        """How far behind the end, in numbers, a position can surely be resumed."""

    def watch(self, channels: cabc.Collection[str]) -> None:
        """Deliver these channels too; answered by ``watched``."""

    def unwatch(self, channels: cabc.Collection[str]) -> None:
        """Stop delivering these. One that was not ``watched`` yet never will be."""

    def read(
        self,
        channels: cabc.Collection[str],
        callback: cabc.Callable[[Page], None],
        *,
        after: int | None = None,
        last: int = 0,
    ) -> None:
        """As :meth:`Broker.read`. Calls back later, when the store can be read."""

    def close(self) -> None: ...


class Bridge(t.NamedTuple):
    """What others say, and where it is published. See :meth:`.Push.bridge`."""

    source: str
    channel: str
    type: str = "message"


@t.runtime_checkable
class Bridging(t.Protocol):
    """A broker that can bring what others say without it into its channels, too."""

    def bridge(
        self, bridge: Bridge, loop: asyncio.AbstractEventLoop, max_event: int
    ) -> cabc.Callable[[], None]:
        """Begin to publish what the source says, if nobody else does: of all that were
        begun, in any process, one publishes. Called on the loop, and stays there.

        Where it may have missed something, it publishes an event of the type
        ``push:gap``, which readers are told as a gap; and so it does for what can't be
        an event, or has more bytes than `max_event`.

        :return: Ends it, and lets another process go on at once.
        """


# What brokers of ours have in common.

#: Bytes that an event or a key counts in a store beside its text, about; and that an event
#: counts at least beside its data.
ROW, EVENT = 60, 100
#: Microseconds for which an event that is not stored waits for the feeds, and the part of
#: all bytes that such events may take from those that are stored.
PASSING, PASSING_PART = 10_000_000, 8
