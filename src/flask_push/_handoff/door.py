"""The way of a client from the app's process to a hub."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from .._delivery.stream import Stream
from .._event import Position
from .._ipc.client import Client

#: :meth:`Door.adopt`.
Adopt = cabc.Callable[[Stream, Client], None]


class NoHubThere(RuntimeError):
    """No hub process runs that takes this process's streams, and none was started."""


class Door(t.Protocol):
    """A hub in a thread of this process, in a process of its own, or in several."""

    def adopt(self, stream: Stream, client: Client) -> None:
        """Give a client to the hub, which then closes it. If this raises, the client
        remains the caller's.

        :raises RuntimeError: If no hub takes it now.
        """

    def token(self, stream: Stream) -> str:
        """Return a token, with which nginx brings the stream's client to the hub.

        :raises RuntimeError: If no hub takes it now.
        """

    def positions(self, stream: Stream | None = None) -> list[Position]:
        """The positions of its hubs, as far as this process knows them. Never waits.

        :param stream: That of the hub that would hold this stream is the first.
        """

    def answers(self, until: float) -> str | None:
        """Why a hub can't read its store, or ``""``; ``None`` if none runs. An OSError if
        one does not answer until then (monotonic clock), or has to run and does not."""

    def stop(self) -> None:
        """Take no more clients."""

    def here(self) -> None:
        """Begin again, if this process was forked from the one that made the door."""
