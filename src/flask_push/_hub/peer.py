"""The processes that are connected to a hub's socket: workers, commands, a successor."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import math
import socket
import typing as t

from .._ipc.agreement import Agreement
from .._ipc.kind import Message
from .._ipc.messages import close_all
from .._ipc.messages import Messages
from .._ipc.messages import MOST_SAID
from .._ipc.messages import UNREADABLE
from .._ipc.protocol import Bye
from .._ipc.protocol import LogLine
from .._ipc.protocol import Reader
from .._ipc.protocol import Welcome
from .._system.descriptors import is_scarce
from .._system.descriptors import limit
from .._system.logs import QuietLogger
from .._system.unix import peer_uid
from .._system.users import current_user

#: By kind of message, the function that handles it. It is called with the message, the
#: peer that has sent it, and the descriptors. It removes from the list those that it
#: keeps; the others are closed.
Handlers = cabc.Mapping[type[Message], cabc.Callable[[t.Any, "Peer", list[int]], None]]

#: Why the hub refuses a connection or a worker.
SCARCE = "It may have only %d file descriptors (ulimit -n), and has none left for this."
# Seconds before the hub tries again to accept a connection, after that has failed.
_ACCEPT_AGAIN_SECONDS = 1
# Seconds: clients that come sooner after each other are collected for so long.
_COLLECT_SECONDS = 0.01
# How many messages are read together, before the loop does other things.
_MOST_TOGETHER = 16


class Peer:
    """One process that is connected.

    :param agreement: Its hello, if it is a worker and the hub has accepted that.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        peers: Peers,
        messages: Messages,
        agreement: Agreement | None,
    ) -> None:
        self.messages = messages
        self.agreement = agreement
        self._loop = loop
        self._peers = peers
        self._listens = False
        # When the last client came, and when those that have come since are read.
        self._last_client = -math.inf
        self._reads: asyncio.Handle | None = None
        messages.sock.setblocking(False)
        messages.most = MOST_SAID

    @property
    def welcome(self) -> bool:
        return self.agreement is not None

    def listen(self) -> None:
        """Read what the process sends, as soon as it arrives."""
        self._listens = True
        self._loop.add_reader(self.messages, self._arrive)

    def pause(self) -> None:
        """Read nothing, so that another process can read on."""
        self._listens = False
        self._loop.remove_reader(self.messages)
        if self._reads is not None:
            self._reads.cancel()
            self._reads = None

    def _arrive(self) -> None:
        before = self._last_client
        self._read()
        if self._listens and before < self._last_client < before + _COLLECT_SECONDS:
            self._collect()

    def _collect(self) -> None:
        """Read what arrives soon all at once. When many clients come, it would be the
        greater part of the work to be woken for each of them."""
        self._loop.remove_reader(self.messages)
        self._reads = self._loop.call_later(_COLLECT_SECONDS, self._read_collected)

    def _read_collected(self) -> None:
        count = 0
        while count < _MOST_TOGETHER and self._read():
            count += 1
        if not self._listens:
            return
        if count == _MOST_TOGETHER:
            self._reads = self._loop.call_soon(self._read_collected)
        elif count > 1:
            self._collect()
        else:
            self._reads = None
            self.listen()

    def _read(self) -> bool:
        """
        :return: Whether there may be more to read.
        """
        try:
            received = self.messages.receive()
        except BlockingIOError:
            return False
        except (OSError, EOFError):
            self.close()
            return False
        for message, fds in received:
            if fds:
                self._last_client = self._loop.time()
            self._peers.handle(self, message, fds)
        return self._listens

    def send(self, message: Message) -> bool:
        """
        :return: Whether it was sent. It is not if the process reads nothing.
        """
        try:
            self.messages.send(message.to_json())
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._peers.disconnect(self)
        self.messages.close()


class Peers(set[Peer]):
    """All processes that are connected.

    :param worker_left: Called when a worker has closed its connection.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        handlers: Handlers,
        worker_left: cabc.Callable[[], None],
        quiet: QuietLogger,
    ) -> None:
        super().__init__()
        self._loop = loop
        self._handlers = handlers
        self._worker_left = worker_left
        self._quiet = quiet
        self._reader = Reader("hub")

    def __repr__(self) -> str:
        return f"<Peers [{len(self)} connected, {self._reader.unknown} unknown messages]>"

    def listen(self, listener: socket.socket) -> None:
        self._loop.add_reader(listener, self._accept, listener)

    def accept_all(self, listener: socket.socket) -> None:
        """Accept the connections that wait."""
        while self._accept(listener):
            pass

    def _accept(self, listener: socket.socket) -> bool:
        """
        :return: Whether a connection was waiting.
        """
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            self._quiet.error("Could not accept a connection to the hub: %s", error)
            self._loop.remove_reader(listener)
            self._loop.call_later(_ACCEPT_AGAIN_SECONDS, self._listen_again, listener)
            return False
        uid = peer_uid(sock)
        if uid not in (current_user(), 0):
            self._quiet.error(
                "User %d tried to connect to the hub of user %d.", uid, current_user()
            )
            sock.close()
        elif is_scarce(sock.fileno(), 0.25):
            self._quiet.error("Closed a connection to the hub: %s", SCARCE % limit())
            sock.close()
        else:
            self.connect(Messages(sock))
        return True

    def _listen_again(self, listener: socket.socket) -> None:
        # The files may have been removed meanwhile, and so the listener replaced.
        if listener.fileno() >= 0:
            self.listen(listener)

    def connect(self, messages: Messages, agreement: Agreement | None = None) -> None:
        peer = Peer(self._loop, self, messages, agreement)
        self.add(peer)
        peer.listen()

    def disconnect(self, peer: Peer) -> None:
        peer.pause()
        self.discard(peer)
        if peer.welcome:
            self._worker_left()

    def pause(self) -> None:
        """Read nothing, so that another process can read on."""
        for peer in self:
            peer.pause()

    def resume(self) -> None:
        for peer in self:
            peer.listen()

    def handle(self, peer: Peer, received: dict[str, t.Any], fds: list[int]) -> None:
        """Call the handler of a message."""
        if UNREADABLE in received:
            reason = received[UNREADABLE]
            self._quiet.error("Received an invalid message on the hub's socket: %s", reason)
            return
        try:
            message = self._reader.read(received)
            if message is not None:
                self._handlers[type(message)](message, peer, fds)
        except Exception:
            self._quiet.exception("Failed to handle a message from a worker.")
        finally:
            close_all(fds)

    @property
    def agreements(self) -> list[Agreement]:
        """The hellos that the hub has accepted."""
        return [peer.agreement for peer in self if peer.agreement is not None]

    def log(self, line: LogLine) -> None:
        """Have one worker log what the hub logs."""
        for peer in list(self):
            if peer.welcome and peer.send(line):
                return

    def greet(self, welcome: Welcome) -> None:
        """Tell all workers what this hub is able to do. They know it of the hub before."""
        for peer in self:
            if peer.welcome:
                peer.send(welcome)

    def say_bye(self, reason: str) -> None:
        """Tell all workers that the hub ends on purpose."""
        for peer in self:
            peer.send(Bye(reason))
