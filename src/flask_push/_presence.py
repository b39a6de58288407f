"""Read who is present, with or without an app."""

from __future__ import annotations

import collections.abc as cabc
import json
import typing as t
from dataclasses import dataclass

from ._event import ItemRow
from ._event import Position
from ._item_publisher import ItemPublisher
from ._names import channel_name

#: The kind of the items of which presence is made.
KIND = "present"
#: How many users a channel lists (law 54).
MAX_MEMBERS = 1000

# All rows of a channel are read at once: pages would be of different times.
_NO_LIMIT = 2**40


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
        page = self._keeper().read_items([channel], limit=_NO_LIMIT, kind=KIND)
        infos, counted = merge_rows(page.rows)
        members = {user: Member(user, json.loads(info)) for user, info in infos.items()}
        position = Position(page.epoch, page.end)
        return Presence(members, len(members) + counted, str(position))


def merge_rows(rows: cabc.Iterable[ItemRow]) -> tuple[dict[str, bytes], int]:
    """
    :param rows: Those of a channel, in the order of their numbers: of each hub, one for
        each user whom it lists; and one with how many other users it counts.
    :return: The newest info of each user; and how many are counted.
    """
    infos: dict[str, bytes] = {}
    counted = 0
    for row in rows:
        _, listed, user = row.item.partition(".")
        if not listed:
            counted += int(row.data)
        elif user in infos or len(infos) < MAX_MEMBERS:
            infos[user] = row.data
    return infos, counted
