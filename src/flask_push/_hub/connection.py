"""One browser: a descriptor, and a place in the log."""

from __future__ import annotations

import _socket
import collections.abc as cabc
import contextlib
import os
import select
import socket
import time
from functools import lru_cache

from .._delivery import wire
from .._delivery.channel import Chunk
from .._delivery.channel import Subscription
from .._delivery.replay import newest
from .._delivery.snapshot import Place
from .._delivery.stream import Stream
from .._event import Page
from .._event import Position
from .._system.unpatched import close
from .._system.unpatched import original

# Bytes that the kernel may hold for a browser that does not read. Linux doubles it.
_SEND_BUFFER = 128 * 1024
# Milliseconds after which bytes that a peer does not acknowledge end a connection. It
# has vanished without a word: asleep, out of reach, or its router forgot it.
_USER_TIMEOUT = 30_000
_TCP = [(socket.TCP_NODELAY, 1)]
if hasattr(socket, "TCP_USER_TIMEOUT"):
    _TCP.append((socket.TCP_USER_TIMEOUT, _USER_TIMEOUT))
# Drains that wait to be looked after all at once.
_FRESH = 64
# Bytes that are read of one at once, and how often before it is closed.
_DRAINED = 16 * 1024
_AT_ONCE = 64
# Bytes that a browser may send, having nothing to say. Enough for the rest of a request.
_MOST_HEARD = 2**20

# Characters of user and address, and channels, of streams that are kept if they are alike.
_SHORT = 256
_FEW = 16

#: Stands for a rest that is not known: nothing more may be written.
UNKNOWN = b"?"

#: What a descriptor is polled for, and what is found.
HEARS = select.EPOLLIN | select.EPOLLRDHUP
WRITES = select.EPOLLOUT
#: The other end sends nothing more: browsers have left then.
LEFT = select.EPOLLRDHUP
#: Nothing that is written arrives.
GONE = select.EPOLLHUP | select.EPOLLERR


class Connection(Subscription):
    """Holds nothing that can be derived, since there are many of it."""

    __slots__ = (
        *("fd", "stream", "called", "since", "ends", "heard", "begun", "mask"),
        *("events", "bytes"),
    )

    def __init__(self, fd: int, stream: Stream, now: float, ends: float) -> None:
        self.fd = fd
        #: What it asked for. When it has begun, the same object for all who are alike.
        self.stream = stream
        #: Its name and its secret, which its browser alone has.
        self.called = stream.connection
        #: When it was last sent something of its own.
        self.since = now
        #: When its lifetime is over.
        self.ends = ends
        #: Bytes it has sent us.
        self.heard = 0
        #: What it was sent; while it is live, less what its set was sent before that.
        self.events = self.bytes = 0
        #: Whether it has a place in the log yet.
        self.begun = False
        #: What it is polled for.
        self.mask = HEARS
        # Until it has joined.
        self.rest = UNKNOWN

    def __repr__(self) -> str:
        state = "behind" if self.blocked else "begun" if self.begun else "waiting"
        return f"<Connection {self.fd} to {', '.join(self.stream.channels)}: {state}>"

    @property
    def blocked(self) -> bool:
        """Whether it waits for its socket to drain."""
        return bool(self.mask & WRITES)

    @property
    def name(self) -> str:
        return self.called.partition(".")[0]

    def open(self, opening: bytes, page: Page | None) -> None:
        if page is not None and self.stream.visible and self.stream.position:
            number = newest(self, page)
            age = max(0, (time.time_ns() // 1000 - number) // 1000)
            opening = wire.with_replay(opening, Position(self.epoch, number), age)
        self.say(opening)

    def resume(self, place: Place, now: float) -> None:
        """Go on where another hub was with it. It has joined."""
        if place.begun:
            self.begin()
        if place.left is not None:
            self.ends = now + place.left
        self.heard = place.heard
        self.epoch, self.cursor = place.epoch, place.cursor
        self.rest, self.told = place.rest, place.told
        self.events, self.bytes = place.events, place.bytes

    def freeze(self, now: float, end: int) -> Place:
        """Where it is. Nothing of it changes.

        :param end: Where those are who are live.
        """
        left = None if self.ends == float("inf") else self.ends - now
        live = self.fd in self.set.live
        events, size = self.sent()
        return Place(
            stream=self.stream._replace(connection=self.called, head=b""),
            begun=self.begun,
            epoch=self.epoch,
            cursor=end if live else self.cursor,
            rest=self.rest,
            told=max(self.told, self.set.told) if live else self.told,
            left=left,
            heard=self.heard,
            events=events,
            bytes=size,
        )

    def begin(self) -> None:
        """Have a place in the log. How it came by it need not be known any more."""
        self.begun, stream = True, self.stream
        # Not by _replace(), whose tuples of so many Python keeps, up to 2000 of them.
        kept = Stream(
            channels=self.set.names,
            connection="",
            user=stream.user,
            address=stream.address,
            poll=stream.poll,
            visible=stream.visible,
            gzip=stream.gzip,
        )
        size = len(kept.user or "") + len(kept.address or "")
        # What is long would stay when all who have it are gone.
        short = size <= _SHORT and len(kept.channels) <= _FEW
        self.stream = _alike(kept) if short else kept

    def enter_live(self) -> None:
        """Be at the end with the others of its set, by the descriptor."""
        self.set.admit(self.fd, self)
        self.events -= self.set.events
        self.bytes -= self.set.bytes

    def leave_live(self, cursor: int) -> bool:
        """Be at a place of its own, and say whether it was live."""
        if self.set.live.pop(self.fd, None) is None:
            return False
        self.cursor = cursor
        self.events += self.set.events
        self.bytes += self.set.bytes
        return True

    def sent(self) -> tuple[int, int]:
        """How many events and bytes it was sent."""
        if self.fd in self.set.live:
            return self.events + self.set.events, self.bytes + self.set.bytes
        return self.events, self.bytes

    def prepare(self) -> None:
        """Bound what a browser that is slow or gone can hold on to.

        :raises OSError: If the connection is gone already.
        """
        os.set_blocking(self.fd, False)
        with _borrowed(self.fd) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            # A Unix socket has none of these.
            with contextlib.suppress(OSError):
                for option, value in _TCP:
                    sock.setsockopt(socket.IPPROTO_TCP, option, value)

    def write(self, data: Chunk) -> int:
        """How much of it the socket took.

        :raises OSError: If the connection is gone.
        """
        try:
            return os.write(self.fd, data)
        except BlockingIOError:
            return 0

    def listen(self) -> bool:
        """Read what the browser sends, to throw it away. False if its stream has to end."""
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            # It sends nothing more. A client that polls may still wait for its answer.
            self.mask &= ~HEARS
            return self.stream.poll
        self.heard += len(data)
        return self.heard <= _MOST_HEARD

    def close(self) -> None:
        """End it for the browser too, even if a forked process has a copy of it."""
        if self.fd < 0:
            return
        try:
            with contextlib.suppress(OSError), _borrowed(self.fd) as sock:
                sock.shutdown(socket.SHUT_RDWR)
        finally:
            with contextlib.suppress(OSError):
                close(self.fd)
            self.fd = -1


@lru_cache(1024)
def _alike(stream: Stream) -> Stream:
    """One of those that are equal. Most are, and each its own is a fifth of the memory."""
    return stream


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


@contextlib.contextmanager
def _borrowed(fd: int) -> cabc.Iterator[_socket.socket]:
    """A socket object for a moment: one for each connection would be dear."""
    # Whatever it is: without a family, the kernel would be asked. And gevent's own class
    # isn't for us.
    sock: _socket.socket | None = None
    try:
        sock = _socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
        yield sock
    finally:
        if sock is not None:
            sock.detach()
