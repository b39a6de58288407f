"""Servers with a pair of sockets for each client."""

from __future__ import annotations

import collections.abc as cabc
import contextlib

import pytest

from flask_push._delivery.stream import Stream
from flask_push._ipc.client import Client
from flask_push._system import sockets

STREAM = Stream(("a",), "connection", lifetime=3600)


class Adopted:
    """Stands in for a hub, and keeps the streams that it gets."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.streams: list[Stream] = []
        self.fds: list[int] = []

    def __call__(self, stream: Stream, client: Client) -> None:
        if self.error is not None:
            raise self.error
        self.streams.append(stream)
        self.fds += client.owned().fds

    def close(self) -> None:
        for fd in self.fds:
            with contextlib.suppress(OSError):
                sockets.close(fd)


@pytest.fixture
def adopt() -> cabc.Iterator[Adopted]:
    adopted = Adopted()
    yield adopted
    adopted.close()
