"""How a client's socket comes to the hub by way of nginx, where the server gives none.

The view's response is a redirect that only nginx sees, ``X-Accel-Redirect``, and the
worker is free. The redirect holds a *ticket*. With it nginx connects to a Unix socket of
ours, and that connection is then the client's: the hub writes to it as to any other, and
sees it close when the client leaves.

A ticket is random, good for one connection and a few seconds. Whoever can open the
socket could guess at tickets, but not hit one. Whatever nginx can't be given, the
browser is told to come back: any status but 200 would be final for it.

By the same socket a browser comes that has a *return ticket*, and needs no view. Nginx
says so in a header. If it has none that is good, it hears so by a status that nginx
keeps to itself, and asks the app.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import os
import socket
import threading
import time
from pathlib import Path
from urllib.parse import unquote_to_bytes

from .._delivery import wire
from .._delivery.connection_id import new_connection_id
from .._delivery.options import Options
from .._delivery.stream import Stream
from .._delivery.tickets import ReturnTickets
from .._delivery.tickets import TicketRequest
from .._ipc.client import Client
from .._ipc.protocol import new_ticket
from .._system.clock import http_date
from .._system.descriptors import limit
from .._system.inodes import identity
from .._system.logs import QuietLogger
from .._system.unix import is_listened_on
from .._system.unix import listen_at
from .._system.unix import MOST_OF_A_PATH

#: Seconds for which a ticket is good. Nginx comes at once.
GOOD_FOR = 10.0
#: Tickets at once, and connections that have not shown theirs.
MOST = 1000
# Seconds after which a ticket gives way to others, when there are too many: nginx does not
# come for a browser that has left, and of these there may be any number.
_HURRY = 1.0
# Seconds in which a request has to come, and a ticket that another process sends us.
_PATIENCE = 5.0
_LATE = 1.0
_PAUSE = 0.05
# Between two looks whether the socket is still there.
_LOOK = 1.0
# Bytes of a request, with a browser's cookies in it if nginx passes them on.
_REQUEST = 64 * 1024
# With it nginx says that a browser asks itself. Misdirected Request is what it takes for
# the advice to ask the app (RFC 9110, 15.5.20).
_RETURNS = "x-push-return"
_ASK_THE_APP = b"HTTP/1.1 421 Misdirected Request\r\nContent-Length: 0\r\n\r\n"


class AccelListener:
    """Listens for nginx, on the loop of a hub.

    :param path: The Unix socket. Its directory is there, and decides who may connect.
    :param adopt: Takes a stream, and its client.
    :param door: The socket, if another has listened on it before.
    :raises RuntimeError: If another process listens there, or it can't be listened there.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        path: Path,
        adopt: cabc.Callable[[Stream, Client], None],
        options: Options,
        door: socket.socket | None = None,
    ) -> None:
        #: Tells which return tickets are good. None is, as long as there are no keys.
        self.returns = ReturnTickets([])
        self._loop = loop
        self._path = path
        self._adopt = adopt
        self._options = options
        self._quiet = QuietLogger()
        # By the time when they were given, the oldest first.
        self._tickets: dict[str, tuple[float, Stream]] = {}
        self._lock = threading.Lock()
        self._redeemed = False
        self.visits: set[_Visit] = set()
        self._socket = door or _listen(path)
        self._made = identity(path)
        self._go_on()
        self._timer = loop.call_later(_LOOK, self._look)

    def __repr__(self) -> str:
        return f"<AccelListener {self._path} [{len(self._tickets)} tickets]>"

    def ticket(self, stream: Stream) -> str:
        """A ticket for the stream, with its head. From any thread.

        :raises RuntimeError: If there are too many.
        """
        ticket = new_ticket()
        self.expect(ticket, stream)
        return ticket

    def expect(self, ticket: str, stream: Stream) -> None:
        """Take a ticket that :func:`new_ticket` made. From any thread.

        :raises RuntimeError: If there are too many.
        """
        now = time.monotonic()
        with self._lock:
            self._forget(now - GOOD_FOR)
            if len(self._tickets) >= MOST:
                self._forget(now - _HURRY)
            if len(self._tickets) >= MOST:
                raise RuntimeError(f"nginx has not come for {MOST} streams.")
            self._tickets[ticket] = (now, stream)

    def release(self) -> socket.socket:
        """Give away the socket, on which nginx is not kept waiting for long. Tickets are
        void: a browser that has one comes back."""
        self._pause()
        self._timer.cancel()
        for visit in list(self.visits):
            visit.close()
        return self._socket

    def close(self) -> None:
        """Listen no more. Connections that were adopted are the hub's."""
        self._pause()
        self._timer.cancel()
        self._socket.close()
        for visit in list(self.visits):
            visit.close()
        if self._made is not None and identity(self._path) == self._made:
            self._path.unlink(missing_ok=True)

    def descriptors(self) -> list[int]:
        """Everything that a forked child has to close, not to keep it open."""
        return [self._socket.fileno(), *(visit.fileno() for visit in self.visits)]

    def _forget(self, before: float) -> None:
        count = 0
        for ticket, (given, _) in list(self._tickets.items()):
            if given >= before:
                break
            del self._tickets[ticket]
            count += 1
        if count and not self._redeemed:
            self._quiet.warning(
                "nginx did not come for %d streams. Does it have the internal location of"
                " PUSH_ACCEL, and may it connect to %s?",
                count,
                self._path,
            )

    def _look(self) -> None:
        """Listen again, if the socket was removed."""
        self._timer = self._loop.call_later(_LOOK, self._look)
        if self._made is not None and identity(self._path) == self._made:
            return
        try:
            door = _listen(self._path)
        except RuntimeError as error:
            self._quiet.error("nginx can't connect to the hub: %s", error)
            return
        self._made = identity(self._path)
        self._quiet.warning("%s was removed; the hub made it again.", self._path)
        self._pause()
        self._socket.close()
        self._socket = door
        self._go_on()

    def _accept(self) -> None:
        try:
            sock, _ = self._socket.accept()
        except BlockingIOError:
            return
        except OSError:
            # No descriptors left, say. They wait in the backlog.
            self._pause()
            self._loop.call_later(_PAUSE, self._go_on)
            return
        _Visit(self, sock, self._loop)
        if len(self.visits) >= _most():
            self._pause()

    def _pause(self) -> None:
        self._loop.remove_reader(self._socket)

    def _go_on(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket, self._accept)

    def left(self, visit: _Visit) -> None:
        self.visits.discard(visit)
        if len(self.visits) == _most() - 1:
            self._go_on()

    def redeem(self, ticket: str) -> Stream | None:
        """The ticket's stream, once."""
        with self._lock:
            given, stream = self._tickets.pop(ticket, (0.0, None))
            if stream is None or given < time.monotonic() - GOOD_FOR:
                return None
            self._redeemed = True
            return stream

    def find(self, asked: TicketRequest) -> Stream | None:
        """The stream that a request's return ticket is good for."""
        return self.returns.look(asked, new_connection_id, time.time(), http_date())

    def adopt(self, stream: Stream, client: Client) -> None:
        self._adopt(stream, client)

    def later(self) -> bytes:
        """The answer to one that has no ticket which is good."""
        headers = wire.HEADERS.items()
        retry = self._options.jittered_retry()
        return wire.head("200 OK", headers, http_date()) + wire.first_bytes(retry)


def _most() -> int:
    """Connections that may wait, of the descriptors that there are."""
    return max(1, min(MOST, limit() // 16))


class _Visit:
    """A connection that has not become a client's yet."""

    def __init__(
        self, listener: AccelListener, sock: socket.socket, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._listener = listener
        self._socket = sock
        self._loop = loop
        self._request = b""
        sock.setblocking(False)
        listener.visits.add(self)
        self._timer = loop.call_later(_PATIENCE, self.close)
        loop.add_reader(sock, self._read)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._end()
        self._socket.close()

    def _end(self) -> None:
        self._timer.cancel()
        self._loop.remove_reader(self._socket)
        self._listener.left(self)

    def _read(self) -> None:
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._request += data
        if not data or len(self._request) > _REQUEST:
            self.close()
        elif b"\r\n\r\n" in self._request:
            if asked := returns(self._request):
                self._return(asked)
            elif ticket := ticket_of(self._request):
                self._loop.remove_reader(self._socket)
                self._find(ticket, self._loop.time() + _LATE)
            else:
                self.close()

    def _return(self, asked: TicketRequest) -> None:
        stream = self._listener.find(asked)
        if stream is not None:
            self._give(stream)
            return
        with contextlib.suppress(OSError):
            self._socket.send(_ASK_THE_APP)
        self.close()

    def _give(self, stream: Stream) -> None:
        self._end()
        self._listener.adopt(stream, Client(self._socket.fileno()))
        self._socket.detach()

    def _find(self, ticket: str, until: float) -> None:
        self._timer.cancel()
        stream = self._listener.redeem(ticket)
        if stream is not None:
            self._give(stream)
        elif self._loop.time() < until:
            # One that comes from another process may be read after its request.
            self._timer = self._loop.call_later(_PAUSE, self._find, ticket, until)
        else:
            with contextlib.suppress(OSError):
                self._socket.send(self._listener.later())
            self.close()


def ticket_of(request: bytes) -> str:
    """The last part of the path that is asked for; empty if none is."""
    words = request.partition(b"\r\n")[0].split()
    if len(words) != 3 or words[0] != b"GET":
        return ""
    path = words[1].decode("latin-1").partition("?")[0]
    return path.rpartition("/")[2]


def returns(request: bytes) -> TicketRequest | None:
    """What a browser asks for that may have a return ticket, if nginx says so."""
    lines = request.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines[1:])
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    if _RETURNS not in headers:
        return None
    method, _, target = lines[0].rpartition(" ")[0].partition(" ")
    if method != "GET":
        return TicketRequest(b"", "")
    path, _, query = target.partition("?")
    return TicketRequest.of(
        unquote_to_bytes(path), query, lambda name: headers.get(name, "")
    )


def _listen(path: Path) -> socket.socket:
    try:
        if is_listened_on(path):
            raise RuntimeError(f"Another process listens on {path}.")
        if len(os.fsencode(path)) > MOST_OF_A_PATH:
            raise OSError("the path is too long for nginx")
        # For nginx's group too, if the directory has it and passes it on.
        sock = listen_at(path, 0o660, MOST)
    except OSError as error:
        raise RuntimeError(
            f"nginx can't be listened for on {path}: {error}. Set PUSH_RUN_DIR to a"
            " directory that the app may write, with a short name."
        ) from error
    sock.setblocking(False)
    return sock
