"""Polls the sockets of browsers, and empties the drains: sockets to which servers write."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t

from .._system import polling
from .._system import sockets
from .._system.polling import READABLE
from .._system.unpatched import close

# Drains that wait to be looked after all at once.
_MAX_NEW_DRAINS = 64

# How many bytes of a drain are read at once, and how often before it is closed.
_READ_BYTES = 16 * 1024
_READS_PER_POLL = 64


class Poller:
    """Polls many descriptors through one: ``epoll``, or what stands for it."""

    def __init__(self) -> None:
        self._epoll = polling.new_selector()
        # Descriptors to which servers still write for clients that the hub has taken over.
        self._drains: set[int] = set()
        # Drains that are not polled yet.
        self._fresh: list[int] = []

    @property
    def closed(self) -> bool:
        return self._epoll.closed

    @property
    def drains(self) -> int:
        """How many drains are open."""
        return len(self._drains)

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        ready: cabc.Callable[..., object],
        *args: t.Any,
    ) -> None:
        """Have the loop call `ready` while :meth:`poll` finds something."""
        polling.start(self._epoll, loop, ready, *args)

    def stop(self, loop: asyncio.AbstractEventLoop) -> None:
        polling.stop(self._epoll, loop)

    def add(self, fd: int) -> None:
        self._epoll.register(fd, READABLE)

    def add_drain(self, fd: int) -> None:
        """Read a drain and throw its bytes away, until the other end closes it or it fails.
        This begins with the next :meth:`look_after_drains`. Until then the kernel holds the
        bytes."""
        self._drains.add(fd)
        self._fresh.append(fd)
        if len(self._fresh) >= _MAX_NEW_DRAINS:
            self.look_after_drains()

    def look_after_drains(self) -> None:
        """Start polling the drains that were added since the last call.

        Most servers have closed their end by now. Those drains are emptied and closed here,
        and never polled.
        """
        ended = polling.ended(self._fresh)
        while self._fresh:
            fd = self._fresh.pop()
            try:
                if fd in ended:
                    # Closed with bytes unread, it would be an error for the server.
                    while len(sockets.read(fd, _READ_BYTES)) == _READ_BYTES:
                        pass
                else:
                    sockets.set_blocking(fd, False)
                    self.add(fd)
                    continue
            except OSError:
                pass
            self._drains.remove(fd)
            close(fd)

    def change(self, fd: int, mask: int) -> None:
        self._epoll.modify(fd, mask)

    def remove(self, fd: int) -> None:
        # To close it is not enough if another process has a copy of the descriptor.
        self._epoll.unregister(fd)

    def poll(self) -> cabc.Iterator[tuple[int, int]]:
        """The descriptors that are ready, and for what."""
        for fd, mask in self._epoll.poll(0, 1000):
            if fd in self._drains:
                self._drain(fd)
            else:
                yield fd, mask

    def descriptors(self) -> list[int]:
        return [*polling.descriptors(self._epoll), *self._drains]

    def release(self) -> list[int]:
        """Give the drains away, and stop polling them."""
        for fd in self._drains.difference(self._fresh):
            self.remove(fd)
        drains, self._drains, self._fresh = list(self._drains), set(), []
        return drains

    def close(self) -> None:
        for fd in self._drains:
            close(fd)
        self._drains.clear()
        self._fresh.clear()
        self._epoll.close()

    def _drain(self, fd: int) -> None:
        try:
            # More than this is not the end of a response.
            for _ in range(_READS_PER_POLL):
                if not sockets.read(fd, _READ_BYTES):
                    break
        except BlockingIOError:
            return
        except OSError:
            pass
        self.remove(fd)
        self._drains.remove(fd)
        close(fd)
