"""Read who is present, with or without an app."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

from ._delivery.roster import PRESENT
from ._delivery.roster import Roster
from ._delivery.roster import RosterRow
from ._event import Position
from ._item_publisher import ItemPublisher
from ._names import channel_name
from .brokers.due_items import NO_LIMIT


@dataclass(frozen=True, slots=True)
class Member:
    """A user who is present on a channel."""

    #: The `user` of :meth:`Push.stream`, as text.
    user: str
    #: What `present` of :meth:`Push.stream` shows of the user. If several streams show
    #: different things, that of the newest.
    info: t.Any


@dataclass(frozen=True, slots=True)
class Presence:
    """Who is present on a channel, and the position at which this was read."""

    #: By the user's name, at most 1,000. Users who are only counted are not among them.
    members: dict[str, Member]
    #: How many users are present, including those who are only counted.
    count: int
    #: The position of the store.
    position: str


class PresencePublisher(ItemPublisher):
    """What :class:`Publisher` and :class:`Push` do with presence."""

    def presence(self, channel: str) -> Presence:
        """Read who is present on a channel: see `present` and `counted` of
        :meth:`Push.stream`.

        Each user is there once, with however many streams, on all machines.

        :raises ValueError: If the channel's name is invalid.
        :raises RuntimeError: If the broker keeps no items.
        :raises NotRead: If the store can't be read now.
        """
        channel = channel_name(channel)
        page = self._keeper().read_items([channel], limit=NO_LIMIT, kind=PRESENT)
        rows = (RosterRow(row.number, row.item, row.data) for row in page.rows)
        infos, counted = Roster(rows).merged()
        members = {user: Member(user, json.loads(info)) for user, info in infos.items()}
        position = Position(page.epoch, page.end)
        return Presence(members, len(members) + counted, str(position))
