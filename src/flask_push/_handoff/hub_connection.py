"""A worker's connection to one hub, and the thread that reads it."""

from __future__ import annotations

import socket
import threading
import typing as t
import weakref

from .._ipc.messages import close_all
from .._ipc.messages import Messages
from .._ipc.messages import MOST_SAID
from .._system.polling import waits_for
from .._system.unpatched import start_apart


class Receiver(t.Protocol):
    """What receives the hub's messages. Both methods run on the thread that reads."""

    def handle(self, connection: HubConnection, received: dict[str, t.Any]) -> None:
        """A message has arrived."""

    def closed(self, connection: HubConnection) -> None:
        """Either end has closed the connection, after the last message."""


class HubConnection(Messages):
    """A thread reads it until it ends, and then closes it."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, most=MOST_SAID)
        #: Whether the hub has answered the hello.
        self.welcomed = False
        #: Whether a message could not be sent, because the hub had died.
        self.lost = False

    def start(self, receiver: Receiver) -> None:
        """Start the thread. It does not keep the receiver alive.

        :raises RuntimeError: If the process can't start one.
        """
        thread = threading.Thread(
            target=_read,
            args=(weakref.ref(receiver), self),
            name="flask-push door",
            daemon=True,
        )
        start_apart(thread)

    def fail(self, error: OSError) -> None:
        """Note that a message could not be sent."""
        # A hub that took only a part of it within the time has not died.
        self.lost = not isinstance(error.__cause__, TimeoutError)


def _read(owner: weakref.ref[Receiver], connection: HubConnection) -> None:
    # Waits without end, although the socket has a timeout, which is for sending.
    wait = waits_for(connection.sock)
    try:
        while wait():
            for message, fds in connection.receive():
                # The hub sends none.
                close_all(fds)
                if (receiver := owner()) is not None:
                    receiver.handle(connection, message)
                del receiver
    except (OSError, EOFError):
        pass
    try:
        if (receiver := owner()) is not None:
            receiver.closed(connection)
    finally:
        connection.close()
