"""How soon a newcomer has all items of a channel, and what they take of the hub's memory.

The store is a file of SQLite, and this process sets the items and reads the streams.
"""

from __future__ import annotations

import contextlib
import itertools
import selectors
import socket
import time

import servers
from compare import Result
from compare import Row
from compare import Scale
from compare import take_turns
from start.server import HOST
from start.server import Running
from start.server import start

from flask_push import Event
from flask_push import Publisher

SIZE, AT_ONCE = 100, 50
_SECONDS = 60
_WHOLE = b"event: push:whole"


def publisher_of(running: Running) -> Publisher:
    return Publisher(f"sqlite://{running.directory}/push-bench/push.db")


def connect(running: Running, channel: str, buffer: int = 0) -> socket.socket:
    """A stream of a channel.

    :param buffer: Bytes that the kernel may keep for the reader, if not the usual.
    """
    sock = socket.socket()
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.connect(("127.0.0.1", running.port))
    sock.sendall(f"GET /stream?channel={channel}&items=1 {HOST}\r\n".encode())
    return sock


def start_hub(running: Running) -> None:
    """The app makes the store and starts the hub when it is needed."""
    newcomers(running, "none", 1)


def newcomers(running: Running, channel: str, count: int) -> Result:
    """Milliseconds until so many that connect together have all items."""
    begun, size = time.perf_counter(), 0
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        ends: dict[socket.socket, bytes] = {}
        for _ in range(count):
            sock = stack.enter_context(connect(running, channel))
            sock.setblocking(False)
            selector.register(sock, selectors.EVENT_READ)
            ends[sock] = b""
        while ends:
            ready = selector.select(_SECONDS)
            for key, _ in ready:
                sock = key.fileobj  # type: ignore[assignment]
                data = sock.recv(2**20)
                size += len(data)
                ends[sock] = ends[sock][-len(_WHOLE) :] + data
                if _WHOLE in ends[sock] or not data:
                    selector.unregister(sock)
                    if _WHOLE not in ends.pop(sock):
                        return Result(0, faults="A stream ended before push:whole.")
            if not ready:
                return Result(0, faults=f"{len(ends)} have not all items.")
        taken = time.perf_counter() - begun
    return Result(1e3 * taken, {"bytes": size / count})


def item_newcomers(scale: Scale) -> list[Row]:
    """The first newcomer makes the hub read the store. The others find the items in it."""
    name = f"a newcomer to {scale.large:,} items of {SIZE} bytes"
    memory = [
        Row(f"the hub's memory, {scale.large:,} items of {SIZE} bytes", label, "MB")
        for label in ("before", "after the first newcomer", f"after {AT_ONCE} at once")
    ]
    with contextlib.ExitStack() as stack:
        running = start(servers.FLASK_PUSH, 0)
        stack.callback(running.end)
        publisher = stack.enter_context(contextlib.closing(publisher_of(running)))
        names = itertools.count()
        channel = ""

        def measure_memory(row: Row) -> None:
            if not row.values:
                taken = running.processes.memory(running.processes.hub())
                row.values.append(taken / 1e6)

        def first() -> Result:
            nonlocal channel
            channel = f"items{next(names)}"
            data = "x" * SIZE
            publisher.publish_many(
                Event(channel, data, item=f"item{n}") for n in range(scale.large)
            )
            measure_memory(memory[0])
            found = newcomers(running, channel, 1)
            measure_memory(memory[1])
            return found

        def at_once() -> Result:
            found = newcomers(running, channel, AT_ONCE)
            measure_memory(memory[2])
            return found

        start_hub(running)
        pairs = [
            (Row(name, "the first", "ms until it has all"), first),
            (Row(name, "another", ""), lambda: newcomers(running, channel, 1)),
            (Row(name, f"{AT_ONCE} at once", ""), at_once),
        ]
        # In this order, because the first one fills the channel.
        for _ in range(scale.rounds):
            take_turns(pairs, 1)
    return [*(row for row, _ in pairs), *memory]
