"""One-byte datagrams that tell the hubs of a directory to look.

A bell that does not ring delays events and loses none, because each hub also looks without
it. So a hub works without a bell if it can't make one, and replaces one that was removed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import stat
import threading
import time
from pathlib import Path

from ..._system.inodes import identity
from ..._system.unix import short_path


def bells(path: Path) -> Path:
    return path.with_name(f"{path.name}.bells")


class Doorbell:
    """The bell of one hub. Its file descriptor is readable after a ring.

    :raises OSError: If no socket can be made in the directory.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        self.path = directory / f"{os.getpid()}-{secrets.token_hex(4)}"
        self._pid = os.getpid()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            with short_path(self.path) as path:
                self._socket.bind(path)
        except BaseException:
            self._socket.close()
            raise
        self._made = identity(self.path)

    @property
    def is_there(self) -> bool:
        """Whether its socket is still at its path."""
        return self._made is not None and identity(self.path) == self._made

    def fileno(self) -> int:
        return self._socket.fileno()

    def silence(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(1):
                pass

    def close(self) -> None:
        self._socket.close()
        # In the child of a fork, the socket's file belongs to the parent.
        if self._pid == os.getpid() and self.is_there:
            self.path.unlink(missing_ok=True)


class Doorbells:
    """Rings every bell of a directory. Any thread."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._bells: list[Path] = []
        self._listed = -1

    def ring(self) -> None:
        """Never waits for a hub, and never fails."""
        if self._pid != os.getpid():
            # A thread of the parent may have held the lock.
            self._pid, self._lock = os.getpid(), threading.Lock()
        with self._lock:
            self._ring_all()

    def _ring_all(self) -> None:
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)
            for bell in self._list():
                self._ring(bell)
        except OSError:
            self._listed = -1

    def __del__(self) -> None:
        # A process may end without closing it.
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
            pass  # The hub has not read the last ring yet, and will look anyway.
        except (ConnectionRefusedError, FileNotFoundError):
            # Its hub is gone, and no other uses the name.
            bell.unlink(missing_ok=True)

    def _list(self) -> list[Path]:
        changed = self.directory.stat().st_mtime_ns
        # A directory's time is coarse: two changes within one tick have the same time.
        if changed != self._listed or time.time_ns() - changed < 50_000_000:
            self._bells = [path for path in self.directory.iterdir() if _is_socket(path)]
            self._listed = changed
        return self._bells


def _is_socket(path: Path) -> bool:
    """Whether it is a socket, and not a link, which could lead anywhere, nor another file,
    which would be removed as a bell without a hub."""
    try:
        return stat.S_ISSOCK(path.lstat().st_mode)
    except OSError:
        return False
