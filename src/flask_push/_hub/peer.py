"""A process that has come to a hub by its door, as the hub sees it."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from .._ipc.agreement import Agreement
from .._ipc.messages import close_all
from .._ipc.messages import Messages
from .._ipc.messages import MOST_SAID
from .._ipc.messages import UNREADABLE
from .._system.logs import QuietLogger

Take = cabc.Callable[["Visitor", dict[str, t.Any], list[int]], None]


class Visitor:
    """
    :param take: Called with each message, and its descriptors. It removes from the list
        those that it keeps; the others are closed.
    :param forget: Called when it has left.
    :param agreement: What it has said, if it is a worker and the hub has agreed.
    """

    def __init__(
        self,
        messages: Messages,
        take: Take,
        forget: cabc.Callable[[Visitor], None],
        agreement: Agreement | None,
        quiet: QuietLogger,
    ) -> None:
        self.messages = messages
        self.agreement = agreement
        self._take = take
        self._forget = forget
        self._quiet = quiet
        messages.sock.setblocking(False)
        messages.most = MOST_SAID

    @property
    def welcome(self) -> bool:
        return self.agreement is not None

    def ready(self) -> None:
        try:
            received = self.messages.receive()
        except BlockingIOError:
            return
        except (OSError, EOFError):
            self.leave()
            return
        for message, fds in received:
            self._handle(message, fds)

    def _handle(self, message: dict[str, t.Any], fds: list[int]) -> None:
        if UNREADABLE in message:
            reason = message[UNREADABLE]
            self._quiet.error("Received an invalid message on the hub's socket: %s", reason)
            return
        try:
            self._take(self, message, fds)
        except Exception:
            self._quiet.exception("Could not do what a worker asked for.")
        finally:
            close_all(fds)

    def say(self, message: dict[str, t.Any]) -> bool:
        """False if it does not listen."""
        try:
            self.messages.send(message)
        except OSError:
            return False
        return True

    def leave(self) -> None:
        self._forget(self)
        self.messages.close()


class Visitors(set[Visitor]):
    """All who are there."""

    @property
    def agreements(self) -> list[Agreement]:
        """What those have said with whom the hub has agreed."""
        return [visitor.agreement for visitor in self if visitor.agreement is not None]

    def log(self, record: list[t.Any]) -> None:
        """Have one worker repeat what the hub logs."""
        for visitor in list(self):
            if visitor.welcome and visitor.say({"log": record}):
                return
