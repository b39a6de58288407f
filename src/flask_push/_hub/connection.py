"""One browser: a descriptor, and a place in the log."""

from __future__ import annotations

import contextlib
import socket
import time
from functools import lru_cache

from .._delivery import wire
from .._delivery.channel import Chunk
from .._delivery.follow import Follow
from .._delivery.replay import newest
from .._delivery.snapshot import ReaderState
from .._delivery.stream import Stream
from .._delivery.stream_presence import NOTHING
from .._delivery.stream_presence import StreamPresence
from .._delivery.subscription import ItemsPlace
from .._delivery.subscription import Subscription
from .._event import Page
from .._event import Position
from .._system import sockets
from .._system.polling import READABLE
from .._system.polling import WRITABLE
from .._system.sockets import borrowed
from .._system.unpatched import close

# Bytes that the kernel may hold for a browser that does not read. Linux doubles it.
_SEND_BUFFER = 128 * 1024
# Milliseconds after which bytes that a browser does not acknowledge end the connection. The
# browser's machine is asleep or out of reach, or its router has dropped the connection.
_USER_TIMEOUT = 30_000
_TCP = [(socket.TCP_NODELAY, 1), *sockets.lose_after(_USER_TIMEOUT)]
# Bytes that a browser may send on an open stream. Enough for the rest of a request.
_MAX_RECEIVED_BYTES = 2**20

# Streams that are alike share one object, up to so many characters of user, address and
# session, and so many channels.
_MAX_SHARED_TEXT = 256
_MAX_SHARED_CHANNELS = 16

#: Stands for a rest that is not known, so that nothing is written after it.
UNKNOWN = b"?"

# The clock may be adjusted a little while a stream lasts.
_CLOCK_SECONDS = 1.0


class Connection(Subscription):
    """One browser's connection. It is a :class:`Subscription`, and not two objects, because
    there are many, and holds nothing that can be computed."""

    __slots__ = (
        "fd",
        "stream",
        "connection_id",
        "since",
        "opened",
        "ends",
        "received",
        "begun",
        "mask",
    )

    def __init__(self, fd: int, stream: Stream, now: float, ends: float) -> None:
        self.fd = fd
        #: What it asked for. When they have begun, streams that are alike share one object.
        self.stream = stream
        #: With the secret, which only its browser has.
        self.connection_id = stream.connection
        #: When it was last sent something of its own.
        self.since = now
        #: In which second it was opened.
        self.opened = _shared_second(int(now))
        #: When its lifetime is over.
        self.ends = ends
        #: How many bytes the browser has sent.
        self.received = 0
        #: Whether it has a place in the log yet.
        self.begun = False
        #: For which of them it is polled.
        self.mask = READABLE
        # Until it has joined.
        self.rest = UNKNOWN

    def __repr__(self) -> str:
        state = "behind" if self.blocked else "begun" if self.begun else "waiting"
        return f"<Connection {self.fd} to {', '.join(self.stream.channels)}: {state}>"

    @property
    def blocked(self) -> bool:
        """Whether it waits for its socket to drain."""
        return bool(self.mask & WRITABLE)

    @property
    def public_id(self) -> str:
        return self.connection_id.partition(".")[0]

    @property
    def asks_for_items(self) -> bool:
        return self.stream.items

    @property
    def holds(self) -> str:
        return self.stream.holds

    @property
    def follow(self) -> Follow:
        return self.stream.follow

    @property
    def has_expired(self) -> bool:
        """Whether the signed address has expired by which it was asked for."""
        return 0 < self.stream.expires <= time.time() + _CLOCK_SECONDS

    def open(self, opening: bytes, page: Page | None) -> None:
        if page is not None and self.stream.visible and self.stream.position:
            number = newest(self, page)
            age = max(0, (time.time_ns() // 1000 - number) // 1000)
            opening = wire.with_replay(opening, Position(self.epoch, number), age)
        self.send_first(opening)

    def resume(self, place: ReaderState, now: float) -> None:
        """Continue where another hub stopped. It has joined a group."""
        if place.begun:
            self.begin()
        if place.left is not None:
            self.ends = now + place.left
        if place.age is not None:
            self.opened = _shared_second(int(now) - place.age)
        self.received = place.received
        self.epoch, self.cursor = place.epoch, place.cursor
        if place.items is not None:
            self.items, self.cursor = ItemsPlace.from_json(place.items, place.cursor)
        self.rest, self.last_id_number = place.rest, place.last_id_number

    def freeze(self, now: float, end: int) -> ReaderState:
        """Its state, for another hub. Changes nothing.

        :param end: The log's end, which is the place of live connections.
        """
        left = None if self.ends == float("inf") else self.ends - now
        live, number = self.fd in self.group.live, self.last_id_number
        cursor, items = self.group.place(end) if live else self.cursor, None
        if (place := self.items) is not None:
            items = place.to_json(cursor)
            # A hub that knows no items continues where this one would, after them.
            cursor = place.position if place.sending else cursor
        return ReaderState(
            stream=self.stream._replace(connection=self.connection_id, head=b""),
            begun=self.begun,
            epoch=self.epoch,
            cursor=cursor,
            rest=self.rest,
            last_id_number=max(number, self.group.last_id_number) if live else number,
            left=left,
            received=self.received,
            items=items,
            age=self.age(now),
        )

    def age(self, now: float) -> int:
        """For how many seconds it is open."""
        return max(0, int(now) - self.opened)

    def begin(self) -> None:
        """Note that it has a place in the log, and drop what was needed to find it."""
        self.begun, stream = True, self.stream
        names, user, address = self.group.names, stream.user, stream.address
        session = stream.session
        text = (user or "") + (address or "") + (session or "")
        presence = stream.presence
        if presence is not NOTHING:
            text += "".join(["".join(pair) for pair in presence.present])
        # A long one would stay in the cache when no connection has it. Those that expire
        # are hardly ever alike.
        short = len(text) <= _MAX_SHARED_TEXT and len(names) <= _MAX_SHARED_CHANNELS
        short = short and not stream.expires
        rest_of = _shared_rest_of if short else _rest_of
        self.stream = rest_of(
            *(names, user, address, stream.poll, stream.visible, stream.gzip, session),
            # By name, they would cost the cache half as much again.
            *(stream.items, stream.every, presence, stream.follow, stream.expires),
        )

    def enter_live(self) -> None:
        """Be live: at the end, with the others of its group. Its key is the descriptor."""
        self.group.admit(self.fd, self)

    def leave_live(self, cursor: int) -> bool:
        """Be at a place of its own. Returns whether it was live."""
        if self.group.live.pop(self.fd, None) is None:
            return False
        self.last_id_number = max(self.last_id_number, self.group.last_id_number)
        # The group may know less for certain than this one has.
        self.cursor = max(cursor, self.last_id_number)
        return True

    def prepare(self) -> None:
        """Bound what the kernel holds for a slow browser, and how long for a lost one.

        :raises OSError: If the connection is broken already.
        """
        sockets.set_blocking(self.fd, False)
        with borrowed(self.fd) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            # A Unix socket has none of these.
            with contextlib.suppress(OSError):
                for option, value in _TCP:
                    sock.setsockopt(socket.IPPROTO_TCP, option, value)
            if self._may_reset:
                sockets.reset_at_end(sock, True)

    @property
    def _may_reset(self) -> bool:
        """Whether the end of its connection says whether its run is whole."""
        return self.stream.follow.framing == "close"

    def keep_whole(self) -> None:
        """Note that the client has been sent all that it gets. Its connection ends with an
        ordinary end now, and no longer with a reset, which would drop the last bytes.

        :raises OSError: If the connection is broken.
        """
        if self._may_reset and self.fd >= 0:
            with borrowed(self.fd) as sock:
                sockets.reset_at_end(sock, False)

    def write(self, data: Chunk) -> int:
        """Write to the socket, and return how many bytes it took.

        :raises OSError: If the connection is broken.
        """
        try:
            return sockets.write(self.fd, data)
        except BlockingIOError:
            return 0

    def last_word(self, retry: int, own: bytes = b"") -> bytes:
        """The last bytes of the stream, if the hub ends it.

        :param own: What it receives before them.
        """
        return self.group.last_word(own, wire.last_word(retry, self.stream.visible))

    def discard_input(self) -> bool:
        """Read what the browser sends, and throw it away.

        :return: False if the stream has to end.
        """
        try:
            data = sockets.read(self.fd, 65536)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            # It sends nothing more. A client that polls may still wait for the response.
            self.mask &= ~READABLE
            return self.stream.poll
        self.received += len(data)
        return self.received <= _MAX_RECEIVED_BYTES

    def close(self) -> None:
        """Close the connection, even if a forked process has a copy of the descriptor.

        The client of a run that is framed by its connection must see whether the run is
        whole, so anything but :meth:`keep_whole` ends it with a reset: also if this process
        is killed (law R64). A shutdown would be an ordinary end."""
        if self.fd < 0:
            return
        try:
            with contextlib.suppress(OSError), borrowed(self.fd) as sock:
                if not (self._may_reset and sockets.resets_at_end(sock)):
                    sock.shutdown(socket.SHUT_RDWR)
        finally:
            with contextlib.suppress(OSError):
                close(self.fd)
            self.fd = -1


def _rest_of(
    channels: tuple[str, ...],
    user: str | None,
    address: str | None,
    poll: bool,
    visible: bool,
    gzip: bool,
    session: str | None,
    items: bool,
    every: float,
    presence: StreamPresence,
    follow: Follow,
    expires: float,
) -> Stream:
    """What is kept of a stream that has begun. Its place says which items it has, and no
    longer what it ``holds``."""
    # Not with _replace(): Python keeps up to 2000 of the tuples that it makes.
    return Stream(
        channels=channels,
        connection="",
        user=user,
        address=address,
        poll=poll,
        visible=visible,
        gzip=gzip,
        session=session,
        items=items,
        every=every,
        presence=presence,
        follow=follow,
        expires=expires,
    )


# One object for all streams that are opened in one second.
_shared_second = lru_cache(1024)(int)
# One object for all streams that are equal. It saves a fifth of a stream's memory.
_shared_rest_of = lru_cache(1024)(_rest_of)
