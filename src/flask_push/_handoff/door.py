"""Where the app's process takes a client, so that a hub holds it."""

from __future__ import annotations

import typing as t

from .._delivery.stream import Stream


class Door(t.Protocol):
    """The way to a hub: in a thread of this process, in a process, or in several."""

    def adopt(self, stream: Stream, fd: int, drain: int | None = None) -> None:
        """Give a client's descriptors to the hub. If this raises, they are the caller's
        still.

        :raises RuntimeError: If no hub takes it now.
        """

    def ticket(self, stream: Stream) -> str:
        """A ticket with which nginx brings the stream's client.

        :raises RuntimeError: If no hub takes it now.
        """

    def stop(self) -> None:
        """Take no more clients."""

    def here(self) -> None:
        """Begin again, if this process is a child of the one that made it."""
