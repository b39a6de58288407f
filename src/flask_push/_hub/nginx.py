"""How a client's socket reaches the hub through nginx, where the server gives none.

The view's response is a redirect that only nginx sees, ``X-Accel-Redirect``, and the worker
is free. The redirect holds a *token*. With it, nginx connects to a Unix socket of the hub.
From then on that connection is the client: the hub writes to it as to any other, and it
closes when the browser leaves.

If a token is not valid, the answer asks the browser to reconnect, with the status 200: an
EventSource gives up at any other. A client of a plain wire gets 503.

A browser that has a *return ticket* needs no view. Nginx connects to the same socket, and
passes the browser's request, marked with a header. If the return ticket is not valid, the
hub answers with a status that nginx handles itself, by asking the app.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import os
import socket
import time
from pathlib import Path

from .._delivery import wire
from .._delivery.connection_id import new_connection_id
from .._delivery.options import Options
from .._delivery.stream import Stream
from .._delivery.tickets import ReturnTickets
from .._delivery.tickets import TicketRequest
from .._ipc.client import Client
from .._ipc.protocol import is_plain
from .._ipc.protocol import new_token
from .._system.clock import http_date
from .._system.descriptors import limit
from .._system.inodes import identity
from .._system.logs import QuietLogger
from .._system.unix import is_listened_on
from .._system.unix import listen_at
from .._system.unix import MOST_OF_A_PATH
from .nginx_request import RequestHead
from .tokens import Tokens

#: Connections at once that have not shown a token or a return ticket.
MOST_CONNECTIONS = 1000
# Seconds in which a request has to arrive.
_REQUEST_SECONDS = 5.0
# Seconds to wait for a token that another process sends, and between two looks.
_TOKEN_LATE_SECONDS = 1.0
_RETRY_SECONDS = 0.05
# Seconds after which a client of a plain wire may ask again.
_PLAIN_RETRY_SECONDS = 2
# Seconds between two looks whether the socket is still in its directory.
_LOOK_SECONDS = 1.0
# Bytes of a request. It has the browser's cookies, if nginx passes them on.
_REQUEST_BYTES = 64 * 1024
# Nginx reads this status, Misdirected Request, as the advice to ask the app (RFC 9110,
# 15.5.20).
_ASK_THE_APP = b"HTTP/1.1 421 Misdirected Request\r\nContent-Length: 0\r\n\r\n"


class NginxListener:
    """Listens for nginx, on the loop of a hub.

    :param path: The Unix socket, in a directory whose mode decides who may connect.
    :param adopt: Takes a stream, and its client.
    :param sock: The socket, if another process has listened on it before.
    :raises RuntimeError: If another process listens there, or the socket can't be made.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        path: Path,
        adopt: cabc.Callable[[Stream, Client], None],
        options: Options,
        sock: socket.socket | None = None,
    ) -> None:
        #: Checks return tickets. Without keys, none is valid.
        self.returns = ReturnTickets([])
        self._loop = loop
        self._path = path
        self.adopt = self.adopt_returned = adopt
        #: Whether the view decides about a stream that a return ticket allows.
        self.refuses: cabc.Callable[[Stream], bool] = lambda stream: False
        self._options = options
        self._quiet = QuietLogger()
        self.tokens = Tokens(path)
        self.requests: set[NginxRequest] = set()
        self._socket = sock or _listen(path)
        self._made = identity(path)
        self._resume()
        self._timer = loop.call_later(_LOOK_SECONDS, self._look)

    def __repr__(self) -> str:
        return f"<NginxListener {self._path} [{len(self.tokens)} tokens]>"

    def token(self, stream: Stream) -> str:
        """Make a token for a stream. From any thread.

        :raises RuntimeError: If there are too many.
        """
        token = new_token(stream.is_plain)
        self.tokens.expect(token, stream)
        return token

    def release(self) -> socket.socket:
        """Give away the socket. Tokens are no longer valid: browsers that have one
        reconnect."""
        self._pause()
        self._timer.cancel()
        for request in list(self.requests):
            request.close()
        return self._socket

    def close(self) -> None:
        """Stop listening. The hub keeps the connections that it has adopted."""
        self.release().close()
        if self._made is not None and identity(self._path) == self._made:
            self._path.unlink(missing_ok=True)

    def descriptors(self) -> list[int]:
        """All that a forked child has to close, because it would keep them open."""
        return [self._socket.fileno(), *(request.fileno() for request in self.requests)]

    def _look(self) -> None:
        """Listen again, if the socket was removed."""
        self._timer = self._loop.call_later(_LOOK_SECONDS, self._look)
        if self._made is not None and identity(self._path) == self._made:
            return
        try:
            sock = _listen(self._path)
        except RuntimeError as error:
            self._quiet.error("nginx can't connect to the hub: %s", error)
            return
        self._made = identity(self._path)
        self._quiet.warning("%s was removed; the hub made it again.", self._path)
        self._pause()
        self._socket.close()
        self._socket = sock
        self._resume()

    def _accept(self) -> None:
        try:
            sock, _ = self._socket.accept()
        except BlockingIOError:
            return
        except OSError:
            # No descriptor is left, for example. Connections wait in the backlog.
            self._pause()
            self._loop.call_later(_RETRY_SECONDS, self._resume)
            return
        NginxRequest(self, sock, self._loop)
        if len(self.requests) >= _most():
            self._pause()

    def _pause(self) -> None:
        self._loop.remove_reader(self._socket)

    def _resume(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket, self._accept)

    def remove(self, request: NginxRequest) -> None:
        self.requests.discard(request)
        if len(self.requests) == _most() - 1:
            self._resume()

    def stream_of(self, asked: TicketRequest) -> Stream | None:
        """The stream of a request's return ticket, if that is valid."""
        now, date = time.time(), http_date()
        stream = self.returns.look(asked, new_connection_id, now, date)
        # If it may have been disconnected, it would come with the same ticket again.
        return None if stream is None or self.refuses(stream) else stream

    def reconnect_later(self, token: str) -> bytes:
        """The answer to a request whose token is not valid."""
        head = wire.head("200 OK", wire.HEADERS.items(), http_date())
        if is_plain(token):
            return wire.unavailable(head, _PLAIN_RETRY_SECONDS)
        return head + wire.first_bytes(self._options.jittered_retry())


def _most() -> int:
    """How many requests may be open, of the descriptors that the process has."""
    return max(1, min(MOST_CONNECTIONS, limit() // 16))


class NginxRequest:
    """A connection of nginx that has not shown a token or a return ticket yet."""

    def __init__(
        self, listener: NginxListener, sock: socket.socket, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._listener = listener
        self._socket = sock
        self._loop = loop
        self._request = b""
        sock.setblocking(False)
        listener.requests.add(self)
        self._timer = loop.call_later(_REQUEST_SECONDS, self.close)
        loop.add_reader(sock, self._read)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._end()
        self._socket.close()

    def _end(self) -> None:
        self._timer.cancel()
        self._loop.remove_reader(self._socket)
        self._listener.remove(self)

    def _read(self) -> None:
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._request += data
        if not data or len(self._request) > _REQUEST_BYTES:
            self.close()
        elif b"\r\n\r\n" in self._request:
            head = RequestHead(self._request)
            if asked := head.ticket_request:
                self._return(asked)
            elif head.token:
                self._loop.remove_reader(self._socket)
                self._redeem(head.token, self._loop.time() + _TOKEN_LATE_SECONDS)
            else:
                self.close()

    def _return(self, asked: TicketRequest) -> None:
        stream = self._listener.stream_of(asked)
        if stream is not None:
            self._hand_over(stream, self._listener.adopt_returned)
            return
        with contextlib.suppress(OSError):
            self._socket.send(_ASK_THE_APP)
        self.close()

    def _hand_over(
        self, stream: Stream, adopt: cabc.Callable[[Stream, Client], None]
    ) -> None:
        self._end()
        adopt(stream, Client(self._socket.fileno()))
        self._socket.detach()

    def _redeem(self, token: str, until: float) -> None:
        self._timer.cancel()
        stream = self._listener.tokens.redeem(token)
        if stream is not None:
            self._hand_over(stream, self._listener.adopt)
        elif self._loop.time() < until:
            # Another process sends it, so the hub may read it after the request.
            self._timer = self._loop.call_later(_RETRY_SECONDS, self._redeem, token, until)
        else:
            with contextlib.suppress(OSError):
                self._socket.send(self._listener.reconnect_later(token))
            self.close()


def _listen(path: Path) -> socket.socket:
    try:
        if is_listened_on(path):
            raise RuntimeError(f"Another process listens on {path}.")
        if len(os.fsencode(path)) > MOST_OF_A_PATH:
            raise OSError("the path is too long for nginx")
        # Also for the group of nginx, if the directory has it and passes it on.
        sock = listen_at(path, 0o660, MOST_CONNECTIONS)
    except OSError as error:
        raise RuntimeError(
            f"nginx can't be listened for on {path}: {error}. Set PUSH_RUN_DIR to a"
            " directory that the app may write, with a short name."
        ) from error
    sock.setblocking(False)
    return sock
