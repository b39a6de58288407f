"""The hub alone, in this process. It reads events from a socket, as the server in C does.

This measures the hub from its feed on, without a store and without a view.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import re
import resource
import socket
import sys

from flask_push._delivery.options import Options
from flask_push._delivery.stream import Stream
from flask_push._hub.hub import Hub
from flask_push._ipc.client import Client
from flask_push.brokers import Broker
from flask_push.brokers import Entry
from flask_push.brokers import Page
from flask_push.brokers import Proof
from flask_push.brokers import Sink
from flask_push.brokers._common import now
from flask_push.brokers.memory import MemoryBroker

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


class SocketBroker(MemoryBroker):
    def feed(self, sink: Sink, loop: asyncio.AbstractEventLoop, **_: object) -> SocketFeed:  # type: ignore[override]
        return SocketFeed(sink, loop, int(sys.argv[2]))


class SocketFeed:
    """A feed that reads events from a socket, and stores none."""

    retention = 86_400_000_000

    def __init__(self, sink: Sink, loop: asyncio.AbstractEventLoop, port: int) -> None:
        self._sink = sink
        self._loop = loop
        self._end = now()
        self._prev: dict[str, int] = {}
        self._incomplete: dict[socket.socket, bytes] = {}
        listen(loop, port, self._add_publisher)
        loop.call_soon(self._sink.deliver, "bench", (), self._end)

    def watch(self, channels: cabc.Collection[str]) -> None:
        self._loop.call_soon(self._sink.watched, list(channels))

    def unwatch(self, channels: cabc.Collection[str]) -> None: ...

    def close(self) -> None: ...

    def read(
        self,
        channels: cabc.Collection[str],
        callback: cabc.Callable[[Page], None],
        *,
        after: int | None = None,
        last: int = 0,
    ) -> None:
        proofs = {name: Proof(self._end) for name in channels}
        page = Page("bench", self._end, self._end, self._end, [], proofs)
        self._loop.call_soon(callback, page)

    def _add_publisher(self, sock: socket.socket) -> None:
        self._incomplete[sock] = b""
        self._loop.add_reader(sock, self._read_events, sock)

    def _read_events(self, sock: socket.socket) -> None:
        data = sock.recv(2**18)
        if not data:
            self._loop.remove_reader(sock)
            del self._incomplete[sock]
            sock.close()
            return
        *lines, self._incomplete[sock] = (self._incomplete[sock] + data).split(b"\n")
        entries, number, prev = [], self._end, self._prev
        for line in lines:
            name = line[:5].decode()
            before, number = prev.get(name, number), number + 1
            prev[name] = number
            entries.append(Entry(number, before, name, "message", line[6:]))
        self._end = number
        self._sink.deliver("bench", entries, self._end)


def listen(
    loop: asyncio.AbstractEventLoop,
    port: int,
    add: cabc.Callable[[socket.socket], None],
) -> None:
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    listener.setblocking(False)

    def accept() -> None:
        for _ in range(100):
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            add(sock)

    loop.add_reader(listener, accept)


def main() -> None:
    # Not by a function of Flask-Push: an older version may have it elsewhere.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop = asyncio.new_event_loop()
    broker: Broker = SocketBroker()
    # It has no disconnects. Older versions, which are measured too, ignore that option.
    options = Options.from_json({"max_streams": 200_000, "disconnect": False})
    hub = Hub(broker, options, loop)

    def adopt(sock: socket.socket) -> None:
        request = sock.recv(8192).decode()
        loop.remove_reader(sock)
        channels = tuple(re.findall(r"channel=(\w+)", request))
        hub.adopt(Stream(channels, "bench", head=_HEAD), Client(sock.detach()))

    listen(loop, int(sys.argv[1]), lambda sock: loop.add_reader(sock, adopt, sock))
    loop.run_forever()


if __name__ == "__main__":
    main()
