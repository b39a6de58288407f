"""Files that processes share, identified by their inodes and not by their names.

A path may lead to something else a moment later: a cleaner removes the file, a deploy
replaces its directory, another user of the machine lays a link or a FIFO there first. So
a file is opened without following a link and without waiting for anything, then its type
and its owner are checked; and its device and inode are remembered, so that a process
removes and trusts only what it has made.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from .users import current_user
from .users import is_root

# Flags of each file: what the system has of them. The last two are those of Windows.
_FLAGS = (
    *("O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC"),
    *("O_BINARY", "O_NOINHERIT"),
)
_NEVER = 0
for _name in _FLAGS:
    _NEVER |= getattr(os, _name, 0)

#: A file's device and inode.
Identity = tuple[int, int]


def identity(path: str | Path) -> Identity | None:
    """What is at the path now, without following a link. None if nothing is there."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def identity_of(fd: int) -> Identity:
    """The file that the descriptor was opened for."""
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def is_ours(found: os.stat_result) -> bool:
    """Whether the file belongs to this user or to root, so that no other user could have
    chosen what it is. Root itself may use the files of every user."""
    return is_root() or found.st_uid in (current_user(), 0)


def open_own(path: str | Path, flags: int, mode: int = 0o600) -> int:
    """Open a file of ours, as :func:`os.open` does. Never waits and follows no link.

    :raises OSError: If it is no ordinary file, or another user's.
    """
    try:
        if not hasattr(os, "O_NOFOLLOW") and os.path.islink(path):
            raise OSError(errno.ELOOP, "")
        fd = os.open(path, flags | _NEVER, mode)
    except OSError as error:
        if error.errno == errno.ELOOP:
            text = "it is a symbolic link, which is not followed"
            raise PermissionError(errno.EPERM, text, str(path)) from None
        raise
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode) and is_ours(found):
        return fd
    os.close(fd)
    what = "it is no ordinary file"
    if stat.S_ISREG(found.st_mode):
        what = f"it belongs to another user ({found.st_uid})"
    raise PermissionError(errno.EPERM, what, str(path))


def read_at(fd: int, size: int, offset: int) -> bytes:
    """Read from a place in a file. One thread at a time."""
    os.lseek(fd, offset, os.SEEK_SET)
    return os.read(fd, size)


def write_at(fd: int, data: bytes, offset: int) -> int:
    """Write to a place in a file. One thread at a time."""
    os.lseek(fd, offset, os.SEEK_SET)
    return os.write(fd, data)


# One call to the system in place of two, where there is one.
read_at = getattr(os, "pread", read_at)
write_at = getattr(os, "pwrite", write_at)


def check_own(path: str | Path) -> None:
    """Check a file of ours that is opened by others: SQLite follows links. A link is
    followed if it is ours, too. Nothing need be there.

    :raises PermissionError: If it is no ordinary file, or another user's.
    """
    for look in os.lstat, os.stat:
        try:
            found = look(path)
        except FileNotFoundError:
            return
        if not is_ours(found):
            text = f"it belongs to another user ({found.st_uid})"
            raise PermissionError(errno.EPERM, text, str(path))
    if not stat.S_ISREG(found.st_mode):
        raise PermissionError(errno.EPERM, "it is no ordinary file", str(path))


def check_socket(path: Path) -> bool:
    """Whether a socket is at this path. False if nothing is.

    :raises FileExistsError: If it is something else, which may be of value.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(found.st_mode):
        text = "it is not a socket, and so it is not replaced"
        raise FileExistsError(errno.EEXIST, text, str(path))
    return True


def clear_for_socket(path: Path) -> None:
    """Remove the socket of a process that has ended, so that another can be bound there.

    :raises FileExistsError: If it is something else.
    """
    if check_socket(path):
        path.unlink(missing_ok=True)
