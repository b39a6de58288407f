"""Reads a stream in Python, as ``EventSource`` does in a browser.

It reads any stream of Server-Sent Events. Unlike a browser, it retries after a status
that may be temporary, waits longer after each failure, and drops a connection on which
no byte arrives. The server may be hostile: see :mod:`flask_push.client.answer`.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import logging
import socket
import ssl
import threading
import time
from collections import deque
from urllib import parse

from .. import sse
from .._delivery.own_events import HeldItems
from .._delivery.own_events import is_returned
from .._event import Event
from .._system.sockets import receive_in_time
from .address import Address
from .address import check_id
from .answer import Answer
from .answer import BadAnswer
from .answer import Head
from .outcome import connection_of
from .outcome import Finished
from .outcome import judge
from .outcome import Lost
from .outcome import pause_before
from .outcome import Refused

__all__ = ["connect", "Refused", "Source"]

logger = logging.getLogger("flask_push")

# Seconds to connect.
_CONNECT_SECONDS = 10.0
# Seconds before a reconnect, if the server sends no `retry`.
_RETRY = 3.0
_SILENCE = 45.0  # Three heartbeats.
_REDIRECTS = 10
# The headers of an ``EventSource``, but no compression.
_HEADERS = {
    "Accept": "text/event-stream",
    "Accept-Encoding": "identity",
    "Cache-Control": "no-cache",
    "User-Agent": "flask-push",
}


class Source:
    """The events of one stream, in order. :func:`flask_push.connect` returns it.

    One thread iterates, and each step waits for the next event. When the connection is
    lost, the source reconnects with the last id, so that no event is missing. It leaves out
    events whose type begins with ``push:``, except gaps, the events of items and those of
    presence: ``push:gap``, ``push:items``, ``push:whole``, ``push:unset``, ``push:joined``,
    ``push:left`` and ``push:count``.
    """

    def __init__(
        self,
        address: Address,
        last_id: str,
        heartbeat: float,
        context: ssl.SSLContext | None,
        renew: cabc.Callable[[], str] | None = None,
        query: str = "",
    ) -> None:
        #: The id of the last event that was returned. A later :func:`flask_push.connect`
        #: with this id continues after it.
        self.last_id = last_id
        #: The id of the connection, for ``exclude=`` of :meth:`.Push.publish`. It stays the
        #: same when the source reconnects. Empty before the first ``push:open``.
        self.connection = ""
        self._address = address.adding(query)
        self._renew, self._query = renew, query
        self._heartbeat = heartbeat
        self._context = context
        self._parser = sse.Parser()
        self._parser.last_event_id = last_id
        self._pending: deque[Event] = deque()
        self._items = HeldItems()
        self._closed = threading.Event()
        # Held while the connection is in use. ``close()`` then only shuts the socket down.
        self._using = threading.Lock()
        self._socket: socket.socket | None = None
        # None while there is no stream.
        self._answer: Answer | None = None
        self._failures = 0

    def __repr__(self) -> str:
        state = "closed" if self._closed.is_set() else "open" if self._answer else "away"
        return f"<Source {self._address.shown}: {state}>"

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Source:
        return self

    def __next__(self) -> Event:
        """
        :raises Refused: If there is no stream, and to retry would not help.
        :raises sse.ParseError: If an event, its id or its type is too large.
        """
        while not self._closed.is_set():
            if self._pending:
                event = self._pending.popleft()
                self.last_id = event.id if self._pending else self._parser.last_event_id
                if is_returned(event):
                    return event
            else:
                self._more()
        raise StopIteration

    def opened(self) -> Source:
        """Wait until the stream has begun. It has every event published after that."""
        while not (self._closed.is_set() or self._pending or self.connection):
            self._more()
        return self

    def close(self) -> None:
        """End the stream. A thread that iterates stops at once, or within ten seconds if
        it is connecting."""
        self._closed.set()
        self._cut(self._socket)
        self._disconnect_if_unused()

    def _more(self) -> None:
        with self._using:
            self._advance()
        if self._closed.is_set():
            self._disconnect_if_unused()

    def _disconnect_if_unused(self) -> None:
        if self._using.acquire(blocking=False):
            self._disconnect()
            self._using.release()

    def _advance(self) -> None:
        """Connect if necessary and read some bytes. After a failure, wait."""
        try:
            if self._answer is None:
                self._connect()
            assert self._answer is not None
            self._read(self._answer)
        except Lost as lost:
            self._disconnect()
            self._pause(lost)
        except Finished:
            self._closed.set()
        except BaseException:
            # The next request would fail in the same way.
            self._closed.set()
            self._disconnect()
            raise

    def _read(self, answer: Answer) -> None:
        """Parse one piece, and receive only if there is none: a few compressed bytes may
        become so many events that they would fill the memory."""
        try:
            piece = answer.take()
            if not piece:
                # Raises if an event is too large, even if nothing follows it.
                self._parser.feed(b"")
                if answer.done:
                    raise Lost("the stream ended")
                answer.feed(self._receive(self._heartbeat))
                return
        except BadAnswer as error:
            raise Lost(f"the answer can't be read: {error}") from None
        self._failures = 0
        for event in self._parser.feed(piece):
            # A disconnect may arrive before the stream has begun.
            if event.type != "push:disconnect":
                self._pending.append(event)
            self._items.take(event)
            if event.type == "push:open":
                self.connection = connection_of(event) or self.connection
        if not self._pending:
            self.last_id = self._parser.last_event_id

    def _receive(self, seconds: float) -> bytes:
        sock = self._socket
        assert sock is not None
        try:
            if seconds < 0:
                raise TimeoutError
            sock.settimeout(seconds or None)
            data = receive_in_time(sock, 65536)
        except TimeoutError:
            raise Lost(f"nothing came for {self._heartbeat:g} seconds") from None
        except (OSError, ValueError) as error:
            raise Lost(f"the connection was cut: {error}") from None
        if not data:
            raise Lost("the stream ended")
        return data

    def _connect(self) -> None:
        """Request the stream, and follow at most ten redirects."""
        self._parser.reset()
        self._items.connect()
        address, own = self._address, self._own_words()
        renewed: Address | None = None
        for _ in range(_REDIRECTS):
            answer, head = self._ask(address, own)
            if head.status == 410 and self._renew is not None:
                self._disconnect()
                if renewed:
                    raise Lost("its new address is not valid either")
                renewed = self._address.renewed(self._renew).adding(self._query)
                self._address = address = renewed
                continue
            if head.status not in (301, 302, 303, 307, 308):
                judge(head, address.url)
                self._answer = answer
                return
            self._disconnect()
            moved = address.target(head, own)
            if head.status in (301, 308) and address is self._address:
                self._address = moved
            address = moved
        shown = self._address.shown
        raise Refused(head.status, f"{shown} redirects more than ten times.")

    def _own_words(self) -> list[str]:
        """The parameters of this connection, and of no later one."""
        words = {"connection": self.connection.partition(".")[0], "holds": self._items.word}
        return [f"{name}={word}" for name, word in words.items() if word]

    def _ask(self, address: Address, own: list[str]) -> tuple[Answer, Head]:
        last_id = self._parser.last_event_id
        request = address.request(_HEADERS, query="&".join(own), last_id=last_id)
        answer = Answer()
        try:
            self._socket = address.connect(_CONNECT_SECONDS, self._context)
            if self._closed.is_set():
                raise Finished
            self._socket.sendall(request)
            deadline = time.monotonic() + self._heartbeat
            while answer.head is None:
                # A deadline for the whole head: a server may send one byte a second.
                left = deadline - time.monotonic()
                answer.feed(self._receive(self._heartbeat and (left or -1)))
        except ssl.SSLCertVerificationError as error:
            raise Refused(
                0, f"The certificate of {address.place} is not trusted: {error}"
            ) from None
        except (OSError, ValueError) as error:
            raise Lost(f"no answer: {error}") from None
        return answer, answer.head

    def _pause(self, lost: Lost) -> None:
        if self._closed.is_set():
            return
        retry = _RETRY if self._parser.retry is None else self._parser.retry / 1000
        self._failures += 1
        if self._failures == 2:
            logger.warning("Could not read %s, and retries: %s", self, lost)
        self._closed.wait(pause_before(self._failures, max(retry, lost.wait)))

    def _disconnect(self) -> None:
        self._cut(self._socket)
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
        self._socket = self._answer = None

    @staticmethod
    def _cut(sock: socket.socket | None) -> None:
        # Not the shutdown of TLS, which would wait for the server. It wakes a thread that
        # reads.
        with contextlib.suppress(OSError):
            if sock is not None:
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


def connect(
    url: str,
    *,
    channels: cabc.Iterable[str] = (),
    items: bool = False,
    headers: cabc.Mapping[str, str] | None = None,
    last_id: str = "",
    heartbeat: float = _SILENCE,
    context: ssl.SSLContext | None = None,
    renew: cabc.Callable[[], str] | None = None,
) -> Source:
    """Read a stream of an app with Flask-Push, or of any other server.

    It connects when you iterate, and not before.

    :param channels: The channels to ask for, if the view calls :meth:`.Push.requested`.
    :param items: Ask for ``push:items`` and ``push:whole`` even if there are no items.
    :param headers: Sent with each request to this origin, but not to another origin that
        the server redirects to.
    :param last_id: The id of the event after which the stream begins.
    :param heartbeat: Seconds without a byte after which the connection counts as lost;
        ``0`` for never. Three times ``PUSH_HEARTBEAT`` is a good value.
    :param context: The certificates that are trusted; ``None`` for those of the system.
    :param renew: Returns another URL when a signed address is no longer valid. It is called
        again later if it raises an ``OSError``.
    :raises ValueError: If the URL, a header or the id could never be sent.
    """
    words = [("channel", name) for name in channels]
    query = parse.urlencode([*words, ("items", 1)] if items else words)
    address = Address(url.partition("#")[0], dict(headers or {}))
    check_id(last_id)
    if not 0 <= heartbeat <= threading.TIMEOUT_MAX:
        raise ValueError(f"heartbeat is a number of seconds, or 0, not {heartbeat!r}.")
    return Source(address, last_id, heartbeat, context, renew, query)
