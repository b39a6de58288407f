"""Clients on their way from the app's threads to the thread of a hub. If the hub ends
meanwhile, they are closed: otherwise their browsers would wait for ever."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
from collections import deque
from contextvars import Context

from .._delivery.options import Options
from .._delivery.stream import Stream
from .._ipc.client import Client
from .._system import sockets
from .._system import unpatched


class Arrivals:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        adopt: cabc.Callable[[Stream, Client], None],
    ) -> None:
        self._loop = loop
        self._adopt = adopt
        self._lock = unpatched.free_lock()
        self._waiting: deque[tuple[Stream, Client]] = deque()
        self._ended = False

    def add(self, stream: Stream, client: Client) -> None:
        """Have the hub adopt a client. Any thread.

        :raises RuntimeError: If the hub has ended. The client remains the caller's.
        """
        with self._lock:
            if self._ended:
                raise RuntimeError("The hub has just ended.")
            self._waiting.append((stream, client.owned()))
            self._loop.call_soon_threadsafe(self._take, context=Context())

    def _take(self) -> None:
        self._adopt(*self._waiting.popleft())

    def descriptors(self) -> list[int]:
        return [fd for _, client in self._waiting for fd in client.fds]

    def end(self) -> None:
        """Close the clients that wait. Called when the loop no longer runs."""
        with self._lock:
            self._ended = True
        for stream, client in self._waiting:
            with contextlib.suppress(OSError):
                sockets.set_blocking(client.fd, False)
                sockets.write(client.fd, stream.refusal(Options().jittered_retry()))
            for fd in client.fds:
                unpatched.close(fd)
        self._waiting.clear()
