"""One connection to a Redis, on the hub's loop: commands out, replies and news in.

Everything is handed on in the order in which it came. So the reply to a question says,
by itself, that whatever was published before it was answered has been handed on.
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

# Seconds without a sign of life after which a server that was asked is lost.
PATIENCE = 4.0
_CHUNK = 256 * 1024
_MESSAGES = b"message", b"smessage"
_CHANGES = {b"subscribe", b"unsubscribe", b"ssubscribe", b"sunsubscribe"}


class ReplyError(Exception):
    """The server says no."""


def encode(args: cabc.Sequence[Arg]) -> bytes:
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        data = arg if isinstance(arg, bytes) else str(arg).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


#: What was published: on which channel, and what.
News = list[tuple[bytes, bytes]]


class _Call:
    """What was sent, and waits for its reply."""

    def __init__(
        self, now: float, count: int, answer: cabc.Callable[[t.Any], None]
    ) -> None:
        self.sent = now
        #: Channels that are subscribed to or left. Each is confirmed as if it had been
        #: published, and the command has no other reply, unless it is refused.
        self.count = count
        self.answer = answer


class Link:
    """
    :param pushed: Called with what was published, all that came at once together.
    :param lost: Called once, with what is wrong.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        pushed: cabc.Callable[[News], None],
        lost: cabc.Callable[[Exception], None],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._pushed = pushed
        self._lost = lost
        self._reader = Reader(replyError=ReplyError)
        self._out = bytearray()
        self._calls: deque[_Call] = deque()
        self._heard = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = self._writing = False
        #: When something was sent last.
        self.used = loop.time()
        loop.add_reader(sock, self._read)

    def change(self, command: str, channels: cabc.Sequence[bytes]) -> None:
        """Subscribe to channels, or leave them."""
        self._send([command, *channels], len(channels), self._fail)

    def call(self, args: cabc.Sequence[Arg], answer: cabc.Callable[[t.Any], None]) -> None:
        self._send(args, 0, answer)

    def _send(
        self, args: cabc.Sequence[Arg], count: int, answer: cabc.Callable[[t.Any], None]
    ) -> None:
        self.used = self._loop.time()
        self._calls.append(_Call(self.used, count, answer))
        if self._timer is None:
            self._timer = self._loop.call_later(PATIENCE, self._check)
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
            # A child of a fork may have it, too.
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
            since = max(self._heard, self._calls[0].sent)
            left = since + PATIENCE - self._loop.time()
            if left <= 0:
                self._fail(TimeoutError(f"It has been silent for {PATIENCE:.0f} s."))
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
            # The reader finds out, not to call back from within a call.
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
        self._heard = self._loop.time()
        try:
            self._reader.feed(data)
            self._hand_on()
        except Exception as error:
            self._fail(error)

    def _hand_on(self) -> None:
        news: News = []
        gets = self._reader.gets
        while (reply := gets()) is not False and not self._closed:
            if isinstance(reply, PushNotification):
                if reply[0] in _MESSAGES:
                    news.append((reply[1], reply[2]))
                    continue
                if reply[0] in _CHANGES:
                    self._changed(reply[0])
                    continue
                if reply[0] != b"pong":
                    continue
            if news:
                self._pushed(news)
                news = []
            if not self._calls:
                raise ConnectionError(f"It says what nobody asked: {reply!r:.200}")
            self._calls.popleft().answer(reply)
        if news and not self._closed:
            self._pushed(news)

    def _changed(self, kind: bytes) -> None:
        """A channel was subscribed to, or left."""
        if self._calls and self._calls[0].count:
            self._calls[0].count -= 1
            if not self._calls[0].count:
                self._calls.popleft()
        elif kind == b"sunsubscribe":
            # A node leaves all channels where their slot is not its own any more.
            raise ConnectionError("The slot has moved to another node.")
