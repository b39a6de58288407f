"""Sockets by their numbers, as the hub holds its streams.

Where the number of a socket is a file descriptor, these are the functions of :mod:`os`.
On Windows it is none: there a socket object borrows the number for each call.
"""

from __future__ import annotations

import _socket
import collections.abc as cabc
import gc
import os
import socket
import stat
import struct
import typing as t

from .abilities import SOCKETS_ARE_FILES

T = t.TypeVar("T")
# Seconds for a socket that is ready.
_LOOK_SECONDS = 0.001


def lose_after(milliseconds: int) -> list[tuple[int, int]]:
    """The options of TCP that end a connection if the other end does not acknowledge what
    was sent for so long. None, if the system has no such option."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    return [] if option is None else [(option, milliseconds)]


# ``struct linger``: whether it is on, and for how many seconds. On Windows, it is shorter.
_LINGER = struct.Struct("ii" if SOCKETS_ARE_FILES else "hh")


def reset_at_end(sock: _socket.socket, on: bool) -> None:
    """Let the connection end with a reset when the last process closes its socket, or is
    killed. A shutdown is still an ordinary end. Only TCP has resets."""
    value = _LINGER.pack(on, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, value)


def resets_at_end(sock: _socket.socket) -> bool:
    """Whether :func:`reset_at_end` is on."""
    value = sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER.size)
    return bool(_LINGER.unpack(value)[0])


def is_unix_socket(fd: int) -> bool:
    """Whether this is a Unix socket. False if the system does not say."""
    option = getattr(socket, "SO_DOMAIN", None)
    if option is None:
        return False
    with borrowed(fd) as sock:
        return sock.getsockopt(socket.SOL_SOCKET, option) == socket.AF_UNIX


def is_listening(fd: int) -> bool:
    """Whether connections to this socket can be accepted."""
    try:
        with borrowed(fd) as sock:
            return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False


def has_name(fd: int) -> bool:
    """Whether the socket has an address of its own. One of a pair has none."""
    with borrowed(fd) as sock:
        return bool(sock.getsockname())


def copy_blocking(fd: int, other: int) -> None:
    """Let a socket block if another does."""
    os.set_blocking(fd, os.get_blocking(other))


class borrowed:
    """A socket object for a moment. One for each connection would take too much memory."""

    # Not a generator, because that would take longer than the call to the kernel.
    __slots__ = ("_sock",)

    def __init__(self, fd: int) -> None:
        # The family need not be right; without one, Python would ask the kernel. The class
        # of gevent does not work here.
        self._sock = _socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fd)

    def __enter__(self) -> _socket.socket:
        return self._sock

    def __exit__(self, *_: object) -> None:
        self._sock.detach()


def exchange(sock: socket.socket, fd: int) -> None:
    """Put another socket into a socket object. All that have the object use that one from
    now on, and the socket that it had stays open."""
    timeout = sock.gettimeout()
    # The method of Python's class would mark the object as closed.
    _socket.socket.detach(sock)
    _socket.socket.__init__(sock, fileno=fd)
    sock.settimeout(timeout)


def look_again(sock: socket.socket, act: cabc.Callable[[], T]) -> T:
    """Do what a socket was not ready for in time, if it is ready by now. If the process was
    busy, gevent may look at its clock before it looks at its sockets.

    :raises TimeoutError: If it is not.
    """
    timeout = sock.gettimeout()
    sock.settimeout(_LOOK_SECONDS)
    try:
        return act()
    finally:
        sock.settimeout(timeout)


def receive_in_time(sock: socket.socket, count: int) -> bytes:
    """As ``recv`` with a timeout, also if the process was busy when the data arrived."""
    try:
        return sock.recv(count)
    except TimeoutError:
        return look_again(sock, lambda: sock.recv(count))


def open_numbers() -> list[int]:
    """The numbers of all sockets that are open in this process; where the system lists its
    descriptors, of all descriptors."""
    try:
        if SOCKETS_ARE_FILES:
            return [int(name) for name in os.listdir("/dev/fd")]
    except OSError:
        pass
    # Not with isinstance(), which asks a proxy what it stands for.
    found = [sock for sock in gc.get_objects() if issubclass(type(sock), _socket.socket)]
    return [sock.fileno() for sock in found if sock.fileno() >= 0]


def identity(fd: int) -> object:
    """The identity of the socket with this number; ``None`` if there is none."""
    try:
        if SOCKETS_ARE_FILES:
            found = os.fstat(fd)
            is_socket = stat.S_ISSOCK(found.st_mode)
            return (found.st_dev, found.st_ino) if is_socket else None
        sock = _socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
    except OSError:
        return None
    try:
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        return listens, sock.getsockname()
    except OSError:
        return None
    finally:
        sock.detach()


def _read(fd: int, size: int, /) -> bytes:
    with borrowed(fd) as sock:
        _never_wait(sock)
        return sock.recv(size)


def _write(fd: int, data: bytes | bytearray | memoryview, /) -> int:
    with borrowed(fd) as sock:
        _never_wait(sock)
        return sock.send(data)


def _never_wait(sock: _socket.socket) -> None:
    # A program may have set a timeout for all new socket objects. Then the object waits,
    # though its socket does not.
    if sock.gettimeout() is not None:
        sock.setblocking(False)


def _close(fd: int, /) -> None:
    socket.close(fd)


def _set_blocking(fd: int, blocking: bool, /) -> None:
    with borrowed(fd) as sock:
        sock.setblocking(blocking)


if SOCKETS_ARE_FILES:
    read = os.read
    write = os.write
    close = os.close
    set_blocking = os.set_blocking
else:
    read = _read
    write = _write  # type: ignore[assignment]
    close = _close  # type: ignore[assignment]
    set_blocking = _set_blocking
