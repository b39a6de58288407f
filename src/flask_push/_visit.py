"""One answer as a browser gets it, and when each piece of it came.

Reads no more cleverly than a browser: what is measured here is what is between.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import socket
import ssl
import time
import zlib
from collections import deque
from urllib.parse import SplitResult
from urllib.parse import urlencode
from urllib.parse import urlsplit

from . import sse
from ._event import Event

# Bytes that a head may have, and events that are remembered.
_MAX_HEAD = 65536
_MAX_EVENTS = 10_000


class Visit:
    """A request, sent when it is made.

    :param headers: As ``Cookie: a=b``, each.
    :param encoding: What the request accepts.
    :param query: Goes behind what the URL asks for.
    :raises OSError: If there is no server.
    """

    def __init__(
        self,
        url: str,
        headers: cabc.Iterable[str] = (),
        *,
        method: str = "GET",
        encoding: str = "gzip",
        position: str = "",
        query: cabc.Mapping[str, str] | None = None,
    ) -> None:
        self.status = 0
        self.version = ""
        self.headers: dict[str, str] = {}
        self.events: deque[Event] = deque(maxlen=_MAX_EVENTS)
        #: Whether no more comes; and whether that was its end, not a cut.
        self.ended = self.whole = False
        self.first_byte = self.last_byte = 0.0
        self.parser = sse.Parser()
        self._raw = b""
        self._body = _Body()
        parts = urlsplit(url)
        self.sock = _connect(parts, ["http/1.1"])
        self.began = time.monotonic()
        lines = [
            f"{method} {_target(parts, query or {})} HTTP/1.1",
            f"Host: {parts.netloc}",
        ]
        lines += ["Accept: text/event-stream", f"Accept-Encoding: {encoding}"]
        lines += ["User-Agent: flask-push-doctor", *headers]
        if position:
            lines.append(f"Last-Event-ID: {position}")
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode())

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def read(self, until: cabc.Callable[[], object], seconds: float) -> bool:
        """Read on until it is true. Whether it came true in that time."""
        deadline = time.monotonic() + seconds
        while not until():
            left = deadline - time.monotonic()
            if left <= 0 or self.ended:
                return False
            self.sock.settimeout(left)
            with contextlib.suppress(TimeoutError):
                self._take(self._receive())
        return True

    def of_type(self, type: str) -> list[Event]:
        return [event for event in self.events if event.type == type]

    def _receive(self) -> bytes:
        try:
            return self.sock.recv(65536)
        except TimeoutError:
            raise
        except OSError:
            return b""

    def _take(self, data: bytes) -> None:
        now = time.monotonic()
        if not data:
            self.ended = True
            self.whole = self.whole or self._body.ends_with_connection
            return
        if not self.status:
            self._raw += data
            head, end, data = self._raw.partition(b"\r\n\r\n")
            if not end:
                self.ended = len(self._raw) > _MAX_HEAD
                return
            self._take_head(head.decode("latin-1"))
        try:
            body = self._body.feed(data)
            if body:
                self.first_byte = self.first_byte or now
                self.last_byte = now
                self.events += self.parser.feed(body)
        except (ValueError, zlib.error):
            self.ended = True
        if self._body.done:
            self.ended = self.whole = True

    def _take_head(self, head: str) -> None:
        first, *lines = head.split("\r\n")
        self.version, _, rest = first.partition(" ")
        code = rest[:3]
        self.status = int(code) if code.isascii() and code.isdigit() else -1
        for line in lines:
            name, _, value = line.partition(":")
            name, value = name.strip().lower(), value.strip()
            before = self.headers.get(name)
            self.headers[name] = value if before is None else f"{before}, {value}"
        self._body.begin(self.headers)


class _Body:
    """Takes chunks and compression off, as they come."""

    def __init__(self) -> None:
        self.done = False
        self._chunked = False
        self._left: int | None = None
        self._data = b""
        self._unzip: zlib._Decompress | None = None

    @property
    def ends_with_connection(self) -> bool:
        return not self._chunked and self._left is None

    def begin(self, headers: cabc.Mapping[str, str]) -> None:
        self._chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        length = headers.get("content-length", "")
        if not self._chunked and length.isascii() and length.isdigit():
            self._left = int(length)
            self.done = not self._left
        if headers.get("content-encoding", "").lower() in ("gzip", "deflate"):
            self._unzip = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def feed(self, data: bytes) -> bytes:
        """What these bytes bring of the body.

        :raises ValueError: If they are no chunks.
        """
        if self._chunked:
            data = b"".join(self._chunks(data))
        elif self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
            self.done = not self._left
        return self._unzip.decompress(data) if self._unzip else data

    def _chunks(self, data: bytes) -> cabc.Iterator[bytes]:
        self._data += data
        while not self.done:
            if self._left is None:
                line, end, rest = self._data.partition(b"\r\n")
                if not end:
                    return
                self._left, self._data = int(line.partition(b";")[0], 16), rest
                self.done = not self._left
                continue
            piece, self._data = self._data[: self._left], self._data[self._left :]
            self._left -= len(piece)
            yield piece
            if self._left or len(self._data) < 2:
                return
            self._left, self._data = None, self._data[2:]


def speaks_http2(url: str) -> bool:
    """Whether a browser would get HTTP/2."""
    with _connect(urlsplit(url), ["h2", "http/1.1"]) as sock:
        return isinstance(sock, ssl.SSLSocket) and sock.selected_alpn_protocol() == "h2"


# Seconds for getting as far as a connection.
_PATIENCE = 5.0


def _connect(parts: SplitResult, protocols: list[str]) -> socket.socket:
    secure = parts.scheme == "https"
    address = parts.hostname or "", parts.port or (443 if secure else 80)
    sock = socket.create_connection(address, _PATIENCE)
    if not secure:
        return sock
    try:
        context = ssl.create_default_context()
        context.set_alpn_protocols(protocols)
        return context.wrap_socket(sock, server_hostname=parts.hostname)
    except BaseException:
        sock.close()
        raise


def _target(parts: SplitResult, query: cabc.Mapping[str, str]) -> str:
    words = "&".join(filter(None, [parts.query, urlencode(query)]))
    return (parts.path or "/") + (f"?{words}" if words else "")
