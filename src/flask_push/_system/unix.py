"""What Unix sockets and locks between processes need: short paths, and descriptors that
travel in messages."""

from __future__ import annotations

import array
import collections.abc as cabc
import contextlib
import errno
import os
import socket
import struct
import typing as t
from pathlib import Path

from .abilities import why_no_unix_sockets
from .descriptors import open_directory
from .inodes import clear_for_socket

#: Bytes of a socket's path that every system takes.
MOST_OF_A_PATH = 100
#: The most descriptors of one message. The kernel would pass 253.
MOST_FDS = 200

_HAVE_PATHS = os.path.isdir("/proc/self/fd")
# The flags of :mod:`socket` are enums, and to look at one takes longer than to read a
# message.
_CLOEXEC = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))
_FD_BYTES = array.array("i").itemsize
_SPACE = 0
if hasattr(socket, "CMSG_SPACE"):
    _SPACE = socket.CMSG_SPACE(MOST_FDS * _FD_BYTES)


def unix_socket(kind: int = socket.SOCK_STREAM) -> socket.socket:
    """
    :raises OSError: If the system has no such sockets.
    """
    if reason := why_no_unix_sockets():
        raise OSError(errno.EAFNOSUPPORT, reason)
    return socket.socket(socket.AF_UNIX, kind)


def is_unix(sock: socket.socket) -> bool:
    return not why_no_unix_sockets() and sock.family == socket.AF_UNIX


@contextlib.contextmanager
def short_path(path: Path) -> t.Iterator[str]:
    """The path, or a short one to the same file, for as long as this lasts."""
    if len(os.fsencode(path)) <= MOST_OF_A_PATH:
        yield str(path)
        return
    if not _HAVE_PATHS:
        text = f"it is too long for a socket, which takes {MOST_OF_A_PATH} bytes"
        raise OSError(errno.ENAMETOOLONG, text, str(path))
    directory = open_directory(path.parent)
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
    sock = unix_socket()
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
    with unix_socket() as sock:
        sock.setblocking(False)
        try:
            sock.connect(str(path))
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True


def peer_uid(sock: socket.socket) -> int:
    """The user at the other end, as reported by the kernel.

    :raises OSError: If the system does not say that.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        raise OSError(errno.ENOTSUP, "this system does not say who is at the other end")
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack(
        "3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    )
    return int(uid)


def hub_listens_in(directory: Path) -> bool:
    """Whether a hub listens in a directory, even if this user may not read it."""
    try:
        lines = Path("/proc/net/unix").read_text(errors="replace").splitlines()
    except OSError:
        return False
    return any(f" {directory}/hub" in line for line in lines)


def send_descriptors(sock: socket.socket, data: bytes, fds: cabc.Sequence[int]) -> int:
    """Send the descriptors, and as many bytes as the socket takes with them."""
    if not fds:
        return sock.sendmsg([data], [])
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
    return sock.sendmsg([data], rights)


def receive_descriptors(sock: socket.socket, most: int) -> tuple[bytes, list[int]]:
    """Receive bytes, and the descriptors that were sent with them."""
    data, rights, _, _ = sock.recvmsg(most, _SPACE, _CLOEXEC)
    fds: list[int] = []
    for level, kind, value in rights:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds += array.array("i", value[: len(value) - len(value) % _FD_BYTES])
    return data, fds
