"""The messages with which a command, or the admin page, asks a hub for its streams.

A hub has too many streams for one answer, so it answers a page at a time, and says where
the next one begins. Between two pages, streams begin and end: a list is no snapshot.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._delivery.known import known
from .kind import Message


class _Listing(Message):
    """All its fields are in the value of its key: their names might be those of kinds."""

    def to_json(self) -> dict[str, t.Any]:
        return {self.key: dict(vars(self))}

    @classmethod
    def from_json(cls, message: dict[str, t.Any]) -> t.Self:
        return cls(**known(cls, message[cls.key]))


@dataclass(frozen=True)
class ListStreams(_Listing):
    """Asks for open streams.

    :param after: Where the page begins: the ``next`` of the page before.
    :param most: Streams that the page shows. The others are counted.
    :param user: Only those of this user; ``None`` for any. The same for the next two.
    :param id: Only the one with this public id.
    """

    key = "list_streams"
    after: int = -1
    most: int = 100
    user: str | None = None
    session: str | None = None
    channel: str | None = None
    id: str | None = None


@dataclass(frozen=True)
class StreamPage(_Listing):
    """Some of the hub's streams.

    :param streams: Each as a dict. See :meth:`.Listing.streams`.
    :param matching: How many match what was asked, shown or not.
    :param next: Where the next page begins. ``None`` if this is the last one.
    """

    key = "stream_page"
    streams: list[dict[str, t.Any]]
    matching: int
    next: int | None


@dataclass(frozen=True)
class ListChannels(_Listing):
    """Asks for the channels with the most readers.

    :param after: Where the page begins: the ``next`` of the page before.
    :param most: Channels that the page shows.
    """

    key = "list_channels"
    after: int = 0
    most: int = 20


@dataclass(frozen=True)
class ChannelPage(_Listing):
    """Those of some of the hub's channels that have the most readers.

    :param channels: Each with its readers.
    :param next: Where the next page begins. ``None`` if this is the last one.
    """

    key = "channel_page"
    channels: list[tuple[str, int]]
    next: int | None
