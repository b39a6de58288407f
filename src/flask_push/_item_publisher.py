"""Set, unset and read items, with or without an app."""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from dataclasses import dataclass

from ._event import Event
from ._event import event_id
from ._event import Name
from ._event import Position
from ._event_checks import unset_change
from ._names import channel_name
from ._names import item_name
from .brokers import Broker
from .brokers import ItemChange
from .brokers import ItemRow
from .brokers import ItemsFull
from .brokers import KeepsItems
from .brokers.due_items import NO_LIMIT
from .brokers.due_items import unset_due


@dataclass(frozen=True, slots=True)
class Items:
    """The items of a channel, and the position at which they were read."""

    #: The newest value of each item, by the item's name. The one that was set last is last.
    events: dict[str, Event]
    #: A stream that begins here gets all later events of the channel.
    position: str


class ItemPublisher:
    """What :class:`Publisher` and :class:`Push` do with items."""

    def set(
        self,
        channel: str,
        item: Name,
        data: t.Any,
        *,
        ttl: float | None = None,
        version: int | None = None,
        type: str = "message",
    ) -> str:
        """Set an item of a channel, and send it to all streams of the channel.

        Of each item, only the newest value is kept, until it is unset. A stream begins with
        all items of its channels. When this returns, the item is stored.

        :param item: The item's name.
        :param data: Text is sent as it is, anything else as JSON.
        :param ttl: Seconds after which the item is unset, unless it is set again before.
            Setting the same value again only prolongs its time, and is not sent.
        :param version: A whole number that grows with each change, such as the version of
            a row. If the item has this version or a newer one, nothing changes, not even
            its `ttl`. Give it if several requests may set the item: the last call need not
            have the last value. A call without a version always sets the item.
        :param type: As for :meth:`publish`.
        :return: The item's id. If nothing changed, it is the id of the value that stays.
        :raises ValueError: If a name can't be sent to browsers, or the data can't.
        :raises TypeError: If the data can't be made JSON, or an argument has the wrong
            type.
        :raises RuntimeError: If the broker keeps no items.
        :raises ItemsFull: If the channel has too many items already, or too large ones.
            Nothing was stored.
        :raises NotPublished: If nothing was stored.
        :raises PublishUncertain: If the item may have been set or not. Set it again.
        """
        return self.publish_many([given_item(channel, item, data, type, ttl, version)])

    def unset(self, channel: str, *items: Name, version: int | None = None) -> str:
        """Remove items of a channel, all or none, also from all pages that have them.

        Nothing is stored for an item that is not there. To remove all items of a channel,
        call ``unset(channel, *items(channel).events)``.

        :param version: As for :meth:`set`. An older set that comes later changes nothing.
        :return: The id of the last item; an empty string if no item is named.
        :raises ValueError: If a name can't be sent to browsers.
        :raises TypeError: If an argument has the wrong type.
        :raises RuntimeError: If the broker keeps no items.
        :raises NotPublished: If nothing was stored.
        :raises PublishUncertain: If the items may be there or not. Unset them again.
        """
        return self._store([unset_change(channel, item, version) for item in items])

    def items(self, channel: str) -> Items:
        """Read the items of a channel, and the position at which they were read.

        Items whose `ttl` is over are not among them.

        :raises ValueError: If the channel's name is invalid.
        :raises RuntimeError: If the broker keeps no items.
        :raises NotRead: If the store can't be read now.
        """
        channel = channel_name(channel)
        page = self._keeper().read_items([channel], limit=NO_LIMIT)
        events = {row.item: _event(row) for row in page.rows}
        return Items(events, str(Position(page.epoch, page.end)))

    # The rest of the publisher.

    def publish_many(self, events: cabc.Iterable[Event]) -> str:
        """Check the events, and store them."""
        raise NotImplementedError

    def _store(self, changes: list[Event | ItemChange]) -> str:
        """Store events and changes that were checked, in this order, all or none. Returns
        the id of the last."""
        raise NotImplementedError

    def _keeper(self) -> KeepsItems:
        """The broker.

        :raises RuntimeError: If it keeps no items.
        """
        raise NotImplementedError


def given_item(
    channel: str, item: Name, data: t.Any, type: str, ttl: float | None, version: int | None
) -> Event:
    """The event that sets an item, from the arguments of ``set``.

    :raises ValueError: If the item has no name.
    """
    if item == "":
        # The event would set no item.
        item_name(item)
    return Event(channel, data, type, item=item, ttl=ttl, version=version)


def keeper_of(broker: Broker) -> KeepsItems:
    """
    :raises RuntimeError: If the broker keeps no items.
    """
    if not isinstance(broker, KeepsItems):
        raise RuntimeError(
            f"{type(broker).__name__} keeps no items (flask_push.brokers.KeepsItems). Use"
            " memory:, sqlite:, or a Redis; or publish events."
        )
    return broker


def change(
    items: KeepsItems, changes: cabc.Sequence[Event | ItemChange]
) -> tuple[list[Position], Position | None]:
    """Store events and changes of items.

    If a channel is full, its items that are due are unset first: they count until then.

    :return: The position of each; and the newest that the store certainly has now.
    """
    try:
        positions = items.change(changes)
    except ItemsFull as full:
        names = {each.channel for each in changes if isinstance(each, ItemChange)}
        unset_due(items, names, full)
        positions = items.change(changes)
    certain = [
        position
        for each, position in zip(changes, positions, strict=True)
        if _is_certain(each)
    ]
    return positions, certain[-1] if certain else None


def _is_certain(change: Event | ItemChange) -> bool:
    """Whether its position is of this epoch. One of a row that did not change may be of an
    earlier one."""
    return isinstance(change, Event) or (change.version is None and change.ttl is None)


def _event(row: ItemRow) -> Event:
    return Event(
        row.channel,
        row.data.decode(errors="replace"),
        row.type,
        id=event_id(row.position, row.channel, row.item),
        item=row.item,
        version=row.version,
    )
