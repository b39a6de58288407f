"""Which sockets are ready: ``epoll`` where the system has it.

Elsewhere the loop's own readers and writers stand for it. Each ready socket is then a call
by the loop, which is slower, and enough to develop with.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import errno
import select
import selectors
import socket
import typing as t

from .abilities import has_epoll
from .descriptors import most_in_loop
from .descriptors import why_scarce
from .unpatched import is_replaced
from .unpatched import original

_HAS_EPOLL = has_epoll()
# Looked up once, because each call to a Redis polls.
_POLL = original("select", "poll") if hasattr(select, "poll") else None
_POLLIN = getattr(select, "POLLIN", 0)

#: Masks for polling, and for what is found. The numbers are those of Linux.
READABLE, WRITABLE = 0x1, 0x4
#: The other end sends nothing more: a browser has left. Without epoll, this is not found,
#: but the socket is readable, and at its end.
LEFT = 0x2000
#: The connection is broken.
GONE = 0x18

if _HAS_EPOLL:
    READABLE = select.EPOLLIN | select.EPOLLRDHUP
    WRITABLE = select.EPOLLOUT
    LEFT = select.EPOLLRDHUP
    GONE = select.EPOLLHUP | select.EPOLLERR


class Selector(t.Protocol):
    """As much of ``epoll`` as the hub needs."""

    @property
    def closed(self) -> bool: ...

    def register(self, fd: int, eventmask: int, /) -> None: ...

    def modify(self, fd: int, eventmask: int, /) -> None: ...

    def unregister(self, fd: int, /) -> None: ...

    def poll(
        self, timeout: float | None = None, maxevents: int = -1, /
    ) -> list[tuple[int, int]]: ...

    def close(self) -> None: ...


class LoopSelector:
    """Stands for ``epoll`` on a loop. It polls from :func:`start` on."""

    def __init__(self) -> None:
        self.closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready: cabc.Callable[..., object] = bool
        self._args: tuple[object, ...] = ()
        self._masks: dict[int, int] = {}
        self._found: dict[int, int] = {}

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        ready: cabc.Callable[..., object],
        *args: object,
    ) -> None:
        self._loop, self._ready, self._args = loop, ready, args
        for fd, mask in self._masks.items():
            self._watch(fd, mask)

    def stop(self) -> None:
        for fd in self._masks:
            self._watch(fd, 0)
        self._loop = None

    def register(self, fd: int, eventmask: int, /) -> None:
        if fd in self._masks:
            raise FileExistsError(errno.EEXIST, f"{fd} is polled already")
        if len(self._masks) >= most_in_loop():
            # With one too many, select() fails, and the loop with it.
            raise OSError(errno.ENOSPC, why_scarce())
        self._watch(fd, eventmask)
        self._masks[fd] = eventmask

    def modify(self, fd: int, eventmask: int, /) -> None:
        if fd not in self._masks:
            raise FileNotFoundError(errno.ENOENT, f"{fd} is not polled")
        self._watch(fd, eventmask)
        self._masks[fd] = eventmask

    def unregister(self, fd: int, /) -> None:
        if self._masks.pop(fd, None) is None:
            raise FileNotFoundError(errno.ENOENT, f"{fd} is not polled")
        self._watch(fd, 0)

    def poll(
        self, timeout: float | None = None, maxevents: int = -1, /
    ) -> list[tuple[int, int]]:
        """What was found since the last call. Never waits."""
        found, self._found = self._found, {}
        return list(found.items())

    def close(self) -> None:
        self.stop()
        self._masks.clear()
        self._found.clear()
        self.closed = True

    def _watch(self, fd: int, mask: int) -> None:
        loop = self._loop
        if loop is None:
            return
        if mask & READABLE:
            loop.add_reader(fd, self._note, fd, READABLE)
        else:
            loop.remove_reader(fd)
        if mask & WRITABLE:
            loop.add_writer(fd, self._note, fd, WRITABLE)
        else:
            loop.remove_writer(fd)

    def _note(self, fd: int, mask: int) -> None:
        self._found[fd] = self._found.get(fd, 0) | mask
        self._ready(*self._args)


def new_selector() -> Selector:
    if _HAS_EPOLL:
        return t.cast(Selector, original("select", "epoll")())
    return LoopSelector()


def start(
    selector: Selector,
    loop: asyncio.AbstractEventLoop,
    ready: cabc.Callable[..., object],
    *args: t.Any,
) -> None:
    """Have the loop call `ready` while a socket is ready."""
    if isinstance(selector, LoopSelector):
        selector.start(loop, ready, *args)
    else:
        loop.add_reader(t.cast("select.epoll", selector), ready, *args)


def stop(selector: Selector, loop: asyncio.AbstractEventLoop) -> None:
    if isinstance(selector, LoopSelector):
        selector.stop()
    elif not selector.closed:
        loop.remove_reader(t.cast("select.epoll", selector))


def descriptors(selector: Selector) -> list[int]:
    """The descriptors that it has itself."""
    if isinstance(selector, LoopSelector):
        return []
    return [t.cast("select.epoll", selector).fileno()]


def ended(fds: cabc.Iterable[int]) -> set[int]:
    """Those of the sockets whose other end is closed, as far as the system says so without
    reading them."""
    if not hasattr(select, "poll"):
        return set()
    asked: select.poll = original("select", "poll")()
    for fd in fds:
        asked.register(fd, 0)
    return {fd for fd, _ in asked.poll(0)}


def is_quiet(sock: socket.socket) -> bool:
    """Whether nothing has arrived, and the other end is open. Never waits, and lets no
    other greenlet run."""
    pending = getattr(sock, "pending", None)
    if pending is not None and pending():
        return False
    if _POLL is None:
        return not select.select([sock], [], [], 0)[0]
    asked = _POLL()
    asked.register(sock, _POLLIN)
    return not asked.poll(0)


def waits_for(sock: socket.socket) -> cabc.Callable[[], object]:
    """A function that waits until the socket is readable, even if it has a timeout."""
    readable = select.poll()
    readable.register(sock, select.POLLIN)
    return readable.poll


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop for a thread, which polls sockets, and waits really in a program that gevent
    has patched."""
    if _HAS_EPOLL and is_replaced("selectors", "EpollSelector"):
        return asyncio.SelectorEventLoop(original("selectors", "EpollSelector")())
    loop = asyncio.new_event_loop()
    if isinstance(loop, getattr(asyncio, "ProactorEventLoop", ())):
        # The loop of Windows, which can't poll sockets.
        loop.close()
        loop = asyncio.SelectorEventLoop(selectors.DefaultSelector())
    asyncio.set_event_loop(loop)
    return loop
