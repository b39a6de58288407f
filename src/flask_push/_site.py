"""Where a hub process is to be found: its files, and who is tied to it.

- ``hub.sock``: the door, by which workers hand over their clients.
- ``hub.lock``: locked by the hub for life. Whoever has it may start one.
- ``hub.ties``: locked, together with others, by each process of the app for as long as
  it lives, and by those forked from it. The kernel keeps count: when the hub gets this
  lock for itself, nobody is left who could need it.
- ``hub.log``: what it has said. At most two files of a megabyte.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import typing as t
from pathlib import Path

from ._unix import peer_uid
from ._unix import short_path

#: Seconds that a hub may take to accept what it is sent.
PATIENCE = 2.0


class Site(t.NamedTuple):
    #: A path whose ending the files' endings take the place of.
    door: Path

    @classmethod
    def of(cls, directory: Path, number: int = 0) -> Site:
        """The site of one of the hubs of a run directory."""
        return cls(directory / (f"hub-{number}.sock" if number else "hub.sock"))

    @property
    def lock(self) -> Path:
        return self.door.with_suffix(".lock")

    @property
    def ties(self) -> Path:
        return self.door.with_suffix(".ties")

    @property
    def log(self) -> Path:
        return self.door.with_suffix(".log")

    def connect(self) -> socket.socket:
        """Enter by the door.

        :raises OSError: If there is no hub.
        :raises PermissionError: If it is another user's.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(PATIENCE)
            with short_path(self.door) as path:
                sock.connect(path)
            uid = peer_uid(sock)
            if uid not in (os.geteuid(), 0):
                raise PermissionError(
                    f"The hub at {self.door} runs as user {uid}, and this process as"
                    f" {os.geteuid()}. Run both as one user."
                )
        except BaseException:
            sock.close()
            raise
        return sock

    def is_open(self) -> bool:
        """Whether a hub is there."""
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def listen(self) -> socket.socket:
        """The door itself, for the one who has the lock. Nobody meets it half open."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made = self.door.with_name(f"{self.door.name}.new")
        try:
            made.unlink(missing_ok=True)
            with short_path(made) as path:
                sock.bind(path)
            made.chmod(0o600)
            sock.listen(512)
            made.rename(self.door)
        except BaseException:
            sock.close()
            raise
        return sock

    def try_lock(self) -> int | None:
        """The lock's descriptor, or ``None`` if another has it."""
        return _try_lock(self.lock)

    def last_words(self) -> str:
        """The end of the log."""
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 2000))
            return log.read().decode(errors="replace").strip()
        return ""


class Tie:
    """Keeps the hub of a site from ending, for as long as a process has it open."""

    def __init__(self, site: Site) -> None:
        self._path = site.ties
        self._fd: int | None = None

    def hold(self, make: bool) -> None:
        """Tie this process, and those that it forks.

        :param make: Whether to do so also where no hub was ever started.
        """
        if self._fd is not None:
            return
        flags = os.O_RDONLY | os.O_CLOEXEC | (os.O_CREAT if make else 0)
        # What is wrong with the directory is said by whoever needs it.
        with contextlib.suppress(FileNotFoundError if make else OSError):
            fd = os.open(self._path, flags, 0o600)
            # The hub has it for itself for an instant, when it looks.
            fcntl.flock(fd, fcntl.LOCK_SH)
            self._fd = fd

    def release(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


class Ties:
    """The hub's side of all ties."""

    def __init__(self, site: Site) -> None:
        self._fd = os.open(site.ties, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def any(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        return False

    def close(self) -> None:
        os.close(self._fd)


def _try_lock(path: Path) -> int | None:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.stat(path), os.fstat(fd)):
                return fd
        except BlockingIOError:
            os.close(fd)
            return None
        except FileNotFoundError:
            pass
        # Somebody replaced the file, and others lock the new one.
        os.close(fd)
