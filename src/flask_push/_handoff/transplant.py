"""How a client's socket moves from a WSGI server to the hub, so that a stream costs no
worker.

Most servers give the socket away. Then one end of a socket pair is put under the server's
own descriptor number. The hub drains the other end, so the server ends the request as it
ends any other: it writes its head, shuts down, closes, logs, and counts. The client's
socket was sent to the hub before, and now only the hub has it. Some servers call the
response's ``close()`` when they have written the head. Then the other end is closed there,
and the hub has nothing to drain.

On Windows, no socket can be put under the number of another. There the end of the pair is
put into the server's own socket object, and the hub gets the number that this had.

Where a server does not give the socket away, there is a :mod:`relay <.relay>`.
"""

from __future__ import annotations

import _socket
import collections.abc as cabc
import os
import socket

from .._delivery.stream import Stream
from .._ipc.client import Client
from .._system.sockets import copy_blocking
from .._system.sockets import exchange
from .door import Adopt

#: The environ's key for a function ``(stream, adopt) -> None`` that makes a stream of the
#: answer. :class:`.PushASGI` sets it.
HAND_OVER = "flask_push.hand_over"

#: Called with a function, which is called when the server has written the head.
Later = cabc.Callable[[cabc.Callable[[], object]], object]

# The kernel takes a head of so many bytes from the server, though nothing reads it.
_UNREAD_BYTES = 16 * 1024


def transplant(
    found: int | socket.socket, stream: Stream, adopt: Adopt, later: Later | None = None
) -> None:
    """Move the client from the server to the hub.

    :param found: The server's descriptor, or its socket object.
    :param later: Without it, the hub drains what the server writes. With it, nothing has to
        read it.
    :raises Exception: Whatever `adopt` raises, and then nothing has happened.
    """
    if isinstance(found, int):
        _replace_descriptor(found, stream, adopt, later)
    else:
        _replace_in_object(found, stream, adopt)


def _replace_descriptor(fd: int, stream: Stream, adopt: Adopt, later: Later | None) -> None:
    # The sockets of :mod:`socket` would be most of what this costs.
    ours, drain = _socket.socketpair()
    try:
        # Before the hub adopts it, because duplicated descriptors share these flags.
        copy_blocking(ours.fileno(), fd)
        # The server may wait for another request, and reads the end of the input at once.
        drain.shutdown(socket.SHUT_WR)
        if later is None or len(stream.head) > _UNREAD_BYTES:
            adopt(stream, Client(fd, drain.fileno(), borrowed=True))
            drain.detach()
        else:
            adopt(stream, Client(fd, borrowed=True))
            later(drain.close)
        os.dup2(ours.fileno(), fd, inheritable=os.get_inheritable(fd))
    except BaseException:
        drain.close()
        raise
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
