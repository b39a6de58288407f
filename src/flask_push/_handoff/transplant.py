"""How a client's socket comes from a WSGI server to the hub.

Most servers let us have it, and then a stream costs no worker: the *transplant*. Under
the server's own descriptor number is put one end of a socket pair whose other end the
hub drains, so that the server ends the request as it ends any other, undisturbed: it
writes its head, shuts down, closes, logs, counts. The client's socket, duplicated
before, is the hub's alone.

Where there is no socket to be had, a *relay* stands in: the hub gets one end of a
socket pair, and the worker forwards from the other. That costs a worker for each
stream, so there are few of them, and each is short.
"""

from __future__ import annotations

import _socket
import collections.abc as cabc
import contextlib
import fcntl
import logging
import os
import socket
import threading
import time

from .._delivery.stream import Stream
from .._ipc.client import Client
from .._system.descriptors import is_scarce
from .._system.descriptors import limit
from .door import Adopt

logger = logging.getLogger("flask_push")

#: The environ's key for a function that makes a stream of the answer, of the kind
#: ``(stream, adopt) -> None``. It is there if the server is behind our own wrapper.
HAND_OVER = "flask_push.hand_over"

# Clients' descriptors are moved up here, where possible, so that the low numbers stay
# free for a worker whose own code uses select(), which can't count further.
_HIGH = 1024
# Seconds for which a relay waits for its hub to end the stream.
_SLACK = 5.0


def transplant(fd: int, stream: Stream, adopt: Adopt) -> None:
    """Move the client from the server's descriptor to the hub.

    :raises Exception: Whatever `adopt` raises, and then nothing has happened.
    """
    client = _duplicate(fd)
    try:
        # Python's own objects around the two would be most of what this costs.
        ours, drain = _socket.socketpair()
    except OSError:
        os.close(client)
        raise
    try:
        # Before anyone adopts: the flags are shared by all that were duplicated.
        os.set_blocking(ours.fileno(), os.get_blocking(fd))
        # At once the end of input for the server, which may look for another request.
        drain.shutdown(socket.SHUT_WR)
        try:
            adopt(stream, Client(client, drain.fileno()))
        except BaseException:
            os.close(client)
            drain.close()
            raise
        drain.detach()
        os.dup2(ours.fileno(), fd, inheritable=os.get_inheritable(fd))
    finally:
        ours.close()


def pair_with(stream: Stream, adopt: Adopt) -> socket.socket:
    """One end of a socket pair, the hub having the other for a client.

    :raises RuntimeError: If this process needs its last descriptors for something else
        than for streams, which each keep one here, as their browsers do.
    :raises Exception: Whatever `adopt` raises, and then nothing has happened.
    """
    ours, theirs = socket.socketpair()
    try:
        if is_scarce(theirs.fileno()):
            raise RuntimeError(
                f"this process may have only {limit()} file descriptors (ulimit -n)."
            )
        # A server writes the head.
        adopt(stream._replace(head=b""), Client(theirs.fileno()))
    except BaseException:
        theirs.close()
        ours.close()
        raise
    theirs.detach()
    return ours


def _duplicate(fd: int) -> int:
    # Where few are allowed, low numbers are needed as well.
    for lowest in (_HIGH, 3) if limit() > 4 * _HIGH else (3,):
        with contextlib.suppress(OSError):
            return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)
    return os.dup(fd)


class Relays:
    """The workers that forward: at most so many at once, each for so long.

    :param seconds: How long one lasts. Then the stream ends, and the browser comes back.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._free = threading.Semaphore(most)
        self._most = most
        self._seconds = seconds
        self._reasons: set[str] = set()

    def open(self, stream: Stream, adopt: Adopt, reason: str) -> Relay | None:
        """A relay, or ``None`` if there are enough.

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
        # The hub ends it after a tenth more at most.
        return Relay(ours, self._free.release, lifetime * 1.1 + _SLACK)


class Relay:
    """What a hub writes to one stream, as the body of a response.

    :param seconds: When it ends in any case: a hub that stands still must not keep a
        worker for longer.
    """

    def __init__(
        self, sock: socket.socket, closed: cabc.Callable[[], None], seconds: float
    ) -> None:
        self._socket = sock
        self._reading = threading.Lock()
        self._closed: cabc.Callable[[], None] | None = closed
        self._ends = time.monotonic() + seconds

    def __iter__(self) -> Relay:
        return self

    def __next__(self) -> bytes:
        left = self._ends - time.monotonic()
        with self._reading:
            try:
                self._socket.settimeout(max(left, 0.001))
                data = self._socket.recv(65536) if left > 0 else b""
            except OSError:
                data = b""
        if self._closed is None:
            # Another thread closed it meanwhile, and left the socket to this one.
            self._socket.close()
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
        closed, self._closed = self._closed, None
        if closed is not None:
            with contextlib.suppress(OSError):
                # Another thread may be waiting for it.
                self._socket.shutdown(socket.SHUT_RDWR)
            # That thread closes it: if it only begins to wait, it would wait for whatever
            # is opened next, which gets the same number.
            if self._reading.acquire(blocking=False):
                self._socket.close()
                self._reading.release()
            closed()
