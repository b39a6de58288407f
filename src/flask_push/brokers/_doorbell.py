"""One-byte datagrams that tell the hubs of a directory to look.

A bell that is not heard costs latency and no event, since every hub also looks by
itself now and then.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import time
from pathlib import Path

from .._unix import short_path


class Doorbell:
    """A hub's own. Its file descriptor is readable when somebody rang."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        self.path = directory / f"{os.getpid()}-{secrets.token_hex(4)}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        with short_path(self.path) as path:
            self._socket.bind(path)

    def fileno(self) -> int:
        return self._socket.fileno()

    def silence(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(1):
                pass

    def close(self) -> None:
        self._socket.close()
        self.path.unlink(missing_ok=True)


class Ringer:
    """Rings every bell of a directory. For one thread at a time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._socket: socket.socket | None = None
        self._bells: list[Path] = []
        self._listed = -1

    def ring(self) -> None:
        """Never waits and never fails."""
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)
            for bell in self._list():
                self._ring(bell)
        except OSError:
            self._listed = -1

    def __del__(self) -> None:
        # A process may end with it open: nobody says which use is the last.
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ring(self, bell: Path) -> None:
        assert self._socket is not None
        try:
            with short_path(bell) as path:
                self._socket.sendto(b"\1", path)
        except BlockingIOError:
            pass  # It has not listened to the last ring yet, and will look anyway.
        except (ConnectionRefusedError, FileNotFoundError):
            # Its hub is gone, and nobody else has a bell of this name.
            bell.unlink(missing_ok=True)

    def _list(self) -> list[Path]:
        changed = self.directory.stat().st_mtime_ns
        # A directory's time is coarse: two changes within one tick look like one.
        if changed != self._listed or time.time_ns() - changed < 50_000_000:
            self._bells = list(self.directory.iterdir())
            self._listed = changed
        return self._bells
