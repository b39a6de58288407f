"""Relays, where a server does not give the client's socket away.

The hub has one end of a socket pair, and the worker forwards to its server what comes out
of the other end. That takes a worker for each stream, so relays are few and short. Those of
streams that follow runs last as long as the run.

The hub sends a plain wire in chunks, and the server sends chunks of its own or none. So the
relay takes those of the hub off, and knows from the last one that the body is whole. If
there is none, the relay raises :exc:`CutOff`. Then the server does not end the body, and
its client notices.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import logging
import math
import socket
import threading
import time
import typing as t

from .._delivery.chunks import NotWhole
from .._delivery.chunks import Unchunker
from .._delivery.follow import NOT_FOLLOWING
from .._delivery.options import silence
from .._delivery.stream import MAX_ITEMS_SECONDS
from .._delivery.stream import Stream
from .._ipc.client import Client
from .._system.descriptors import is_scarce
from .._system.descriptors import why_scarce
from .._system.sockets import receive_in_time
from .door import Adopt

logger = logging.getLogger("flask_push")

# Seconds that a relay waits for its hub to end the stream, after it should have.
_HUB_LATE_SECONDS = 5.0
# Seconds that a hub may take to send the first bytes of a plain wire. It sends them at
# once, or has closed the stream, because it is full.
_FIRST_BYTES_SECONDS = 5.0


class CutOff(OSError):
    """The hub has ended a plain wire before its run. The client of the wire will notice."""

    def __init__(self) -> None:
        super().__init__("The hub ended a stream before its run; its client will notice.")


def pair_with(stream: Stream, adopt: Adopt) -> socket.socket:
    """One end of a socket pair. The hub has the other end, as a client.

    :raises RuntimeError: If few descriptors are left. Each relayed stream takes one in this
        process, besides that of its browser, and the app needs some too. Also if the hub
        refuses a plain wire.
    :raises Exception: Whatever `adopt` raises, and then nothing has happened.
    """
    if stream.is_plain:
        stream = stream._replace(follow=stream.follow._replace(framing="chunked"))
    ours, theirs = socket.socketpair()
    try:
        if is_scarce(theirs.fileno()):
            raise RuntimeError(f"{why_scarce()}.")
        # A server writes the head.
        adopt(stream._replace(head=b""), Client(theirs.fileno()))
    except BaseException:
        theirs.close()
        ours.close()
        raise
    theirs.detach()
    if stream.is_plain:
        _wait_for_first_bytes(ours)
    return ours


def _wait_for_first_bytes(ours: socket.socket) -> None:
    """Wait for the hub's first bytes of a plain wire. Once the response has begun, it can't
    get another status.

    :raises RuntimeError: If the hub sends none.
    """
    try:
        ours.settimeout(_FIRST_BYTES_SECONDS)
        if ours.recv(1, socket.MSG_PEEK):
            ours.settimeout(None)
            return
        why = "The hub is full, or has ended."
    except OSError as error:
        why = f"The hub has not begun to send it: {error}."
    ours.close()
    raise RuntimeError(why)


class Relays:
    """The relays of one process: a limited number, each for a limited time.

    :param seconds: How long one lasts. Then the stream ends, and the browser reconnects.
        Those of streams that follow runs last as long as the run.
    :param most_follows: How many of these there may be beside the others. Without it, each
        counts as one of all.
    :param heartbeat: Seconds after which the hub sends something.
    :param count: Counts relays, by the names of metrics.
    """

    def __init__(
        self,
        most: int,
        seconds: float,
        most_follows: int | None = None,
        heartbeat: float = 15,
        count: cabc.Callable[[str, int], None] | None = None,
    ) -> None:
        self._count = count
        self._free = self._free_follows = threading.Semaphore(most)
        if most_follows is not None:
            self._free_follows = threading.Semaphore(most_follows)
        self._most = most
        self._seconds = seconds
        self._silence = silence(heartbeat)
        self._reasons: set[str] = set()

    def open(self, stream: Stream, adopt: Adopt, reason: str) -> Relay | None:
        """A relay, or ``None`` if the limit is reached.

        :param reason: Logged the first time, unless it is empty.
        """
        if reason and reason not in self._reasons:
            self._reasons.add(reason)
            logger.warning(
                "Streams are relayed, and each takes a worker, because %s. At most %d at"
                " once (PUSH_RELAY_MAX), for %g seconds each (PUSH_RELAY_LIFETIME).",
                reason,
                self._most,
                self._seconds,
            )
        follows = stream.follow is not NOT_FOLLOWING
        free = self._free_follows if follows else self._free
        if not free.acquire(blocking=False):
            return None
        lifetime = stream.lifetime
        if not follows:
            lifetime = min(lifetime or self._seconds, self._seconds)
        try:
            ours = pair_with(stream._replace(lifetime=lifetime), adopt)
        except BaseException:
            free.release()
            raise
        closed = self._counted(free.release)
        if follows:
            kind = ChunkRelay if stream.is_plain else Relay
            return kind(ours, closed, self._silence, endless=True)
        # The hub ends it at most a tenth later.
        return Relay(ours, closed, lifetime * 1.1 + _HUB_LATE_SECONDS)

    def _counted(self, closed: cabc.Callable[[], None]) -> cabc.Callable[[], None]:
        """Count a relay that begins.

        :return: To call when it has ended, instead of `closed`.
        """
        count = self._count
        if count is None:
            return closed
        count("relayed_streams", 1)
        count("relays", 1)

        def end() -> None:
            count("relays", -1)
            closed()

        return end


class Relay:
    """The body of a response, which forwards what the hub writes to one stream.

    :param seconds: When it ends if the hub does not end it and sends nothing more, because
        a hub that is stuck must not block a worker for longer.
    :param endless: Whether it goes on as long as the hub sends something within these
        seconds.
    """

    def __init__(
        self,
        sock: socket.socket,
        closed: cabc.Callable[[], None],
        seconds: float,
        endless: bool = False,
    ) -> None:
        self._socket = sock
        self._reading = threading.Lock()
        # Empty when it is closed. Of several threads that close it, one takes the function.
        self._closed = [closed]
        now = time.monotonic()
        self._ends, self._last = now + seconds, now + max(seconds, MAX_ITEMS_SECONDS)
        self._silence = seconds if endless else 0.0
        if endless:
            self._last = math.inf

    def __iter__(self) -> Relay:
        return self

    def __next__(self) -> bytes:
        data = self._receive()
        if not data:
            self.close()
            raise StopIteration
        return data

    def _receive(self) -> bytes:
        """What the hub sends next. Empty if it sends nothing more."""
        now = time.monotonic()
        left = min(self._ends, self._last) - now
        with self._reading:
            try:
                self._socket.settimeout(max(left, 0.001))
                data = receive_in_time(self._socket, 65536) if now < self._last else b""
            except OSError:
                data = b""
        late = self._silence or _HUB_LATE_SECONDS
        self._ends = max(self._ends, time.monotonic() + late)
        if not self._closed:
            # Another thread called close() meanwhile, and left the socket to this thread.
            self._close_unread()
            data = b""
        return data

    def fileno(self) -> int:
        return self._socket.fileno()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        try:
            closed = self._closed.pop()
        except IndexError:
            return
        with contextlib.suppress(OSError):
            # Another thread may be waiting for data.
            self._socket.shutdown(socket.SHUT_RDWR)
        # Then that thread closes the socket. If it were closed here, and that thread is
        # only about to wait, it would wait for the next socket with this number.
        self._close_unread()
        closed()

    def _close_unread(self) -> None:
        """Close the socket, unless another thread reads it or closes it."""
        if self._reading.acquire(blocking=False):
            self._socket.close()
            self._reading.release()


class ChunkRelay(Relay):
    """The same of a plain wire. If the hub ends it before its last chunk, it raises
    :exc:`CutOff`: at its end, and also if another thread closes it."""

    def __init__(self, *args: t.Any, **options: t.Any) -> None:
        super().__init__(*args, **options)
        self._chunks = Unchunker()

    def __next__(self) -> bytes:
        body = b""
        while not body:
            if self._chunks.is_whole:
                self.close()
                raise StopIteration
            data = self._receive()
            if not data:
                self.close()
                raise CutOff
            try:
                body = self._chunks.feed(data)
            except NotWhole as error:
                self.close()
                raise CutOff from error
        return body
