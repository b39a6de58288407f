"""Bodies of HTTP as they arrive: with their framing, and with how they end."""

from __future__ import annotations

import socket
import typing as t


class RawAnswer(t.NamedTuple):
    status: int
    headers: dict[str, str]
    #: Without its framing.
    body: bytes
    #: Whether it is in chunks, and the last one arrived with nothing behind it.
    has_last_chunk: bool
    #: Whether the connection ended with a reset.
    was_reset: bool

    @property
    def data(self) -> list[str]:
        """The data of its events."""
        lines = self.body.decode().split("\n")
        return [line[6:] for line in lines if line.startswith("data: ")]


class RawReading:
    """A request whose answer is read bit by bit."""

    def __init__(
        self,
        port: int,
        method: str,
        target: str,
        body: bytes = b"",
        *headers: str,
        version: str = "1.1",
    ) -> None:
        lines = [f"{method} {target} HTTP/{version}", f"Host: 127.0.0.1:{port}", *headers]
        lines += ["Connection: close", "Content-Type: application/json"]
        lines += [f"Content-Length: {len(body)}", "", ""]
        self.received = b""
        self._sock = socket.create_connection(("127.0.0.1", port), 60)
        self._sock.sendall("\r\n".join(lines).encode() + body)

    def read_until(self, text: bytes) -> None:
        while text not in self.received:
            data = self._sock.recv(65536)
            assert data, self.received
            self.received += data

    def read_to_end(self) -> RawAnswer:
        was_reset = False
        try:
            while data := self._sock.recv(65536):
                self.received += data
        except ConnectionResetError:
            was_reset = True
        head, _, raw = self.received.partition(b"\r\n\r\n")
        status, *fields = head.decode("latin-1").split("\r\n")
        pairs = (field.partition(": ") for field in fields)
        headers = {name.lower(): value for name, _, value in pairs}
        has_last = False
        if headers.get("transfer-encoding") == "chunked":
            raw, has_last = without_chunks(raw)
        return RawAnswer(int(status.split()[1]), headers, raw, has_last, was_reset)

    def close(self) -> None:
        self._sock.close()


def without_chunks(raw: bytes) -> tuple[bytes, bool]:
    body = b""
    while raw:
        size, _, raw = raw.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return body, raw == b"\r\n"
        assert raw[length : length + 2] in (b"\r\n", b"\r", b"")
        body, raw = body + raw[:length], raw[length + 2 :]
    return body, False
