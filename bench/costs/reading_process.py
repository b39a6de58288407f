"""A hub in this process, and another process that reads what the hub writes."""

from __future__ import annotations

import asyncio
import fcntl
import multiprocessing
import select
import socket
import sys
import termios

from flask_push._delivery.options import Options
from flask_push._delivery.stream import Stream
from flask_push._hub.hub import Hub
from flask_push._ipc.client import Client
from flask_push.brokers.memory import MemoryBroker


class ReadHub:
    """A hub on a loop of its own. Another process reads all streams and discards them."""

    def __init__(self, options: Options) -> None:
        self.loop = asyncio.new_event_loop()
        self.broker = MemoryBroker()
        self.hub = Hub(self.broker, options, self.loop)
        self._ours: list[socket.socket] = []
        self._theirs: list[tuple[Stream, int]] = []

    def add(self, stream: Stream, ours: socket.socket, theirs: socket.socket) -> None:
        """Add a reader, before it begins.

        :param theirs: The end that the hub writes to.
        """
        self._ours.append(ours)
        self._theirs.append((stream, theirs.detach()))

    def begin(self) -> None:
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=_discard, args=(self._ours,), daemon=True)
        self._process.start()
        for stream, fd in self._theirs:
            self.hub.adopt(stream, Client(fd))
        self.loop.run_until_complete(self.until_all_is_read())

    async def until_all_is_read(self) -> None:
        while self.hub.status()["behind"] or any(map(_unread, self._ours)):
            await asyncio.sleep(0.005)

    def close(self) -> None:
        self._process.terminate()
        self._process.join()
        self.hub.stop()
        for sock in self._ours:
            sock.close()
        self.broker.close()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()


def _discard(socks: list[socket.socket]) -> None:
    poll = select.epoll()
    by_number = {sock.fileno(): sock for sock in socks}
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    while True:
        for number, _ in poll.poll():
            by_number[number].recv(2**18)


def _unread(sock: socket.socket) -> int:
    """The number of bytes that the reading process has not read yet."""
    return int.from_bytes(fcntl.ioctl(sock, termios.FIONREAD, bytes(4)), sys.byteorder)
