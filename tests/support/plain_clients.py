"""Clients of plain wires, which read the answers of a server byte by byte."""

from __future__ import annotations

import socket

from flask_push import Publisher
from flask_push._delivery.chunks import NotWhole
from flask_push._delivery.chunks import Unchunker
from support.servers import Server

#: What ends each plain wire of a run that is done.
WORDS = {"ai-sdk": b"data: [DONE]\n\n", "ag-ui": b"", "openai": b"data: [DONE]\n\n"}


class RawClient:
    """A client of a plain wire, which sees how its response ends."""

    def __init__(
        self, port: int, path: str, protocol: str = "HTTP/1.1", method: str = "GET"
    ) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        length = "Content-Length: 0\r\n" if method == "POST" else ""
        request = f"{method} {path} {protocol}\r\nHost: x\r\n{length}\r\n"
        self.sock.sendall(request.encode())
        self._data = b""
        while b"\r\n\r\n" not in self._data:
            data = self.sock.recv(65536)
            assert data, f"The server has sent no head, but {self._data!r}."
            self._data += data
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1])
        pairs = (line.split(": ", 1) for line in lines)
        self.headers = {name.lower(): value for name, value in pairs}
        self._chunks: Unchunker | None = None
        if self.headers.get("transfer-encoding") == "chunked":
            self._chunks = Unchunker()
        self.body = b""
        #: Whether the client can tell that its body is not whole.
        self.broken = False
        self._take(self._data)

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    @property
    def is_chunked(self) -> bool:
        return self._chunks is not None

    def read_until(self, text: bytes) -> RawClient:
        while text not in self.body:
            assert self._read(), f"The body has ended: {self.body!r}"
        return self

    def read_to_end(self) -> RawClient:
        while self._read():
            pass
        return self

    def _read(self) -> bool:
        if self._chunks is not None and self._chunks.is_whole:
            return False
        try:
            data = self.sock.recv(65536)
            self._take(data)
            if not data and self._chunks is not None:
                self.broken = not self._chunks.is_whole
        except (ConnectionResetError, NotWhole):
            self.broken = True
            return False
        return bool(data)

    def _take(self, data: bytes) -> None:
        self.body += data if self._chunks is None else self._chunks.feed(data)


def publisher_of(server: Server) -> Publisher:
    return Publisher(server.get("/url"))


def words_of(wire: str, *data: str) -> bytes:
    """The body of a whole run, without its comments."""
    return b"".join(f"data: {text}\n\n".encode() for text in data) + WORDS[wire]


def without_comments(body: bytes) -> bytes:
    assert body.startswith(b":\n")
    return body.replace(b":\n", b"")
