"""File descriptors: each stream takes one, and the system limits their number."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path

from .abilities import fcntl

try:
    import resource
except ModuleNotFoundError:  # Windows.
    resource = None  # type: ignore[assignment]

# What a process keeps for its own files, for connections of others, and for descriptors
# that it is about to close. A small limit is shared.
_RESERVE = 128
_SHARE = 4
# Duplicates get numbers from here on, where possible. The low numbers are left to the app,
# because it may use select(), which knows no number above 1,023.
_HIGH = 1024
# How many sockets select() takes on Windows, where Python has nothing else.
_SELECTED = 512
# macOS has no hard limit, and takes no soft limit above this one (OPEN_MAX).
_OPEN_MAX = 10_240


def limit() -> int:
    """How many this process may have."""
    if resource is None:
        return _SELECTED
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def reserve(most: int) -> int:
    """How many of so many are not for streams."""
    return min(_RESERVE, most // _SHARE)


def is_scarce(fd: int, part: float = 1, polled: int = 0) -> bool:
    """Whether only the reserve is left, or a part of it. A new descriptor has the lowest
    number that is free, so its number says how many there are.

    :param polled: How many sockets the hub polls, for a system where the number says
        nothing.
    """
    most = limit()
    return (fd if resource is not None else polled) >= most - reserve(most) * part


def most_in_loop() -> int:
    """How many the hub may give to its loop, which has others to poll."""
    return limit() - reserve(limit()) // 2


def why_scarce() -> str:
    """Why there is no more of them."""
    if resource is None:
        return f"this system polls at most {_SELECTED} sockets at once"
    return f"this process may have only {limit()} file descriptors (ulimit -n)"


def raise_limit() -> None:
    """Raise the soft limit to the hard limit. A stream is a descriptor, and the soft limit
    is often 1,024, or 256."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        if 0 <= soft < _OPEN_MAX:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_MAX, hard))


def limit_of(pid: int) -> int:
    """How many another process may open. A hub raises its soft limit to the hard limit."""
    try:
        text = Path(f"/proc/{pid}/limits").read_text()
        found = re.search(r"^Max open files +\w+ +(\d+)", text, re.M)
    except OSError:
        found = None
    if found is not None:
        return int(found[1])
    if resource is None:
        return _SELECTED
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def duplicate(fd: int) -> int:
    """Duplicate a descriptor. The new one has a high number, if possible, and no program
    that this process runs inherits it.

    :raises OSError: If none is left.
    """
    # Where the limit is low, low numbers are needed as well.
    if limit() > 4 * _HIGH:
        with contextlib.suppress(OSError):
            return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)


def open_directory(path: Path) -> int:
    """A descriptor of the directory itself."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)
