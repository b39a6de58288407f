"""A process that has come to a hub by its door, as the hub sees it."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from ._logging import QuietLogger
from ._unix import Messages

Take = cabc.Callable[["Visitor", dict[str, t.Any], list[int]], None]


class Visitor:
    """
    :param take: Called with what it sends.
    :param forget: Called when it has left.
    :param welcome: Whether it is a worker with which there is an agreement.
    """

    def __init__(
        self,
        messages: Messages,
        take: Take,
        forget: cabc.Callable[[Visitor], None],
        welcome: bool,
        quiet: QuietLogger,
    ) -> None:
        self.messages = messages
        self.welcome = welcome
        self._take = take
        self._forget = forget
        self._quiet = quiet
        messages.sock.setblocking(False)

    def ready(self) -> None:
        try:
            received = self.messages.receive()
        except BlockingIOError:
            return
        except EOFError:
            self.leave()
            return
        except (OSError, ValueError) as error:
            self._quiet.error("Received an invalid message on the hub's socket: %s", error)
            self.leave()
            return
        for message, fds in received:
            try:
                self._take(self, message, fds)
            except Exception:
                self._quiet.exception("Could not do what a worker asked for.")

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
