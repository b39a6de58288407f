"""How a client's socket moves from a WSGI server to the hub, so that a stream costs no
worker.

Most servers give the socket away. Then one end of a socket pair is put under the server's
own descriptor number. The hub drains the other end, so the server ends the request as it
ends any other: it writes its head, shuts down, closes, logs, and counts. The client's
socket was duplicated before, and now only the hub has it.

On Windows, no socket can be put under the number of another. There the end of the pair is
put into the server's own socket object, and the hub gets the number that this had.

Where a server does not give the socket away, there is a :mod:`relay <.relay>`.
"""

from __future__ import annotations

import _socket
import os
import socket

from .._delivery.stream import Stream
from .._ipc.client import Client
from .._system.descriptors import duplicate
from .._system.descriptors import limit
from .._system.sockets import copy_blocking
from .._system.sockets import exchange
from .door import Adopt

#: The environ's key for a function ``(stream, adopt) -> None`` that makes a stream of the
#: answer. :class:`.PushASGI` sets it.
HAND_OVER = "flask_push.hand_over"

# Clients' descriptors get numbers from here on, where possible. The low numbers are left to
# the app, because it may use select(), which knows no number above 1,023.
_HIGH = 1024


def transplant(found: int | socket.socket, stream: Stream, adopt: Adopt) -> None:
    """Move the client from the server to the hub.

    :param found: The server's descriptor, or its socket object.
    :raises Exception: Whatever `adopt` raises, and then nothing has happened.
    """
    if isinstance(found, int):
        _replace_descriptor(found, stream, adopt)
    else:
        _replace_in_object(found, stream, adopt)


def _replace_descriptor(fd: int, stream: Stream, adopt: Adopt) -> None:
    client = _duplicate(fd)
    try:
        # The sockets of :mod:`socket` would be most of what this costs.
        ours, drain = _socket.socketpair()
    except OSError:
        os.close(client)
        raise
    try:
        # Before the hub adopts it, because duplicated descriptors share these flags.
        copy_blocking(ours.fileno(), fd)
        # The server may wait for another request, and reads the end of the input at once.
        drain.shutdown(socket.SHUT_WR)
        try:
            adopt(stream, Client(client, drain.fileno()))
        except BaseException:
            os.close(client)
            drain.close()
            raise
        drain.detach()
        os.dup2(ours.fileno(), fd, inheritable=os.get_inheritable(fd))
    finally:
        ours.close()


def _replace_in_object(sock: socket.socket, stream: Stream, adopt: Adopt) -> None:
    ours, drain = socket.socketpair()
    try:
        # The server may wait for another request, and reads the end of the input at once.
        drain.shutdown(socket.SHUT_WR)
        adopt(stream, Client(sock.fileno(), drain.fileno()))
    except BaseException:
        ours.close()
        drain.close()
        raise
    drain.detach()
    exchange(sock, ours.detach())


def _duplicate(fd: int) -> int:
    # Where the limit is low, low numbers are needed as well.
    for lowest in (_HIGH, 3) if limit() > 4 * _HIGH else (3,):
        try:
            return duplicate(fd, lowest)
        except OSError:
            pass
    return os.dup(fd)
