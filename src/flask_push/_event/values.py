"""Events, positions, and pages of history.

Nothing here does I/O or knows a clock, a thread, a loop or Flask.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass
from dataclasses import fields
from uuid import UUID

from .ids import base62
from .ids import DIGITS
from .ids import escape
from .ids import escape_item
from .ids import unescape

_POSITION = re.compile(r"([0-9A-Za-z]{5})-([0-9A-Za-z]{1,11})\Z")

MAX_NUMBER = 2**63 - 1
#: Bytes of UTF-8. The store keeps both with each event, and looks events up by them.
MAX_TYPE = MAX_KEY = 256

#: The type of an entry instead of which readers get a gap: events before it may be lost of
#: which no store can know. Apps cannot publish types with the prefix ``push:``.
GAP = "push:gap"
#: The type of an entry that unsets an item.
UNSET = "push:unset"

# The text of an own channel begins with it.
_OWN = "\udcff"

#: What may name a user, a session or an item. Its text is the name.
Name: t.TypeAlias = str | int | UUID


@dataclass(frozen=True, slots=True, init=False)
class Event:
    """One thing that happened, on its way in (:meth:`Push.publish_many`) or out
    (:meth:`Push.history`, :meth:`Push.items`, :class:`sse.Parser`).

    :param channel: The channel. Empty on events of a parser that reads another stream than
        Flask-Push's.
    :param data: On its way in, text or any value that JSON has; on its way out, text.
    :param type: The first argument of ``addEventListener`` in the browser.
    :param key: Publishing twice with one key stores once; see :meth:`Push.publish`.
    :param store: ``False`` for an event that is not stored and not replayed.
    :param exclude: The connection that does not receive it; see :meth:`Push.publish`. A
        broker gets only the public part of its id. ``None`` on events on their way out.
    :param id: The position, a dot and the channel; of an item, also a dot and its name.
        Empty until it is published.
    :param item: The item of the channel that this sets; see :meth:`Push.set`. Empty for an
        event that sets none. On its way out, text.
    :param ttl: Seconds after which the item is unset. ``None`` on its way out.
    :param version: An item that has this version or a newer one does not change.
    """

    channel: str
    data: t.Any
    type: str = "message"
    key: str | None = None
    store: bool = True
    id: str = ""
    exclude: str | None = None
    item: Name = ""
    ttl: float | None = None
    version: int | None = None

    def __init__(
        self,
        channel: str,
        data: t.Any,
        type: str = "message",
        key: str | None = None,
        store: bool = True,
        id: str = "",
        exclude: str | None = None,
        item: Name = "",
        ttl: float | None = None,
        version: int | None = None,
    ) -> None:
        # It is called for each event that is published. The method that a frozen dataclass
        # gets takes twice as long.
        _set_channel(self, channel)
        _set_data(self, data)
        _set_type(self, type)
        _set_key(self, key)
        _set_store(self, store)
        _set_id(self, id)
        _set_exclude(self, exclude)
        _set_item(self, item)
        _set_ttl(self, ttl)
        _set_version(self, version)

    @property
    def json(self) -> t.Any:
        """What the data says, if it is JSON. For events on their way out."""
        return json.loads(self.data)


_set = [getattr(Event, each.name).__set__ for each in fields(Event)]
_set_channel, _set_data, _set_type, _set_key, _set_store, *_rest = _set
_set_id, _set_exclude, _set_item, _set_ttl, _set_version = _rest


class Position(t.NamedTuple):
    """A point in the one sequence that all channels of a store share.

    Positions compare only within an epoch, which is one life of the store.
    """

    epoch: str
    number: int

    def __str__(self) -> str:
        return f"{self.epoch}-{base62(self.number)}"

    @classmethod
    def parse(cls, id: str) -> Position:
        """Read an id up to its first dot.

        Never raises. An id that cannot be read becomes a position without an epoch, for
        which every store gives a gap. So a browser with a stale or forged id gets a gap,
        and is not refused.
        """
        match = _POSITION.match(id.partition(".")[0])
        if match is not None:
            number = 0
            for digit in match[2]:
                number = number * 62 + DIGITS[digit]
            if number <= MAX_NUMBER:
                return cls(match[1], number)
        return cls("", 0)


class Entry(t.NamedTuple):
    """A stored event, as brokers hand it to the hub."""

    number: int
    #: The number of the event before it on its channel: the proof that nothing
    #: lies between. Where the store has forgotten that event, the oldest number
    #: since which the channel is provably complete; it is never the number of an
    #: event on another channel. ``None`` for an event that is not stored.
    prev: int | None
    channel: str
    type: str
    data: bytes
    #: The public id of the connection that does not receive it. Usually empty.
    exclude: str = ""
    #: The name of the item that is set or unset. Empty for an event of the channel's log.
    item: str = ""


class OwnChannel(str):
    """The name of a channel that has items of one of Flask-Push's own kinds.

    Feeds and the hub use it like any other name. Its text has a lone surrogate, so it is
    the name of no channel of an app, and it can't be sent or stored by mistake: stores keep
    the kind and the channel.
    """

    __slots__ = ("kind", "channel")

    #: Of 1 to 32 letters a to z.
    kind: str
    #: The channel's name without the kind. An app may have a channel of this name, too.
    channel: str

    def __new__(cls, kind: str, channel: str) -> OwnChannel:
        name = super().__new__(cls, f"{_OWN}{kind}:{channel}")
        name.kind, name.channel = kind, channel
        return name

    def __repr__(self) -> str:
        return f"OwnChannel({self.kind!r}, {self.channel!r})"

    @classmethod
    def of(cls, kind: str, channel: str) -> str:
        """The name of a channel with items of a kind, which is empty for an app's."""
        return cls(kind, channel) if kind else channel

    @classmethod
    def parse(cls, text: str) -> str:
        """The name that has this text."""
        kind, _, channel = text.removeprefix(_OWN).partition(":")
        return cls(kind, channel) if text.startswith(_OWN) else text

    @staticmethod
    def parts(name: str) -> tuple[str, str]:
        """The kind and the channel. The kind of an app's channel is empty."""
        return (name.kind, name.channel) if isinstance(name, OwnChannel) else ("", name)


class Proof(t.NamedTuple):
    """How far back a channel's history is complete."""

    #: The store still has every event of the channel after this number.
    since: int
    #: The reason in the gap of a reader from before that number: ``trimmed`` if events were
    #: dropped, ``unknown`` if the store cannot tell whether there were any.
    reason: str = "trimmed"


class Page(t.NamedTuple):
    """A part of the history, and its proofs. It is read in one snapshot of the store."""

    epoch: str
    #: Where it starts.
    after: int
    #: The page has all stored events of its channels in ``(after, reach]``.
    reach: int
    #: The store's position when the page was read. ``reach`` is less if the page is full.
    end: int
    #: In the order of numbers.
    entries: t.Sequence[Entry]
    #: One for each channel.
    proofs: t.Mapping[str, Proof]
    #: If the page has items, one for each channel: all items that the store has, and their
    #: unsets since this number.
    horizons: t.Mapping[str, int] = {}


class ItemRow(t.NamedTuple):
    """A living row: the newest set of an item."""

    #: Its number, and the epoch in which it was stored.
    position: Position
    channel: str
    item: str
    type: str
    data: bytes
    version: int | None = None
    owner: str = ""

    @property
    def number(self) -> int:
        return self.position.number


class ItemsPage(t.NamedTuple):
    """Living rows of some channels. It is read in one snapshot of the store."""

    epoch: str
    #: Where it starts.
    after: int
    #: The page has all living rows of its channels in ``(after, reach]``.
    reach: int
    #: The store's position when the page was read.
    end: int
    #: In the order of numbers.
    rows: t.Sequence[ItemRow]
    #: One for each channel.
    horizons: t.Mapping[str, int]


def event_id(position: Position, channel: str, item: str = "") -> str:
    """The id of an event, or of an item that is set or unset."""
    id = f"{position!s}.{escape(channel)}"
    return f"{id}.{escape_item(item)}" if item else id


def channel_of(id: str) -> str:
    """The channel in an event's id. Empty if it is not an id of Flask-Push."""
    return _part_of(id, 1)


def item_of(id: str) -> str:
    """The item in an event's id. Empty if the event sets and unsets no item."""
    return _part_of(id, 2)


def _part_of(id: str, index: int) -> str:
    position, *tags = id.split(".")
    if len(tags) < index or not Position.parse(position).epoch:
        return ""
    return unescape(tags[index - 1])
