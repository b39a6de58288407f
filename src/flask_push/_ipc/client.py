"""The descriptors of a client, which pass from the server to the hub."""

from __future__ import annotations

import typing as t

from .._system import sockets
from .._system.descriptors import duplicate


class Client(t.NamedTuple):
    """A client's socket."""

    fd: int
    #: The socket from which the hub drains what the server goes on to write to this
    #: client, if the hub has to.
    drain: int | None = None
    #: Whether the first descriptor remains the server's, which closes it as soon as a hub
    #: has been given the client.
    borrowed: bool = False

    @property
    def fds(self) -> list[int]:
        return [self.fd] if self.drain is None else [self.fd, self.drain]

    def owned(self) -> Client:
        """The same client, with descriptors that the server does not close.

        :raises OSError: If there can't be another descriptor.
        """
        return Client(duplicate(self.fd), self.drain) if self.borrowed else self

    def close(self) -> None:
        """Close what is not the server's."""
        for fd in self.fds[self.borrowed :]:
            sockets.close(fd)
