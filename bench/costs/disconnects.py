"""How soon a browser receives the disconnect of its stream, while many others are idle.

This process has the browser of one user, and calls `disconnect`; the loader has all other
streams. The reference is an event, from `publish` on.
"""

from __future__ import annotations

import contextlib
import socket
import time

import servers
from compare import Result
from compare import Row
from compare import Scale
from compare import started
from compare import take_turns
from start.server import HOST

from flask_push import Event
from flask_push import Publisher
from flask_push.sse import Parser

_SECONDS = 20


class _Browser:
    """The stream of one user."""

    def __init__(self, port: int, user: str) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), _SECONDS)
        self._parser = Parser()
        request = f"GET /stream?channel=c0000&channel={user}&user={user} {HOST}\r\n"
        self._sock.sendall(request.encode())
        # No event begins with the head of the response.
        self._head = b""
        self.until("push:open")

    def until(self, type: str) -> Event:
        while True:
            data = self._sock.recv(65536)
            if not data:
                raise RuntimeError(f"The stream ended before {type}.")
            if b"\r\n\r\n" not in self._head:
                self._head += data
                _, _, data = self._head.partition(b"\r\n\r\n")
            for event in self._parser.feed(data):
                if event.type == type:
                    return event

    def close(self) -> None:
        self._sock.close()


def disconnect(scale: Scale) -> list[Row]:
    """Milliseconds until a user's browser, or the last of all browsers, has it."""
    with contextlib.ExitStack() as stack:
        running, loader = started(stack, servers.FLASK_PUSH, scale.small)
        running.connect(loader, scale.small)
        url = f"sqlite://{running.directory}/push-bench/push.db"
        publisher = stack.enter_context(contextlib.closing(Publisher(url)))

        def measure_event() -> Result:
            with contextlib.closing(_Browser(running.port, "user")) as browser:
                begun = time.perf_counter()
                publisher.publish("user", "x" * 150)
                browser.until("message")
                return Result((time.perf_counter() - begun) * 1e3)

        def measure_user() -> Result:
            with contextlib.closing(_Browser(running.port, "user")) as browser:
                begun = time.perf_counter()
                publisher.disconnect(user="user")
                browser.until("push:disconnect")
                return Result((time.perf_counter() - begun) * 1e3)

        def measure_channel() -> Result:
            loader.send("wait_for_end", _SECONDS)
            begun = time.perf_counter()
            publisher.disconnect(channel="c0000")
            loader.answer()
            taken = time.perf_counter() - begun
            faults = "some are still open" if taken >= _SECONDS else ""
            running.connect(loader, scale.small)
            return Result(taken * 1e3, {}, faults)

        name = f"disconnect, {scale.small:,} other streams"
        ways = {"an event": measure_event, "of a user": measure_user}
        ways[f"of a channel with {scale.small:,} streams"] = measure_channel
        pairs = [(Row(name, label, "ms"), measure) for label, measure in ways.items()]
        take_turns(pairs, scale.rounds)
        return [row for row, _ in pairs]
