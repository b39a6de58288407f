"""Brokers that also keep items: of each, only its newest value.

A channel's name has a log and items, independent of each other and numbered in the one
sequence. :meth:`KeepsItems.change` sets and unsets items, and publishes ordinary events
with them. An item has one row: the newest set; or the newest unset, a *tombstone*, from
which readers who were away learn that the item is gone.

What a broker has to do:

- It stores a row and removes the item's older row in one transaction. :class:`.Retention`
  bounds the living rows of a channel: ``items`` of them, and ``item_bytes`` of their data,
  types and names and :data:`ROW_BYTES` for each. A call that would exceed a bound stores
  nothing. Living rows never expire, and their bytes don't count among those of events.
- It removes the oldest tombstones of a channel that it changes: those that are older than
  the retention's age, and those above ``max(1000, living rows)``. It keeps the newest row
  of the channel, of either kind. The number of the newest tombstone that it has removed is
  the channel's *horizon*, which it stores in the same transaction.
- The horizon of a channel of which it has no row is the number since which it would have
  one: the birth of the store. It may remove the last row of a channel, if that is a
  tombstone older than the retention's age, and if this number then rises to the row's.
- A read is complete by the horizon alone: each row in ``(after, reach]`` that is not
  superseded is there. ``prev`` of a row that was read is the number of the row of its
  channel before it in what was read. ``prev`` of the first is the horizon, or the number
  after which was read if that is less. Only a row that the store pushes names the row
  that was stored before it on its channel.
- A time to live ends by the store's clock, which is never set. From then on, the row is
  *due*, and a process that finds it stores its unset: see :meth:`KeepsItems.due`.

A feed gives items to a sink that is an :class:`ItemSink`:

1. It delivers the rows of the watched channels with the events, merged by number. The
   ``item`` of such an entry is not empty. The ``type`` of an unset is :data:`UNSET`.
2. It calls ``horizons`` with a channel's horizon before it calls ``watched`` with it. It
   calls ``horizons`` with those of all watched channels at each new epoch, before the
   ``deliver`` with that epoch; and before its first ``deliver`` if it continues where
   another feed has ended.
3. If the horizon of a watched channel has grown, it calls ``horizons`` again before a
   ``deliver`` or ``missed`` with an end that is not below it. Pages have their own.
4. ``missed`` concerns items, too. Pages have the rows and the horizons.
5. It has ``read_items``: see :class:`ItemFeed`. After a call, it soon delivers an end that
   is not below ``upto``, because readers get no items before that.

A sink may also watch items of Flask-Push's own kinds, which are no channel's of an app. It
names their channel by an :class:`.OwnChannel`, in ``watch``, in ``unwatch``, when a feed is
opened, and in ``read_items``; but not in ``read``. The feed uses such a name in the same
way wherever it names a channel: in entries, in ``horizons``, in ``watched``, and on pages
of items. All of the above is valid for their rows, too.

Other sinks receive no items. A feed also calls ``timed`` of each sink that is a
:class:`TimedSink`.
"""

from __future__ import annotations

import collections.abc as cabc
import math
import re
import typing as t
from functools import lru_cache

from .._event import Event
from .._event import ItemRow as ItemRow
from .._event import ItemsPage as ItemsPage
from .._event import MAX_NUMBER
from .._event import Page
from .._event import Position
from .._event import UNSET as UNSET
from .base import NotPublished
from .base import PAGE_BYTES
from .base import Retention

#: What a living row counts besides the bytes of its data, its type and its item's name.
ROW_BYTES = 100
#: How many items of an own kind a channel may have, and how many bytes of them. All hubs
#: store theirs there, and one that could not would lose the rest of its call.
OWN_BOUNDS = 100_000, 64 * 2**20
#: The kinds whose channels have other bounds. See :mod:`.brokers.runs`.
BOUNDS_OF_KINDS = {"run": (1_000_000, 256 * 2**20)}
#: As many tombstones a channel keeps at least, if they are not too old.
MIN_TOMBSTONES = 1000

_KIND = re.compile("[a-z]{1,32}")


class ItemsFull(NotPublished):
    """Nothing was stored: the channel would have more items, or more bytes of items, than
    ``PUSH_MAX_ITEMS`` and ``PUSH_ITEMS_BYTES`` allow. Unset items, or raise the bound."""


class Conflict(NotPublished):
    """Nothing was stored: a row is not the one that a change expects. Read it again."""


class ItemChange(t.NamedTuple):
    """One item is set or unset."""

    channel: str
    #: The item's name, which is never empty.
    item: str
    #: The item's new value, or ``None`` to unset it.
    data: str | None
    type: str = "message"
    #: Seconds after which a set is due to be unset, by the store's clock.
    ttl: float | None = None
    #: From 0 to 2**63 - 1. A change whose version is not above the row's changes nothing.
    version: int | None = None
    #: Empty for items of the app. Otherwise 1 to 32 letters a to z, for items of
    #: Flask-Push's own. These are stored apart: no channel's name leads to them.
    kind: str = ""
    #: A name by which :meth:`KeepsItems.owned` finds the row.
    owner: str = ""
    #: The id that the living row must have, which is ``str(position)``. Empty if there must
    #: be no living row. ``None`` for no condition.
    expect: str | None = None
    #: Of an unset: it unsets the row if it is due, and otherwise changes nothing.
    due: bool = False


#: The fields after the first four, of a change that has no others.
PLAIN = ItemChange("", "", None)[4:]


@t.runtime_checkable
class KeepsItems(t.Protocol):
    """A broker that also keeps items. Any thread, any process."""

    def change(self, changes: cabc.Sequence[Event | ItemChange]) -> list[Position]:
        """Store events and changes of items in this order, all or none, in one
        transaction, and wake the feeds.

        All expectations are checked before anything is stored, against the rows as they
        were before the call. A row that is due does not count as living. Then, for each
        change:

        1. If the item's row is due, its unset is stored, with the row's version.
        2. If the row, which may be a tombstone, has a version, and that of the change is
           not above it, nothing is stored. The row's position is returned.
        3. An unset of an item without a living row stores nothing, and neither does one
           that has ``due``. The position of the unset that step 1 stored is returned, or
           otherwise the store's.
        4. A set with a ``ttl`` whose type, data, version and owner are those of the living
           row gives it a new deadline. It is no event. The row's position is returned.
        5. Otherwise the change is stored, with its version, and its deadline if any.

        The bounds are checked at the end of the call. It is refused if a channel then has
        more living rows, or more bytes of them, than its bound and than before the call.

        :raises Conflict: If an expectation is not met.
        :raises ItemsFull: If a channel would exceed its bounds.
        :raises NotPublished: If it is certain that nothing was stored.
        :raises PublishUncertain: If it is not.
        :raises ValueError: If a change is not as :class:`ItemChange` says.
        """

    def read(
        self,
        channels: cabc.Collection[str],
        *,
        after: int | None = None,
        last: int = 0,
        limit: int = PAGE_BYTES,
        items: bool = False,
    ) -> Page:
        """As :meth:`.Broker.read`.

        :param items: The page has the rows, too, living ones and tombstones, in
            ``(after, reach]``, merged by number, and the channels' horizons.
        """

    def read_items(
        self,
        channels: cabc.Collection[str],
        *,
        after: int = 0,
        upto: int | None = None,
        limit: int = PAGE_BYTES,
        kind: str = "",
        due: bool = False,
    ) -> ItemsPage:
        """A page of living rows, after a number and up to another.

        :param limit: As for :meth:`.Broker.read`.
        :param due: Whether rows that are due are among them.
        :raises NotRead: If the store can't be read now.
        """

    def due(self, limit: int = 500) -> list[ItemChange]:
        """Unsets of rows that are due, of any kind, for :meth:`change`.

        :raises NotRead: If the store can't be read now.
        """

    def owned(self, owner: str, *, kind: str, limit: int = 500) -> list[ItemRow]:
        """The owner's living rows, over all channels, in the order of their numbers.

        :raises NotRead: If the store can't be read now.
        """


@t.runtime_checkable
class ItemSink(t.Protocol):
    """A sink that also receives items, on the feed's loop."""

    def horizons(
        self,
        epoch: str,
        horizons: cabc.Mapping[str, int],
        without: cabc.Collection[str] = (),
    ) -> None:
        """
        :param without: Those of these channels of which the store has no row, neither a
            living one nor a tombstone.
        """


@t.runtime_checkable
class TimedSink(t.Protocol):
    """A sink that stores the unsets of rows that are due. It need not receive items."""

    def timed(self, some: bool) -> None:
        """Called on the feed's loop, within seconds after this has changed.

        :param some: Whether the store has living rows with a time to live, of any kind and
            on any channel. It has none before the first call.
        """


@t.runtime_checkable
class ItemFeed(t.Protocol):
    """The feed of a broker that keeps items."""

    def read_items(
        self,
        channels: cabc.Collection[str],
        callback: cabc.Callable[[ItemsPage], None],
        *,
        after: int = 0,
        upto: int | None = None,
    ) -> None:
        """As :meth:`KeepsItems.read_items`, with rows that are due. Calls back later, when
        the store can be read.

        :param channels: They are all of one kind.
        """


def bounds(kind: str, retention: Retention) -> tuple[int, int]:
    """How many living rows a channel has at most, and how many bytes of them. What an app
    configures for its items is not valid for those of Flask-Push's own."""
    if not kind:
        return retention.items, retention.item_bytes
    return BOUNDS_OF_KINDS.get(kind, OWN_BOUNDS)


def row_bytes(item: str, type: str, data: bytes) -> int:
    """What a living row counts among the bytes of its channel's items."""
    return len(data) + len(type.encode()) + len(item.encode()) + ROW_BYTES


@lru_cache(64)
def _is_kind(text: str) -> bool:
    return _KIND.fullmatch(text) is not None


def check_kind(kind: str) -> None:
    """Refuse a kind that no items may have.

    :raises ValueError: With the reason.
    """
    if kind and not _is_kind(kind):
        raise ValueError(
            "A kind of items is empty, or has 1 to 32 of the letters a to z, not"
            f" {kind!r:.80}."
        )


def check_change(change: ItemChange) -> None:
    """Refuse a change that no store may make.

    :raises ValueError: With the reason.
    """
    if not change.item:
        raise ValueError("An item's name is not empty.")
    if change[4:] == PLAIN:
        return
    check_kind(change.kind)
    if change.ttl is not None:
        if change.data is None:
            raise ValueError("An unset has no ttl, because it does not end.")
        if not 0 < change.ttl < math.inf:
            raise ValueError(f"ttl is a number of seconds above 0, not {change.ttl!r}.")
    if change.version is not None and not 0 <= change.version <= MAX_NUMBER:
        raise ValueError(
            f"version is a whole number from 0 to 2**63 - 1, not {change.version!r}."
        )
    if change.due and change.data is not None:
        raise ValueError("Only an unset can be due.")
