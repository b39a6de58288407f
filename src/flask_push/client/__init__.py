"""Reads a stream in Python, as ``EventSource`` does in a browser.

It reads any stream of Server-Sent Events. Unlike a browser, it retries after a status
that may be temporary, with pauses that grow, and it drops a connection on which nothing
comes, not even a heartbeat. The server may be hostile: see :mod:`flask_push.client.answer`.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import logging
import random
import re
import socket
import ssl
import threading
import time
import typing as t
from collections import deque
from urllib import parse

from .. import sse
from .._delivery import wire
from .._event import Event
from .._event import GAP
from .._system.terminal import shown
from .address import Address
from .answer import Answer
from .answer import BadAnswer
from .answer import Head

__all__ = ["connect", "Refused", "Source"]

logger = logging.getLogger("flask_push")

# Seconds for getting as far as a connection, before a server has said how long to wait,
# the least that it may say, and the most that is waited for anything.
_PATIENCE, _RETRY, _LEAST, _MOST = 10.0, 3.0, 0.5, 3600.0
# Where pauses end to grow; seconds without a byte, three heartbeats; and redirects.
_CAP, _SILENCE, _REDIRECTS = 60.0, 45.0, 10
# What may pass, beside 500 and above.
_PASSING = frozenset({408, 425, 429})
_CONNECTION = re.compile(r"[0-9A-Za-z_-]{1,64}\.[0-9A-Za-z_-]{1,64}")
# What an ``EventSource`` sends, and a stream that nothing compresses.
_HEADERS = {
    "Accept": "text/event-stream",
    "Accept-Encoding": "identity",
    "Cache-Control": "no-cache",
    "User-Agent": "flask-push",
}


class Refused(Exception):
    """There is no stream at this address, and to retry would not help.

    :param status: The status that the server answered with; 0 if its certificate is not
        trusted.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Lost(Exception):
    """This connection is over, and the next one may work."""

    def __init__(self, why: str, wait: float = 0) -> None:
        super().__init__(why)
        self.wait = wait


class _Finished(Exception):
    """The server ended the stream for good."""


class Source:
    """The events of one stream, in order, for as long as you like. Made by
    :func:`flask_push.connect`.

    One thread iterates. Iterating waits for the next event. When the connection is lost,
    it reconnects with the last id, so that no event is missing. Events whose type begins
    with ``push:`` are left out, except ``push:gap``.
    """

    def __init__(
        self,
        address: Address,
        last_id: str,
        heartbeat: float,
        context: ssl.SSLContext | None,
    ) -> None:
        #: The id of the last event that was taken. Connect with it, and go on there.
        self.last_id = last_id
        #: What ``push:open`` has called it, to :meth:`exclude <.Push.publish>` it, and it
        #: stays so. Empty before, and where the server is none of ours.
        self.connection = ""
        self._address = address
        self._heartbeat = heartbeat
        self._context = context
        self._parser = sse.Parser()
        self._parser.last_event_id = last_id
        self._pending: deque[Event] = deque()
        self._closed = threading.Event()
        # Held while the connection is used; whoever closes meanwhile only cuts it.
        self._using = threading.Lock()
        self._socket: socket.socket | None = None
        # Of a stream that was found.
        self._answer: Answer | None = None
        self._failures = 0

    def __repr__(self) -> str:
        state = "closed" if self._closed.is_set() else "open" if self._answer else "away"
        return f"<Source {shown(self._address.url, 200)}: {state}>"

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
                if not event.type.startswith(wire.RESERVED) or event.type == GAP:
                    return event
            else:
                self._more()
        raise StopIteration

    def opened(self) -> Source:
        """Wait until the stream has begun: everything that is published after that is
        among its events."""
        while not (self._closed.is_set() or self._pending or self.connection):
            self._more()
        return self

    def close(self) -> None:
        """End the stream. From another thread, this ends the iteration, too: at once, or
        in at most ten seconds if it is connecting."""
        self._closed.set()
        self._cut(self._socket)
        self._tidy()

    def _more(self) -> None:
        with self._using:
            self._advance()
        if self._closed.is_set():
            self._tidy()

    def _tidy(self) -> None:
        if self._using.acquire(blocking=False):
            self._let_go()
            self._using.release()

    def _advance(self) -> None:
        """Get some bytes, or a connection that may have some; or else wait."""
        try:
            if self._answer is None:
                self._connect()
            assert self._answer is not None
            self._read(self._answer)
        except _Lost as lost:
            self._let_go()
            self._pause(lost)
        except _Finished:
            self._closed.set()
        except BaseException:
            # Asking again would only bring it again.
            self._closed.set()
            self._let_go()
            raise

    def _read(self, answer: Answer) -> None:
        """Read one piece, and receive only if there is none: a small answer may be
        compressed so well that its events would fill the memory."""
        try:
            piece = answer.take()
            if not piece:
                # It is an error also where nothing follows an event that is too large.
                self._parser.feed(b"")
                if answer.done:
                    raise _Lost("the stream ended")
                answer.feed(self._receive(self._heartbeat))
                return
        except BadAnswer as error:
            raise _Lost(f"the answer can't be read: {error}") from None
        self._failures = 0
        for event in self._parser.feed(piece):
            self._pending.append(event)
            if event.type == "push:open":
                self.connection = _connection_of(event) or self.connection
        if not self._pending:
            self.last_id = self._parser.last_event_id

    def _receive(self, seconds: float) -> bytes:
        assert self._socket is not None
        try:
            if seconds < 0:
                raise TimeoutError
            self._socket.settimeout(seconds or None)
            data = self._socket.recv(65536)
        except TimeoutError:
            raise _Lost(f"nothing came for {self._heartbeat:g} seconds") from None
        except (OSError, ValueError) as error:
            raise _Lost(f"the connection was cut: {error}") from None
        if not data:
            raise _Lost("the stream ended")
        return data

    def _connect(self) -> None:
        """Find a stream, behind at most ten redirects."""
        self._parser.reset()
        address = self._address
        for _ in range(_REDIRECTS):
            answer, head = self._ask(address)
            if head.status not in (301, 302, 303, 307, 308):
                _judge(head, address.url)
                self._answer = answer
                return
            self._let_go()
            try:
                moved = address.move(head.headers.get("location", ""))
            except ValueError as error:
                raise Refused(
                    head.status, f"{shown(address.url, 200)} redirects: {error}"
                ) from None
            if head.status in (301, 308) and address is self._address:
                self._address = moved
            address = moved
        raise Refused(
            head.status, f"{shown(self._address.url, 200)} redirects without end."
        )

    def _ask(self, address: Address) -> tuple[Answer, Head]:
        name = self.connection and f"connection={self.connection.partition('.')[0]}"
        request = address.request(_HEADERS, query=name, last_id=self._parser.last_event_id)
        answer = Answer()
        try:
            self._socket = address.connect(_PATIENCE, self._context)
            if self._closed.is_set():
                raise _Finished
            self._socket.sendall(request)
            deadline = time.monotonic() + self._heartbeat
            while answer.head is None:
                # All of it, and not each byte: a server may send one a second.
                left = deadline - time.monotonic()
                answer.feed(self._receive(self._heartbeat and (left or -1)))
        except ssl.SSLCertVerificationError as error:
            raise Refused(0, f"{address.place} is not who it says: {error}") from None
        except (OSError, ValueError) as error:
            raise _Lost(f"no answer: {error}") from None
        return answer, answer.head

    def _pause(self, lost: _Lost) -> None:
        if self._closed.is_set():
            return
        retry = _RETRY if self._parser.retry is None else self._parser.retry / 1000
        self._failures += 1
        if self._failures == 2:
            logger.warning("Could not read %s, and retries: %s", self, lost)
        self._closed.wait(_wait(max(retry, lost.wait), self._failures))

    def _let_go(self) -> None:
        self._cut(self._socket)
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
        self._socket = self._answer = None

    @staticmethod
    def _cut(sock: socket.socket | None) -> None:
        # Past TLS, whose own shutdown would wait for the other end. It wakes who reads.
        with contextlib.suppress(OSError):
            if sock is not None:
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


def connect(
    url: str,
    *,
    channels: cabc.Iterable[str] = (),
    headers: cabc.Mapping[str, str] | None = None,
    last_id: str = "",
    heartbeat: float = _SILENCE,
    context: ssl.SSLContext | None = None,
) -> Source:
    """Listen to a stream: of an app with Flask-Push, or of any other server.

    Nothing is sent before the first event is asked for.

    :param channels: The channels to ask for, if the view calls :meth:`.Push.requested`.
    :param headers: Sent with each request to this origin, and to no other one that the
        server may redirect to.
    :param last_id: The id of the event after which the stream begins.
    :param heartbeat: Seconds without a byte after which the connection counts as lost;
        ``0`` for never. Three times ``PUSH_HEARTBEAT`` is a good value.
    :param context: The certificates that are trusted; ``None`` for those of the system.
    :raises ValueError: If the URL, a header or the id could never be sent.
    """
    query = parse.urlencode([("channel", name) for name in channels])
    url, _, _ = url.partition("#")
    if query:
        url += ("&" if "?" in url else "?") + query
    address = Address(url, dict(headers or {}))
    if re.search(r"[\r\n\0]", last_id):
        raise ValueError(f"The id {last_id!r} holds a line break or NUL.")
    last_id.encode()
    if not 0 <= heartbeat <= threading.TIMEOUT_MAX:
        raise ValueError(f"heartbeat is a number of seconds, or 0, not {heartbeat!r}.")
    return Source(address, last_id, heartbeat, context)


def _wait(floor: float, attempt: int) -> float:
    """Seconds before the next connection: no less than the server wishes, and with each
    in vain up to twice as much, anywhere between, so that not all come at once."""
    floor = min(max(floor, _LEAST), _MOST)
    longest = max(floor, min(_CAP, floor * 2 ** min(attempt - 1, 16)))
    return random.uniform(floor, longest)


def _judge(head: Head, url: str) -> None:
    """See that it is a stream, and one that can be read."""
    status, url = head.status, shown(url, 200)
    if status == 204:
        raise _Finished
    if status >= 500 or status in _PASSING:
        wait = head.headers.get("retry-after", "")
        seconds = float(wait) if re.fullmatch("[0-9]{1,9}", wait) else 0
        raise _Lost(f"the status is {status}", seconds)
    if status != 200:
        raise Refused(status, f"{url} answers {status} {shown(head.reason, 100)}.")
    kind = re.split("[;,]", head.headers.get("content-type", "of no type"))[0]
    kind = kind.strip().lower()
    if kind != "text/event-stream":
        raise Refused(status, f"{url} is {shown(kind, 100)}, and no stream.")
    if head.coding not in ("", "gzip"):
        coding = shown(head.coding, 100)
        raise Refused(status, f"{url} is compressed ({coding}), which can't be read.")


def _connection_of(event: Event) -> str:
    with contextlib.suppress(ValueError, RecursionError):
        said: t.Any = json.loads(event.data)
        called = said.get("connection") if isinstance(said, dict) else None
        # Without its secret it is what we have said ourselves.
        if isinstance(called, str) and _CONNECTION.fullmatch(called):
            return called
    return ""
