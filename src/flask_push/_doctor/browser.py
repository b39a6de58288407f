"""A request as a browser sends it: the answer, and when each piece of it arrived.

It reads as a browser does, so the times show what the proxies in between do.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import ssl
import time
from collections import deque
from dataclasses import replace
from urllib.parse import urlencode

from .. import sse
from .._delivery import wire
from .._event import Event
from ..client.address import Address
from ..client.answer import Answer
from ..client.answer import BadAnswer

# How many events are kept, and how many characters they may have together. Of the data of
# the app's events only the beginning is kept.
_MAX_EVENTS = 10_000
_MAX_HELD = 16 * 2**20
_BEGINNING = 100
# Seconds to connect.
_CONNECT_SECONDS = 5.0


class BrowserRequest:
    """Connects and sends the request at once.

    :param encoding: The value of ``Accept-Encoding``.
    :param query: Added to the query of the URL.
    :raises OSError: If the server can't be reached.
    """

    def __init__(
        self,
        address: Address,
        *,
        method: str = "GET",
        encoding: str = "gzip",
        position: str = "",
        query: cabc.Mapping[str, str] | None = None,
    ) -> None:
        #: The status of the answer; 0 before it arrives.
        self.status = 0
        #: Why the answer ended early.
        self.why = ""
        self.version = ""
        self.headers: cabc.Mapping[str, str] = {}
        self.events: deque[Event] = deque(maxlen=_MAX_EVENTS)
        #: Whether nothing more comes, and whether the answer was complete.
        self.ended = self.whole = False
        #: Whether the answer is not valid, so that the rest was not read.
        self.broken = False
        self.first_byte = self.last_byte = 0.0
        self.parser = sse.Parser()
        self._answer = Answer(method)
        self._held = 0
        self.sock = address.connect(_CONNECT_SECONDS)
        self.began = time.monotonic()
        headers = {
            "Accept": "text/event-stream",
            "Accept-Encoding": encoding,
            "Cache-Control": "no-cache",
            "User-Agent": "flask-push-doctor",
        }
        self.sock.sendall(
            address.request(
                headers, method=method, query=urlencode(query or {}), last_id=position
            )
        )

    def __enter__(self) -> BrowserRequest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def read(self, until: cabc.Callable[[], object], seconds: float) -> bool:
        """Read until the condition is true. ``False`` if the time passed before."""
        deadline = time.monotonic() + seconds
        while not until():
            left = deadline - time.monotonic()
            if left <= 0 or self.ended:
                return False
            with contextlib.suppress(TimeoutError):
                self._advance(left)
        return True

    def of_type(self, type: str) -> list[Event]:
        return [event for event in self.events if event.type == type]

    def _advance(self, seconds: float) -> None:
        """Parse one piece of what has arrived, or receive more."""
        try:
            piece = self._answer.take()
            if piece:
                self._take(piece)
            elif self._answer.done:
                self.ended = self.whole = True
            else:
                self.sock.settimeout(seconds)
                self._receive()
        except (BadAnswer, sse.ParseError) as error:
            self.why = str(error)
            self.ended = self.broken = True

    def _receive(self) -> None:
        try:
            data = self.sock.recv(65536)
        except TimeoutError:
            raise
        except OSError:
            data = b""
        if not data:
            self.ended = True
            self.whole = self._answer.ends_with_connection
            self.why = "it closed the connection"
            return
        self._answer.feed(data)
        head = self._answer.head
        if head is not None and not self.status:
            self.status, self.version, self.headers = (
                head.status,
                head.version,
                head.headers,
            )

    def _take(self, piece: bytes) -> None:
        self.last_byte = time.monotonic()
        self.first_byte = self.first_byte or self.last_byte
        for event in self.parser.feed(piece):
            if not event.type.startswith(wire.RESERVED):
                event = replace(event, data=event.data[:_BEGINNING])
            self._held += len(event.type) + len(event.id) + len(event.data)
            self.events.append(event)
        # This is enough to find every problem.
        self.ended = self.ended or self._held > _MAX_HELD


def speaks_http2(address: Address) -> bool:
    """Whether a browser would get HTTP/2."""
    with address.connect(_CONNECT_SECONDS, protocols=["h2", "http/1.1"]) as sock:
        return isinstance(sock, ssl.SSLSocket) and sock.selected_alpn_protocol() == "h2"
