"""How an app notices in time that its server begins to shut down.

No server notifies the app early enough: most wait until all connections are closed. But a
server first closes its listening socket, whether a signal ends it or a limit of requests.
So this module watches that socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import typing as t

from .._system import sockets
from .._system.unix import is_unix

#: Seconds between two looks, while a stream waits.
PAUSE = 0.2

# The number of a socket, and its identity.
Listener = tuple[int, object]


class Ending:
    """The shutdown of the server that listens at a port, in this process.

    :param port: Or ``None`` if it listens on Unix sockets.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, port: str | None) -> None:
        self._loop = loop
        self._port = port
        self._listeners: list[Listener] = []
        self._waiting: set[asyncio.Future[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self) -> None:
        """Return when the shutdown begins. Never, if no listening socket was found."""
        if not self._is_listening():
            known = bool(self._listeners)
            self._listeners = find_listeners(self._port) or self._listeners
            if known and not self._is_listening():
                return
        future = self._loop.create_future()
        self._waiting.add(future)
        try:
            if self._listeners and self._timer is None:
                self._look()
            await future
        finally:
            self._waiting.discard(future)

    def _look(self) -> None:
        self._timer = None
        if self._is_listening():
            if self._waiting:
                self._timer = self._loop.call_later(PAUSE, self._look)
            return
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    def _is_listening(self) -> bool:
        return any(sockets.identity(fd) == identity for fd, identity in self._listeners)


def find_listeners(port: str | None) -> list[Listener]:
    """The sockets of this process that listen there."""
    found = []
    for fd in sockets.open_numbers():
        identity = sockets.identity(fd)
        if identity is not None and _listens(fd, port):
            found.append((fd, identity))
    return found


def _listens(fd: int, port: str | None) -> bool:
    sock: socket.socket | None = None
    try:
        sock = socket.socket(fileno=fd)
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return False
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            address: t.Any = sock.getsockname()
            return str(address[1]) == port
        return is_unix(sock) and port is None
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            if sock is not None:
                sock.detach()
