"""What Unix sockets and locks between processes need: short paths, and descriptors that
travel in messages."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import typing as t
from pathlib import Path

from .inodes import clear_for_socket

#: Bytes of a socket's path that every system takes.
MOST_OF_A_PATH = 100


@contextlib.contextmanager
def short_path(path: Path) -> t.Iterator[str]:
    """The path, or a short one to the same file, for as long as this lasts."""
    if len(os.fsencode(path)) <= MOST_OF_A_PATH:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def listen_at(path: Path, mode: int, backlog: int) -> socket.socket:
    """Listen on a socket at this path. It replaces a socket whose process has ended.

    It is bound by its final name, because programs that clean directories look for the
    name in /proc/net/unix to find out whether a socket is in use.

    :raises FileExistsError: If something else than a socket is there.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        clear_for_socket(path)
        # Before it is bound, so that no other user can connect at any moment.
        with contextlib.suppress(OSError):
            os.fchmod(sock.fileno(), mode)
        with short_path(path) as short:
            sock.bind(short)
        path.chmod(mode)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def is_listened_on(path: Path) -> bool:
    """Whether a process listens on a socket at this path. Waits for nothing."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(False)
        try:
            sock.connect(str(path))
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True


def peer_uid(sock: socket.socket) -> int:
    """The user at the other end, as reported by the kernel."""
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack(
        "3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    )
    return int(uid)
