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
from .._delivery.replay import newest
from .._delivery.snapshot import ReaderState
from .._delivery.stream import Stream
from .._delivery.subscription import Subscription
from .._event import Page
from .._event import Position
from .._system.unpatched import close

# Bytes that the kernel may hold for a browser that does not read. Linux doubles it.
_SEND_BUFFER = 128 * 1024
# Milliseconds after which bytes that a peer does not acknowledge end a connection. It
# has vanished without a word: asleep, out of reach, or its router forgot it.
_USER_TIMEOUT = 30_000
_TCP = [(socket.TCP_NODELAY, 1)]
if hasattr(socket, "TCP_USER_TIMEOUT"):
    _TCP.append((socket.TCP_USER_TIMEOUT, _USER_TIMEOUT))
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

    __slots__ = ("fd", "stream", "called", "since", "ends", "heard", "begun", "mask")

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

    def resume(self, place: ReaderState, now: float) -> None:
        """Go on where another hub was with it. It has joined."""
        if place.begun:
            self.begin()
        if place.left is not None:
            self.ends = now + place.left
        self.heard = place.heard
        self.epoch, self.cursor = place.epoch, place.cursor
        self.rest, self.told = place.rest, place.told

    def freeze(self, now: float, end: int) -> ReaderState:
        """Where it is. Nothing of it changes.

        :param end: Where those are who are live.
        """
        left = None if self.ends == float("inf") else self.ends - now
        live = self.fd in self.set.live
        return ReaderState(
            stream=self.stream._replace(connection=self.called, head=b""),
            begun=self.begun,
            epoch=self.epoch,
            cursor=end if live else self.cursor,
            rest=self.rest,
            told=max(self.told, self.set.told) if live else self.told,
            left=left,
            heard=self.heard,
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

    def leave_live(self, cursor: int) -> bool:
        """Be at a place of its own, and say whether it was live."""
        if self.set.live.pop(self.fd, None) is None:
            return False
        self.cursor = cursor
        return True

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
