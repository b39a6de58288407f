"""The users of the machine, and what each may do to a file.

Windows has no users by number. There a file has the owner 0, as each process has here, and
its mode says nothing: what a user makes, other users can't write unless they are allowed.
"""

from __future__ import annotations

import os
import stat

try:
    import grp
    import pwd
except ModuleNotFoundError:  # Windows.
    grp = pwd = None  # type: ignore[assignment]

#: Whether users have numbers, and files the modes of POSIX.
HAVE_NUMBERS = hasattr(os, "geteuid")


def current_user() -> int:
    """The user whose rights this process has."""
    return os.geteuid() if HAVE_NUMBERS else 0


def is_root() -> bool:
    """Whether this process may read and write the files of every user."""
    return HAVE_NUMBERS and os.geteuid() == 0


def user_name(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} ({uid})"
    except (KeyError, AttributeError):
        return str(uid)


def group_name(gid: int) -> str:
    try:
        return f"{grp.getgrgid(gid).gr_name} ({gid})"
    except (KeyError, AttributeError):
        return str(gid)


def others_may_write(found: os.stat_result) -> bool:
    """Whether every user of the machine may write to the file or directory."""
    return HAVE_NUMBERS and bool(found.st_mode & stat.S_IWOTH)


def group_may_write(found: os.stat_result) -> bool:
    return HAVE_NUMBERS and bool(found.st_mode & stat.S_IWGRP)
