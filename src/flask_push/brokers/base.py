"""What a broker is: a store that puts events into one order, and delivers them to hubs.

A broker has two interfaces, because two kinds of process use it. Publishers call
:class:`Broker`, which blocks and may be used by any thread and after any fork. The hub has
a :class:`Feed`, which runs on an event loop and calls back in the order of the log.
Third-party brokers implement both, register a scheme as an entry point in the group
``flask_push.brokers``, and inherit the tests of :class:`flask_push.testing.BrokerContract`.

What must hold between the calls:

- Numbers grow over all channels, in the order in which events can be read.
- ``Entry.prev`` and ``Proof.since`` never claim more than the store knows. A
  number that stands for forgotten events is never one of an event on another channel
  that is still held.
- Publishing either stores all of the events given, in their order, or none.
- ``Event.exclude`` is stored with the event, and returned as ``Entry.exclude``, by pages
  and by feeds. If a store loses it, the excluded connection receives the event.
- A feed's ``deliver`` with an ``end`` means that all events up to it, on the channels
  watched, have been delivered. A change of epoch is delivered, with an ``end``, before
  any other call or page has the new epoch.
- If the store has forgotten events that the feed should deliver, the feed calls
  ``missed``. The hub then reads the events that are left, and sends gaps for the others.
- From ``watched`` on, the channels' events after the last ``end`` are delivered.
- Numbers are microseconds since 1970, by a clock that is never set. The age of an event
  or a key is the time for which the store has had it. So a wall clock that is wrong,
  forward or back, for one event or for a day, makes nothing older or younger.
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

#: Bytes after which a page of history is full. About as many as a socket takes at once,
#: because the others would be read again.
PAGE_BYTES = 64 * 1024
#: Bytes that an entry counts on a page besides its data.
ENTRY_BYTES = 100


class NotPublished(Exception):
    """Nothing was stored: the store can't be reached or is full. Publish again later."""


class StoreFull(NotPublished):
    """Nothing was stored, because the store is full."""


class NotRead(Exception):
    """The store can't be reached, or is busy. Read again later."""


class PublishUncertain(Exception):
    """The store may have the events or not. Publishing again with the same ``key``
    stores them once."""


#: What calls of a store in trouble raise.
TROUBLE = NotPublished, NotRead, PublishUncertain


@dataclass(frozen=True)
class Retention:
    """How long events are kept. At the first limit that is reached, the oldest expire."""

    #: Seconds. Positions can be resumed for as long.
    age: float = 86400
    #: Events of each channel.
    count: int = 1000
    #: Bytes of all channels together.
    bytes: int = 256 * 2**20
    #: Items of each channel, and their bytes. They don't expire: a channel that has so many
    #: refuses more.
    items: int = 10_000
    item_bytes: int = 4 * 2**20


@t.runtime_checkable
class Broker(t.Protocol):
    """The publisher's interface. Any thread, any process, before or after a fork."""

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
            ``last`` events before the end, or at as many as can be read without a gap.
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
        """Begin to deliver to a hub. Called on the loop, and delivers on the loop.

        :param after: Continue where another feed has ended, with the channels that it
            watched, instead of at the end of the store.
        """

    def close(self) -> None:
        """Close all connections and files. The broker opens them again when it is used."""


class Sink(t.Protocol):
    """Called by a feed: on its loop, and never during a call of the feed."""

    def deliver(
        self, epoch: str, entries: cabc.Sequence[Entry], end: int | None
    ) -> None: ...

    def missed(self, end: int) -> None: ...

    def watched(self, channels: cabc.Sequence[str]) -> None: ...


class Feed(t.Protocol):
    """The hub's interface. Everything happens on the loop on which it was opened."""

    @property
    def retention(self) -> int:
        """How far behind the end, in numbers, a position can certainly be resumed."""

    def watch(self, channels: cabc.Collection[str]) -> None:
        """Deliver these channels, too. The feed then calls ``watched``."""

    def unwatch(self, channels: cabc.Collection[str]) -> None:
        """Stop delivering these. ``watched`` will not be called for them any more."""

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


@t.runtime_checkable
class TellsTrouble(t.Protocol):
    """A feed that says when it can't read the store. The probes of a hub ask it. A feed
    without this counts as one that can read."""

    @property
    def trouble(self) -> str:
        """Why the store can't be read now; empty if it can, or if the first attempt has
        not ended yet. On the loop."""


# Numbers that our brokers share.

#: The bytes, about, that an event or a key counts in a store besides its text; and those
#: that an event counts at least besides its data.
ROW, EVENT = 60, 100
#: Microseconds for which an event that is not stored waits for the feeds, and the part of
#: all bytes that such events may take from those that are stored.
PASSING, PASSING_PART = 10_000_000, 8
