"""The basic app on a file system where no Unix socket can be made, as the folders that
Docker Desktop shares."""

from __future__ import annotations

import errno
import os
import socket
import typing as t


class NoUnixSockets(socket.socket):
    def bind(self, address: t.Any) -> None:
        if str(address).startswith(os.environ["INSTANCE"]):
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        super().bind(address)


socket.socket = NoUnixSockets  # type: ignore[misc]

from .basic import app as app  # noqa: E402
