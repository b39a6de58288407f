"""Readers of streams: they parse what they receive with :mod:`flask_push.sse`."""

from __future__ import annotations

import collections.abc as cabc
import json
import socket
import time
import typing as t
import zlib
from urllib.parse import urlencode

from flask_push import Event
from flask_push import sse
from flask_push.testing._sink import until


class StreamReader:
    """Keeps what it is fed, and the events in it.

    :param gzip: Whether what it is fed is compressed.
    :param last_id: The id of its last event, from an earlier connection.
    """

    def __init__(self, *, gzip: bool = False, last_id: str = "") -> None:
        self.gzip = gzip
        self.parser = sse.Parser()
        self.parser.last_event_id = last_id
        self.body = bytearray()
        self.events: list[Event] = []
        self.begin()

    def begin(self) -> None:
        """Expect the first bytes of a response."""
        self.parser.reset()
        self.ended = False
        self._inflate = zlib.decompressobj(wbits=31)

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes, and return the events that they complete."""
        if self.gzip:
            data = self._inflate.decompress(data)
        self.body += data
        events = self.parser.feed(data)
        self.events += events
        return events

    @property
    def last_id(self) -> str:
        return self.parser.last_event_id

    @property
    def data(self) -> list[str]:
        """What was published, without the events of the stream itself."""
        return [e.data for e in self.events if not e.type.startswith("push:")]

    @property
    def gaps(self) -> list[dict[str, t.Any]]:
        return [json.loads(e.data) for e in self.events if e.type == "push:gap"]


def events_in(chunks: cabc.Iterable[bytes]) -> cabc.Iterator[Event]:
    """The events of a body, each as soon as it is complete."""
    reader = StreamReader()
    for chunk in chunks:
        yield from reader.feed(chunk)


class SocketReader(StreamReader):
    """Reads one end of a pair of sockets, without waiting. A hub of this process has the
    other."""

    def __init__(self, *, gzip: bool = False, last_id: str = "") -> None:
        super().__init__(gzip=gzip, last_id=last_id)
        #: Bytes.
        self.received = 0
        self.connect()

    def connect(self) -> None:
        self.sock, self.theirs = socket.socketpair()
        self.sock.setblocking(False)

    def read(self, most: int = 2**20) -> None:
        try:
            data = self.sock.recv(most)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        self.ended |= not data
        self.received += len(data)
        self.feed(data)

    def close(self) -> None:
        self.sock.close()

    async def until(self, condition: cabc.Callable[[], object]) -> None:
        def read() -> object:
            self.read()
            return condition()

        await until(read)

    async def receives(self, *data: str) -> None:
        """Wait until it has received events with exactly these data."""
        await self.until(lambda: self.data == [*data])

    async def receives_data(self) -> None:
        await self.until(lambda: self.data)

    async def receives_a_gap(self) -> None:
        await self.until(lambda: self.gaps)

    async def ends(self) -> None:
        """Wait until the hub has closed its stream."""
        await self.until(lambda: self.ended)


class HttpReader(StreamReader):
    """Requests a stream from a server, and reads only when it is called."""

    #: False if what it reads from has decompressed the body already.
    decodes_gzip = True

    def __init__(
        self,
        port: int,
        *channels: str,
        last_id: str = "",
        path: str = "/stream",
        receive_buffer: int = 0,
        headers: cabc.Mapping[str, str] | None = None,
        version: str = "1.1",
        **query: t.Any,
    ) -> None:
        super().__init__(last_id=last_id)
        self.head = b""
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(20)
        pairs = [("channel", name) for name in channels] + list(query.items())
        lines = [f"GET {path}?{urlencode(pairs)} HTTP/{version}", "Host: localhost"]
        lines += ["Accept: text/event-stream"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if last_id:
            lines.append(f"Last-Event-ID: {last_id}")
        self.sock.connect(("127.0.0.1", port))
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode())

    def fileno(self) -> int:
        return self.sock.fileno()

    @property
    def status(self) -> int:
        return int(self.head.split()[1])

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        pairs = (line.split(": ", 1) for line in lines if line)
        return {name.lower(): value for name, value in pairs}

    def read(self, most: int | None = None) -> list[Event]:
        """The events in the bytes that arrive next. Waits for them.

        :param most: Bytes of the body that it takes of them. The others are lost.
        """
        try:
            data = self.sock.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self.ended = True
            return []
        if not self.head.endswith(b"\r\n\r\n"):
            head, end, data = (self.head + data).partition(b"\r\n\r\n")
            self.head = head + end
            coding = self.headers.get("content-encoding")
            self.gzip = self.decodes_gzip and coding == "gzip"
        return self.feed(data[:most])

    def read_until(
        self, condition: cabc.Callable[[HttpReader], t.Any], seconds: float = 20
    ) -> HttpReader:
        deadline = time.monotonic() + seconds
        while not condition(self):
            left = deadline - time.monotonic()
            assert left > 0 and not self.ended, (self.ended, self.head, self.events[-3:])
            self.sock.settimeout(max(left, 0.001))
            self.read()
        self.sock.settimeout(20)
        return self

    def opened(self) -> HttpReader:
        """Read until it is open."""
        return self.read_until(lambda r: any(e.type == "push:open" for e in r.events))

    def read_data(self, count: int) -> list[str]:
        """Read until it has so many events that were published."""
        return self.read_until(lambda r: len(r.data) >= count).data

    def read_to_end(self, seconds: float = 20) -> HttpReader:
        deadline = time.monotonic() + seconds
        while not self.ended:
            self.sock.settimeout(max(0.01, deadline - time.monotonic()))
            self.read()
        return self

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> HttpReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
