"""A server that gives scripted answers."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import socket
import ssl
import threading
import time
import typing as t

import pytest

import flask_push
from flask_push import client
from flask_push.client import outcome

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


# What a server does with a client: bytes to send, or seconds to wait for it to leave.
Answer = cabc.Sequence[bytes | float]


class Scripted:
    """Answers each connection with the next of its answers, and then with 204."""

    def __init__(
        self, *answers: Answer, port: int = 0, context: ssl.SSLContext | None = None
    ) -> None:
        self.context = context
        self.answers = list(answers)
        self.requests: list[str] = []
        self.times: list[float] = []
        self.ended: list[float] = []
        self.sock = socket.create_server(("127.0.0.1", port))
        self.port: int = self.sock.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/stream"
        self._over = False
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Scripted:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Only Linux ends an accept if another thread shuts the socket down.
        self._over = True
        with contextlib.suppress(OSError):
            socket.create_connection(self.sock.getsockname(), 20).close()
        self._thread.join()
        self.sock.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.sock.accept()
                if self._over:
                    sock.close()
                    return
                self.times.append(time.monotonic())
                with contextlib.suppress(OSError):
                    if self.context is not None:
                        sock.settimeout(20)
                        sock = self.context.wrap_socket(sock, server_side=True)
                    self._answer(sock)
                sock.close()
                self.ended.append(time.monotonic())

    def _answer(self, sock: socket.socket) -> None:
        sock.settimeout(20)
        head = b""
        while b"\r\n\r\n" not in head:
            data = sock.recv(65536)
            if not data:
                return
            head += data
        self.requests.append(head.decode("latin-1"))
        for part in self.answers.pop(0) if self.answers else [status(204)]:
            if isinstance(part, bytes):
                sock.sendall(part)
            else:
                sock.settimeout(part)
                while sock.recv(65536):
                    pass

    def header(self, number: int, name: str) -> str | None:
        for line in self.requests[number].split("\r\n")[1:]:
            key, _, value = line.partition(": ")
            if key.lower() == name.lower():
                return value
        return None


def status(code: int, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {code} Whatever", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def body(*data: bytes) -> Answer:
    """A stream that ends with its connection."""
    return [STREAM + b"\r\n", *data]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that reconnects without a pause."""
    monkeypatch.setattr(client, "_RETRY", 0.0)
    monkeypatch.setattr(outcome, "_LEAST", 0.0)
    monkeypatch.setattr(outcome, "_MOST", 0.0)


def listen(url: str, **options: t.Any) -> list[tuple[str, str, str]]:
    with flask_push.connect(url, **options) as source:
        return [(event.type, event.data, event.id) for event in source]
