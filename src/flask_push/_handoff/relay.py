"""Relays, where a server does not give the client's socket away.

The hub has one end of a socket pair, and the worker forwards to its server what comes out
of the other end. That takes a worker for each stream, so relays are few and short.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import logging
import socket
import threading
import time

from .._delivery.stream import MAX_ITEMS_SECONDS
from .._delivery.stream import Stream
from .._ipc.client import Client
from .._system.descriptors import is_scarce
from .._system.descriptors import why_scarce
from .door import Adopt

logger = logging.getLogger("flask_push")

# Seconds that a relay waits for its hub to end the stream, after it should have.
_HUB_LATE_SECONDS = 5.0


def pair_with(stream: Stream, adopt: Adopt) -> socket.socket:
    """One end of a socket pair. The hub has the other end, as a client.

    :raises RuntimeError: If few descriptors are left. Each relayed stream takes one in this
        process, besides that of its browser, and the app needs some too.
    :raises Exception: Whatever `adopt` raises, and then nothing has happened.
    """
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
    return ours


class Relays:
    """The relays of one process: a limited number, each for a limited time.

    :param seconds: How long one lasts. Then the stream ends, and the browser reconnects.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._free = threading.Semaphore(most)
        self._most = most
        self._seconds = seconds
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
        if not self._free.acquire(blocking=False):
            return None
        lifetime = min(stream.lifetime or self._seconds, self._seconds)
        try:
            ours = pair_with(stream._replace(lifetime=lifetime), adopt)
        except BaseException:
            self._free.release()
            raise
        # The hub ends it at most a tenth later.
        return Relay(ours, self._free.release, lifetime * 1.1 + _HUB_LATE_SECONDS)


class Relay:
    """The body of a response, which forwards what the hub writes to one stream.

    :param seconds: When it ends if the hub does not end it and sends nothing more, because
        a hub that is stuck must not block a worker for longer.
    """

    def __init__(
        self, sock: socket.socket, closed: cabc.Callable[[], None], seconds: float
    ) -> None:
        self._socket = sock
        self._reading = threading.Lock()
        # Empty when it is closed. Of several threads that close it, one takes the function.
        self._closed = [closed]
        now = time.monotonic()
        self._ends, self._last = now + seconds, now + max(seconds, MAX_ITEMS_SECONDS)

    def __iter__(self) -> Relay:
        return self

    def __next__(self) -> bytes:
        now = time.monotonic()
        left = min(self._ends, self._last) - now
        with self._reading:
            try:
                self._socket.settimeout(max(left, 0.001))
                data = self._socket.recv(65536) if now < self._last else b""
            except OSError:
                data = b""
        self._ends = max(self._ends, time.monotonic() + _HUB_LATE_SECONDS)
        if not self._closed:
            # Another thread called close() meanwhile, and left the socket to this thread.
            self._close_unread()
            data = b""
        if not data:
            self.close()
            raise StopIteration
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
