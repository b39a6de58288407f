"""What the brokers of this package share: pages, numbers and epochs."""

from __future__ import annotations

import collections.abc as cabc
import time
import typing as t

from .._event import Entry
from .._event import Event
from .._event import Page
from .._system.names import random_text
from .base import ENTRY_BYTES


class PageRequest(t.NamedTuple):
    """A page that a hub waits for."""

    channels: cabc.Sequence[str]
    after: int | None
    last: int
    callback: cabc.Callable[[Page], None]


class _Numbered(t.Protocol):
    @property
    def number(self) -> int: ...
    @property
    def data(self) -> bytes: ...


T = t.TypeVar("T", bound=_Numbered)
#: Makes an entry of a tuple of its values, in at most half of the time of ``Entry(…)``.
new_entry: cabc.Callable[[type[Entry], tuple[t.Any, ...]], Entry] = tuple.__new__


def take(entries: cabc.Iterable[T], limit: int, end: int) -> tuple[list[T], int]:
    """The entries or rows that fit on a page, and the number up to which it reaches."""
    page: list[T] = []
    add = page.append
    for entry in entries:
        if limit <= 0 and page:
            return page, page[-1].number
        add(entry)
        limit -= len(entry.data) + ENTRY_BYTES
    return page, end


def stored_type(event: Event) -> str:
    """The event's type as SQLite and Redis store it: the name of the connection that it
    excludes stands behind a NUL, which no type contains. Older versions read this, too."""
    return f"{event.type}\0{event.exclude}" if event.exclude else event.type


def stored_entry(
    number: int, prev: int | None, channel: str, type: str, data: bytes
) -> Entry:
    """The entry that was stored with such a type."""
    if "\0" not in type:
        return new_entry(Entry, (number, prev, channel, type, data, "", ""))
    type, _, exclude = type.partition("\0")
    return Entry(number, prev, channel, type, data, exclude)


def now() -> int:
    """Microseconds since 1970. Numbers made of them grow even if a counter is lost."""
    return time.time_ns() // 1000


def new_epoch() -> str:
    return random_text(5)
