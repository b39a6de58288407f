"""What the brokers of this package share: pages, numbers and epochs."""

from __future__ import annotations

import collections.abc as cabc
import secrets
import string
import time

from .._event import Entry
from .base import ENTRY_BYTES


def take(entries: cabc.Iterable[Entry], limit: int, end: int) -> tuple[list[Entry], int]:
    """As many entries as fit on a page, and how far it reaches."""
    page: list[Entry] = []
    for entry in entries:
        if limit <= 0 and page:
            return page, page[-1].number
        page.append(entry)
        limit -= len(entry.data) + ENTRY_BYTES
    return page, end


def now() -> int:
    """Microseconds since 1970: numbers made of them outlive a lost counter."""
    return time.time_ns() // 1000


def new_epoch() -> str:
    letters = string.ascii_letters + string.digits
    return "".join(secrets.choice(letters) for _ in range(5))
