"""What the scripts return, and what they publish, as values. No input or output."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from ..._event import Entry
from ..._event import Page
from ..._event import Proof
from .._common import stored_entry
from ..own import OwnEntry
from ..own import OwnPage

#: Words at the end of a reply: another holder has the lease; there is more than the store
#: should keep.
THEIRS, PRUNE_NEXT = b"theirs", b"prune"


class Head(t.NamedTuple):
    """The store's end."""

    epoch: str
    end: int
    #: How far behind the end a position can be resumed.
    retention: int

    @classmethod
    def of(cls, reply: list[t.Any]) -> Head:
        epoch, end, floor, birth, age = reply[0].decode(), *map(int, reply[1:5])
        retention = age if floor == birth else min(age, end - floor)
        return cls(epoch, end, retention)


def _entry(channel: str, data: bytes) -> Entry:
    number, prev, size, _, rest = data.split(b":", 4)
    length = int(size)
    type, body = rest[:length].decode(), rest[length:]
    return stored_entry(int(number), int(prev), channel, type, body)


def published(channel: str, data: bytes) -> tuple[str, list[Entry]]:
    """The epoch and the entries of a published message.

    :raises ValueError: If another program has published it.
    """
    epoch, start, before, rest = data.split(b":", 3)
    number, prev = int(start), int(before) if before else None
    entries = []
    while rest:
        size, length, rest = rest.split(b":", 2)
        middle = int(size)
        end = middle + int(length)
        type, body = rest[:middle].decode(), rest[middle:end]
        make = stored_entry if "\0" in type else Entry
        entries.append(make(number, prev, channel, type, body))
        if prev is not None:
            number, prev = number + 1, number
        rest = rest[end:]
    if not entries:
        raise ValueError("It has no event.")
    return epoch.decode(), entries


def own_page(reply: list[t.Any]) -> tuple[OwnPage, bool]:
    """A page of an own log, and whether it reaches the store's end."""
    entries = [_own_entry(*record.split(b":", 1)) for record in reply[3]]
    page = OwnPage(reply[0].decode(), int(reply[2]), int(reply[1]), entries)
    return page, reply[1] == reply[4]


def own_pushed(data: bytes) -> tuple[str, OwnEntry, int]:
    """The epoch of a published entry, the entry, and the number of the one before it.

    :raises ValueError: If another program has published it.
    """
    epoch, number, prev, rest = data.split(b":", 3)
    return epoch.decode(), _own_entry(number, rest), int(prev)


def _own_entry(number: bytes, data: bytes) -> OwnEntry:
    return OwnEntry(int(number), data)


def channels_to_prune(reply: list[t.Any]) -> list[str]:
    """The channels to call the script with next."""
    return [name.decode() for name in reply[1]]


def page(reply: list[t.Any], channels: cabc.Sequence[str], after: int | None) -> Page:
    epoch, end, _ = Head.of(reply)
    if after is None:
        after = int(reply[5])
    proofs = {
        name: Proof(int(since), reason.decode())
        for name, since, reason in zip(channels, *_turns(reply[7]), strict=True)
    }
    return Page(epoch, after, int(reply[6]), end, _entries(reply, channels), proofs)


def all_missed(reply: list[t.Any], channels: cabc.Sequence[str]) -> list[Entry] | None:
    """All entries that a feed has missed; ``None`` if the reply has not all of them."""
    return _entries(reply, channels) if int(reply[6]) else None


def has_deadlines(reply: list[t.Any]) -> bool | None:
    """Whether rows of items have a time to live. ``None`` if the reply does not say it."""
    return int(reply[7][0]) > 0 if reply[7] else None


def _entries(reply: list[t.Any], channels: cabc.Sequence[str]) -> list[Entry]:
    indices, records = _turns(reply[8])
    return [_entry(channels[i - 1], data) for i, data in zip(indices, records, strict=True)]


def _turns(values: list[t.Any]) -> tuple[list[t.Any], list[t.Any]]:
    return values[::2], values[1::2]
