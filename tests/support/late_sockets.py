"""A socket of a process that was busy."""

from __future__ import annotations

import socket
import typing as t


class LateSocket(socket.socket):
    """What is ready is noticed too late, as gevent does it if the process was busy."""

    _is_late = True

    @classmethod
    def of(cls, sock: socket.socket) -> LateSocket:
        return cls(fileno=sock.detach())

    def _notice(self) -> None:
        if self._is_late:
            self._is_late = False
            raise TimeoutError("timed out")

    def recv(self, *args: t.Any) -> bytes:
        self._notice()
        return super().recv(*args)

    def sendmsg(self, *args: t.Any) -> int:
        self._notice()
        return super().sendmsg(*args)
