"""One connection to a Redis, on the hub's loop.

Replies and published events are handed on in the order in which they arrive. So a reply
proves that all events published before it have been handed on.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import socket
import ssl
import typing as t
from collections import deque

from hiredis import PushNotification
from hiredis import Reader

from .scripts import Arg

# Seconds after which a server that sends nothing, though it owes a reply, is lost.
SILENCE_SECONDS = 4.0
_CHUNK = 256 * 1024
_MESSAGES = b"message", b"smessage"
_CHANGES = {b"subscribe", b"unsubscribe", b"ssubscribe", b"sunsubscribe"}


class ReplyError(Exception):
    """The server refuses a command."""


def encode(args: cabc.Sequence[Arg]) -> bytes:
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        data = arg if isinstance(arg, bytes) else str(arg).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


#: Published data, each with its channel.
Published = list[tuple[bytes, bytes]]


class _Call:
    """A command that waits for its reply."""

    def __init__(
        self, now: float, count: int, answer: cabc.Callable[[t.Any], None]
    ) -> None:
        self.sent = now
        #: How many channels the command subscribes to or unsubscribes from. The server
        #: confirms each by a push, and sends no other reply, unless it refuses the command.
        self.count = count
        self.answer = answer


class RedisConnection:
    """
    :param pushed: Called with published data, all that arrived at once together.
    :param lost: Called once, with the reason.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        pushed: cabc.Callable[[Published], None],
        lost: cabc.Callable[[Exception], None],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._pushed = pushed
        self._lost = lost
        self._reader = Reader(replyError=ReplyError)
        self._out = bytearray()
        self._calls: deque[_Call] = deque()
        self._received_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = self._writing = False
        #: When the last command was sent.
        self.used = loop.time()
        loop.add_reader(sock, self._read)

    def change(self, command: str, channels: cabc.Sequence[bytes]) -> None:
        """Subscribe to channels, or unsubscribe from them."""
        self._send([command, *channels], len(channels), self._fail)

    def call(self, args: cabc.Sequence[Arg], answer: cabc.Callable[[t.Any], None]) -> None:
        self._send(args, 0, answer)

    def _send(
        self, args: cabc.Sequence[Arg], count: int, answer: cabc.Callable[[t.Any], None]
    ) -> None:
        self.used = self._loop.time()
        self._calls.append(_Call(self.used, count, answer))
        if self._timer is None:
            self._timer = self._loop.call_later(SILENCE_SECONDS, self._check)
        self._out += encode(args)
        self._write()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._sock)
        if self._writing:
            self._loop.remove_writer(self._sock)
        if self._timer is not None:
            self._timer.cancel()
        try:
            # Closing alone would not do if a child of a fork has the socket, too.
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._sock.close()

    def _fail(self, error: Exception) -> None:
        if not self._closed:
            self.close()
            self._lost(error)

    def _check(self) -> None:
        self._timer = None
        if self._calls:
            since = max(self._received_at, self._calls[0].sent)
            left = since + SILENCE_SECONDS - self._loop.time()
            if left <= 0:
                self._fail(TimeoutError(f"It has been silent for {SILENCE_SECONDS:.0f} s."))
            else:
                self._timer = self._loop.call_later(left, self._check)

    def _write(self) -> None:
        if self._closed:
            return
        try:
            while self._out:
                sent = self._sock.send(self._out)
                del self._out[:sent]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        except OSError as error:
            # Not now, because a callback must not run within a call.
            self._out.clear()
            self._loop.call_soon(self._fail, error)
        if bool(self._out) != self._writing:
            self._writing = bool(self._out)
            if self._writing:
                self._loop.add_writer(self._sock, self._write)
            else:
                self._loop.remove_writer(self._sock)

    def _read(self) -> None:
        try:
            data = self._sock.recv(_CHUNK)
            pending = getattr(self._sock, "pending", None)
            while pending is not None and pending():
                data += self._sock.recv(pending())
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            self._fail(error)
            return
        if not data:
            self._fail(ConnectionError("It has closed the connection."))
            return
        self._received_at = self._loop.time()
        try:
            self._reader.feed(data)
            self._hand_on()
        except Exception as error:
            self._fail(error)

    def _hand_on(self) -> None:
        published: Published = []
        gets = self._reader.gets
        while (reply := gets()) is not False and not self._closed:
            if isinstance(reply, PushNotification):
                if reply[0] in _MESSAGES:
                    published.append((reply[1], reply[2]))
                    continue
                if reply[0] in _CHANGES:
                    self._changed(reply[0])
                    continue
                if reply[0] != b"pong":
                    continue
            if published:
                self._pushed(published)
                published = []
            if not self._calls:
                raise ConnectionError(f"It sent a reply to no command: {reply!r:.200}")
            self._calls.popleft().answer(reply)
        if published and not self._closed:
            self._pushed(published)

    def _changed(self, kind: bytes) -> None:
        """The server has confirmed a subscription, or its end."""
        if self._calls and self._calls[0].count:
            self._calls[0].count -= 1
            if not self._calls[0].count:
                self._calls.popleft()
        elif kind == b"sunsubscribe":
            # A node unsubscribes from all channels when their slot moves to another node.
            raise ConnectionError("The slot has moved to another node.")
