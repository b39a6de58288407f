"""The descriptors of a client, which pass from the server to the hub."""

from __future__ import annotations

import typing as t

from .._system import sockets


class Client(t.NamedTuple):
    """A client's socket."""

    fd: int
    #: The socket from which the hub drains what the server goes on to write to this
    #: client, if there is a server that does.
    drain: int | None = None

    @property
    def fds(self) -> list[int]:
        return [self.fd] if self.drain is None else [self.fd, self.drain]

    def close(self) -> None:
        for fd in self.fds:
            sockets.close(fd)
