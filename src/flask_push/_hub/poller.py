"""Polls sockets that hold back what the hub sends, and empties those that are drained."""

from __future__ import annotations

import collections.abc as cabc
import os
import select

from .._system.unpatched import close
from .._system.unpatched import original
from .connection import _AT_ONCE
from .connection import HEARS

# Drains that wait to be looked after all at once.
_FRESH = 64

# Bytes that are read of one at once, and how often before it is closed.
_DRAINED = 16 * 1024


class Poller:
    """Tells of many descriptors through one: ``epoll``."""

    def __init__(self) -> None:
        self._epoll: select.epoll = original("select", "epoll")()
        # What servers still say to those who were their clients.
        self._drains: set[int] = set()
        # Those of them that are not polled yet.
        self._fresh: list[int] = []

    def fileno(self) -> int:
        return self._epoll.fileno()

    @property
    def closed(self) -> bool:
        return self._epoll.closed

    def add(self, fd: int) -> None:
        self._epoll.register(fd, HEARS)

    def add_drain(self, fd: int) -> None:
        """Read and throw away, and close it when the other end does, or if this fails.
        Begins with the next :meth:`look_after_drains`: until then the kernel holds it."""
        self._drains.add(fd)
        self._fresh.append(fd)
        if len(self._fresh) >= _FRESH:
            self.look_after_drains()

    def look_after_drains(self) -> None:
        """Poll those from now on whose servers have still to say something. Of nearly all
        that have just come, these have closed their end already, and that is all."""
        asked: select.poll = original("select", "poll")()
        for fd in self._fresh:
            asked.register(fd, 0)
        ended = {fd for fd, _ in asked.poll(0)}
        while self._fresh:
            fd = self._fresh.pop()
            try:
                if fd in ended:
                    # Unread, it would be an error for a server that reads on.
                    while len(os.read(fd, _DRAINED)) == _DRAINED:
                        pass
                else:
                    os.set_blocking(fd, False)
                    self.add(fd)
                    continue
            except OSError:
                pass
            self._drains.remove(fd)
            close(fd)

    def change(self, fd: int, mask: int) -> None:
        self._epoll.modify(fd, mask)

    def remove(self, fd: int) -> None:
        # Closing is not enough where another process has a copy of the descriptor.
        self._epoll.unregister(fd)

    def poll(self) -> cabc.Iterator[tuple[int, int]]:
        """Descriptors, and what was found of each."""
        for fd, mask in self._epoll.poll(0, 1000):
            if fd in self._drains:
                self._drain(fd)
            else:
                yield fd, mask

    def descriptors(self) -> list[int]:
        return [self._epoll.fileno(), *self._drains]

    def release(self) -> list[int]:
        """Give the drains away, which are not polled any more."""
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
            # What goes on after that is not the end of a response.
            for _ in range(_AT_ONCE):
                if not os.read(fd, _DRAINED):
                    break
        except BlockingIOError:
            return
        except OSError:
            pass
        self.remove(fd)
        self._drains.remove(fd)
        close(fd)
