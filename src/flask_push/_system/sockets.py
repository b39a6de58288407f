"""Sockets by their numbers, as the hub holds its streams.

Where the number of a socket is a file descriptor, these are the functions of :mod:`os`.
On Windows it is none: there a socket object borrows the number for each call.
"""

from __future__ import annotations

import _socket
import collections.abc as cabc
import contextlib
import os
import socket

from .abilities import SOCKETS_ARE_FILES


@contextlib.contextmanager
def borrowed(fd: int) -> cabc.Iterator[_socket.socket]:
    """A socket object for a moment. One for each connection would take too much memory."""
    # The family need not be right; without one, Python would ask the kernel. The class of
    # gevent does not work here.
    sock: _socket.socket | None = None
    try:
        sock = _socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
        yield sock
    finally:
        if sock is not None:
            sock.detach()


def _read(fd: int, size: int, /) -> bytes:
    with borrowed(fd) as sock:
        return sock.recv(size)


def _write(fd: int, data: bytes | bytearray | memoryview, /) -> int:
    with borrowed(fd) as sock:
        return sock.send(data)


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
