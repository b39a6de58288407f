"""What the relay of an outbox waits at."""

from __future__ import annotations

import contextlib
import selectors
import socket
import typing as t


class HasFileno(t.Protocol):
    def fileno(self) -> int: ...


class Bell:
    """Any thread rings, and one waits; or greenlets, if gevent has replaced threads."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._theirs.setblocking(False)

    def ring(self) -> None:
        """Takes no lock, so that a finalizer may call it. Does nothing after the end."""
        with contextlib.suppress(OSError):
            self._theirs.send(b"\0")

    def wait(self, seconds: float, other: HasFileno | None = None) -> None:
        """Wait until it was rung, also before this call.

        :param other: A connection on which data may come, too.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._ours, selectors.EVENT_READ)
            if other is not None:
                selector.register(other, selectors.EVENT_READ)
            selector.select(max(seconds, 0))
        with contextlib.suppress(OSError):
            while self._ours.recv(4096):
                pass

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()
