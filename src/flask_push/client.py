"""Listens to a stream from Python, as ``EventSource`` does in a browser.

Reads any stream of Server-Sent Events. Where it differs from a browser, it is for the
better: what may pass is tried again, with pauses that grow, and a connection on which
nothing comes, not even a heartbeat, is taken for lost.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import http.client
import json
import logging
import random
import re
import socket
import ssl
import threading
import typing as t
import zlib
from collections import deque
from dataclasses import dataclass
from urllib import parse

from . import _wire
from . import sse
from ._event import Event
from ._event import GAP

__all__ = ["connect", "Refused", "Source"]

logger = logging.getLogger("flask_push")

# Seconds for getting as far as a connection, before a server has said how long to wait,
# the least that it may say, and the most that is waited for anything.
_PATIENCE, _RETRY, _LEAST, _MOST = 10.0, 3.0, 0.5, 3600.0
# Where pauses end to grow; seconds without a byte, three heartbeats; and redirects.
_CAP, _SILENCE, _REDIRECTS = 60.0, 45.0, 10
# What may pass, beside 500 and above.
_PASSING = frozenset({408, 425, 429})
_SAFE = "/%:=&?~+!$,;'@()*[]"


class Refused(Exception):
    """There is no stream to be had, and asking again would not help.

    :param status: What the server has answered; 0 if it is not one to be trusted.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Lost(Exception):
    """This connection is over, and the next may be better."""

    def __init__(self, why: str, wait: float = 0) -> None:
        super().__init__(why)
        self.wait = wait


class _Finished(Exception):
    """There is nothing to come back for."""


@dataclass(frozen=True)
class _Address:
    """Where to ask, and the headers that are for whoever is there."""

    url: str
    headers: cabc.Mapping[str, str]

    def split(self) -> parse.SplitResult:
        parts = parse.urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                f"A stream's URL begins with http:// or https://, not as {self.url!r}."
            )
        if parts.username is not None:
            raise ValueError("A URL shows its password to logs. Send it as a header.")
        return parts

    def move(self, location: str) -> _Address:
        """What is told to one server is not told to another."""
        moved = _Address(parse.urljoin(self.url, location), self.headers)
        before, after = self.split(), moved.split()
        same = before.scheme == after.scheme and before.netloc == after.netloc
        return moved if same else _Address(moved.url, {})


class Source:
    """The events of one stream, in order, for as long as you like. Made by
    :func:`flask_push.connect`.

    One thread iterates. Iterating waits for the next event, and comes back by itself
    when the connection is lost, with the last id, so that nothing is missing. Events
    that begin with ``push:`` are kept from you, but for ``push:gap``.
    """

    def __init__(
        self,
        address: _Address,
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
        self._decode: cabc.Callable[[bytes], bytes] = bytes
        self._parser = sse.Parser()
        self._parser.last_event_id = last_id
        self._pending: deque[Event] = deque()
        self._closed = threading.Event()
        # Held while the connection is used; whoever closes meanwhile only cuts it.
        self._using = threading.Lock()
        self._socket: socket.socket | None = None
        self._http: http.client.HTTPConnection | None = None
        self._response: http.client.HTTPResponse | None = None
        self._failures = 0

    def __repr__(self) -> str:
        state = "closed" if self._closed.is_set() else "open" if self._response else "away"
        return f"<Source {self._address.url}: {state}>"

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Source:
        return self

    def __next__(self) -> Event:
        """
        :raises Refused: If there is no stream, for good.
        :raises sse.ParseError: If an event is too large to be held.
        """
        while not self._closed.is_set():
            if self._pending:
                event = self._pending.popleft()
                self.last_id = event.id if self._pending else self._parser.last_event_id
                if not event.type.startswith(_wire.RESERVED) or event.type == GAP:
                    return event
            else:
                self._more()
        raise StopIteration

    def opened(self) -> Source:
        """Wait until the stream has its place: whatever is published from then on is
        among its events."""
        while not (self._closed.is_set() or self._pending or self.connection):
            self._more()
        return self

    def close(self) -> None:
        """End it. Called from another thread, it ends the iteration too."""
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
            if self._response is None:
                self._connect()
            assert self._response is not None
            self._read(self._response)
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

    def _read(self, response: http.client.HTTPResponse) -> None:
        try:
            data = response.read1(65536)
            text = self._decode(data)
        except TimeoutError:
            raise _Lost(f"nothing has come for {self._heartbeat:g} seconds") from None
        except (OSError, ValueError, http.client.HTTPException, zlib.error) as error:
            raise _Lost(f"it was cut: {error}") from None
        if not data:
            raise _Lost("it has ended")
        self._failures = 0
        for event in self._parser.feed(text):
            self._pending.append(event)
            if event.type == "push:open":
                self.connection = _connection_of(event) or self.connection
        if not self._pending:
            self.last_id = self._parser.last_event_id

    def _connect(self) -> None:
        """Find a stream's response, behind however many redirects."""
        self._parser.reset()
        address = self._address
        for _ in range(_REDIRECTS):
            self._response = response = self._ask(address)
            if response.status not in (301, 302, 303, 307, 308):
                self._decode = _judge(response, address.url)
                return
            location = response.headers.get("Location", "")
            self._let_go()
            try:
                moved = address.move(location)
            except ValueError as error:
                raise Refused(response.status, str(error)) from None
            if response.status in (301, 308) and address is self._address:
                self._address = moved
            address = moved
        raise Refused(response.status, f"{self._address.url} redirects without end.")

    def _ask(self, address: _Address) -> http.client.HTTPResponse:
        parts = address.split()
        name = self.connection and f"connection={self.connection.partition('.')[0]}"
        query = "&".join(filter(None, [parse.quote(parts.query, _SAFE), name]))
        target = parse.quote(parts.path or "/", _SAFE) + (f"?{query}" if query else "")
        headers: dict[str, str | bytes] = {
            "Accept": "text/event-stream",
            "Cache-Control": "no-store",
            "User-Agent": "flask-push",
            **address.headers,
        }
        if self._parser.last_event_id:
            headers["Last-Event-ID"] = self._parser.last_event_id.encode()
        self._http = connection = self._dial(parts)
        try:
            connection.connect()
            assert connection.sock is not None
            connection.sock.settimeout(self._heartbeat or None)
            self._socket = connection.sock
            if self._closed.is_set():
                raise _Finished
            connection.request("GET", target, headers=headers)
            return connection.getresponse()
        except ssl.SSLCertVerificationError as error:
            raise Refused(0, f"{parts.netloc} is not who it says: {error}") from None
        except (OSError, http.client.HTTPException) as error:
            raise _Lost(f"no answer: {error}") from None

    def _dial(self, parts: parse.SplitResult) -> http.client.HTTPConnection:
        host = parts.hostname or ""
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, parts.port, timeout=_PATIENCE)
        return http.client.HTTPSConnection(
            host, parts.port, timeout=_PATIENCE, context=self._context
        )

    def _pause(self, lost: _Lost) -> None:
        if self._closed.is_set():
            return
        retry = _RETRY if self._parser.retry is None else self._parser.retry / 1000
        self._failures += 1
        if self._failures == 2:
            logger.warning("%s can't be had now, and is tried again: %s", self, lost)
        self._closed.wait(_wait(max(retry, lost.wait), self._failures))

    def _let_go(self) -> None:
        self._cut(self._socket)
        if self._response is not None:
            self._response.close()
        if self._http is not None:
            self._http.close()
        self._socket = self._response = self._http = None

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
    """Listen to a stream: of an app with Flask-Push, or any other.

    Nothing is sent before the first event is asked for.

    :param channels: Which to ask for, where :meth:`.Push.requested` is asked.
    :param headers: Sent too, but not to another server that this one may redirect to.
    :param last_id: Where to go on.
    :param heartbeat: Seconds without a byte after which the connection is taken for
        lost; ``0`` for never. Three times ``PUSH_HEARTBEAT`` is a good one.
    :param context: Which certificates are believed; those of the system if it is ``None``.
    :raises ValueError: If nothing could be asked for this.
    """
    query = parse.urlencode([("channel", name) for name in channels])
    url, _, _ = url.partition("#")
    if query:
        url += ("&" if "?" in url else "?") + query
    address = _Address(url, dict(headers or {}))
    address.split()
    for value in (last_id, *address.headers, *address.headers.values()):
        if re.search(r"[\r\n\0]", value):
            raise ValueError(f"{value!r} holds a line break or NUL.")
    if not heartbeat >= 0:
        raise ValueError(f"heartbeat is a number of seconds, or 0, not {heartbeat!r}.")
    return Source(address, last_id, heartbeat, context)


def _wait(floor: float, attempt: int) -> float:
    """Seconds before the next connection: no less than the server wishes, and with each
    in vain up to twice as much, anywhere between, so that not all come at once."""
    floor = min(max(floor, _LEAST), _MOST)
    longest = max(floor, min(_CAP, floor * 2 ** min(attempt - 1, 16)))
    return random.uniform(floor, longest)


def _judge(response: http.client.HTTPResponse, url: str) -> cabc.Callable[[bytes], bytes]:
    """See that it is a stream. How to read it."""
    status = response.status
    if status == 204:
        raise _Finished
    if status >= 500 or status in _PASSING:
        wait = response.headers.get("Retry-After", "")
        seconds = float(wait) if re.fullmatch("[0-9]{1,9}", wait) else 0
        raise _Lost(f"it answers {status}", seconds)
    if status != 200:
        raise Refused(status, f"{url} answers {status} {response.reason}.")
    kind = response.headers.get_content_type()
    if kind != "text/event-stream":
        if response.length is None and not response.chunked and not response.read1(1):
            raise _Lost("its head was cut")
        raise Refused(status, f"{url} is {kind}, and no stream.")
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding not in ("identity", "gzip"):
        raise Refused(status, f"{url} is compressed ({encoding}), which can't be read.")
    return zlib.decompressobj(wbits=31).decompress if encoding == "gzip" else bytes


def _connection_of(event: Event) -> str:
    with contextlib.suppress(ValueError):
        said: t.Any = json.loads(event.data)
        called = said.get("connection") if isinstance(said, dict) else None
        # Without its secret it is what we have said ourselves.
        if isinstance(called, str) and re.fullmatch(r"[\w-]+\.[\w-]+", called, re.A):
            return called
    return ""
