"""File descriptors: each stream takes one, and the system limits their number."""

from __future__ import annotations

import resource
import sys

# What a process keeps for its own files, for connections of others, and for descriptors
# that it is about to close. A small limit is shared.
_RESERVE = 128
_SHARE = 4


def limit() -> int:
    """How many this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def reserve(most: int) -> int:
    """How many of so many are not for streams."""
    return min(_RESERVE, most // _SHARE)


def is_scarce(fd: int, part: float = 1) -> bool:
    """Whether only the reserve is left, or a part of it. A new descriptor has the lowest
    number that is free, so its number says how many there are."""
    most = limit()
    return fd >= most - reserve(most) * part
