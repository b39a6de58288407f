"""Takes away what macOS lacks, and makes what both have as small as it is there."""

from __future__ import annotations

import errno
import importlib
import os
import selectors
import socket
import typing as t

from . import real
from .taking import hide
from .taking import replace_open
from .taking import take_names

#: The size of ``sun_path``, with the zero at its end.
PATH_BYTES = 104

#: What a Unix socket holds on macOS before its writer has to wait.
BUFFER_BYTES = 8 * 1024


def _check_address(sock: socket.socket, address: t.Any) -> None:
    if sock.family != socket.AF_UNIX or not isinstance(address, (str, bytes)):
        return
    path = os.fsencode(address)
    if len(path) >= PATH_BYTES:
        raise OSError("AF_UNIX path too long")
    if path.startswith(b"\0"):
        # No abstract names: to the system this is an empty path.
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _checked(name: str) -> t.Any:
    method = getattr(socket.socket, name)

    def checked(self: socket.socket, *args: t.Any) -> t.Any:
        if args:
            _check_address(self, args[-1])
        try:
            return method(self, *args)
        except BlockingIOError:
            if name != "sendto" or self.family != socket.AF_UNIX:
                raise
            # The other end has not read what it was sent before.
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS)) from None

    return checked


def _socketpair(*args: t.Any, **options: t.Any) -> tuple[socket.socket, socket.socket]:
    pair: tuple[socket.socket, socket.socket] = real.socket.socketpair(*args, **options)
    for sock in pair:
        if sock.family == socket.AF_UNIX:
            # Linux doubles it, because of what it itself needs.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    return pair


def _look(
    file: t.Any, mode: str, encoding: str | None, newline: str | None
) -> tuple[str | None, str | None]:
    _check(file)
    return encoding, newline


keep_alive = socket.TCP_KEEPIDLE
take_names("macos.txt")
# The same option, by the name that it has there.
socket.TCP_KEEPALIVE = keep_alive  # type: ignore[attr-defined]
# Memory that processes share has its files there on Linux alone. Imported only now, because
# it imports much else.
heap: t.Any = importlib.import_module("multiprocessing.heap")
heap.Arena._dir_candidates = []
# It has a better one, which this machine lacks.
t.cast(t.Any, selectors).DefaultSelector = selectors.PollSelector
for _name in "bind", "connect", "connect_ex", "sendto":
    setattr(socket.socket, _name, _checked(_name))
socket.socketpair = _socketpair
_check = hide(("/proc", "/sys", "/dev/shm"))
replace_open(_look)
