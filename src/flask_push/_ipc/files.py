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
import errno
import fcntl
import hashlib
import logging
import os
import socket
import typing as t
from pathlib import Path

from .._system.inodes import identity
from .._system.inodes import identity_of
from .._system.inodes import is_ours
from .._system.inodes import lock_shared
from .._system.inodes import open_own
from .._system.rundir import claim
from .._system.rundir import TEMP
from .._system.unix import listen_at
from .._system.unix import peer_uid
from .._system.unix import short_path

logger = logging.getLogger("flask_push")

#: Seconds that a hub may take to accept what it is sent.
PATIENCE = 2.0
# Seconds that a process waits to be tied. The hub keeps the lock for an instant.
_INSTANT = 0.2
# Processes that may wait at the door.
_BACKLOG = 512


class HubFiles(t.NamedTuple):
    #: A path whose ending the files' endings take the place of.
    sock: Path

    @classmethod
    def of(cls, directory: Path, number: int = 0) -> HubFiles:
        """The files of one of the hubs of a run directory."""
        return cls(directory / (f"hub-{number}.sock" if number else "hub.sock"))

    @property
    def lock(self) -> Path:
        return self.sock.with_suffix(".lock")

    @property
    def ties(self) -> Path:
        return self.sock.with_suffix(".ties")

    @property
    def log(self) -> Path:
        return self.sock.with_suffix(".log")

    @property
    def elsewhere(self) -> Path:
        """Where the door is if no socket can be made beside the other files: file systems
        that a desktop or a NAS shares often keep none."""
        digest = hashlib.sha256(os.fsencode(self.sock)).hexdigest()[:16]
        return TEMP / f"push-{os.geteuid()}-door-{digest}" / "hub.sock"

    def path_of(self, door: socket.socket) -> Path:
        """Where a socket that was opened for this hub is."""
        here = door.getsockname() != str(self.elsewhere)
        return self.sock if here else self.elsewhere

    def connect(self) -> socket.socket:
        """Enter by the door.

        :raises OSError: If there is no hub.
        :raises PermissionError: If it is another user's.
        """
        try:
            return _connect(self.sock)
        except (FileNotFoundError, ConnectionRefusedError):
            if identity(self.elsewhere) is None:
                raise
            return _connect(self.elsewhere)

    def is_open(self) -> bool:
        """Whether a hub is there."""
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def listen(self) -> socket.socket:
        """The door itself, for the one who has the lock.

        :raises OSError: If it can't be opened anywhere, or something else is there.
        """
        try:
            return listen_at(self.sock, 0o600, _BACKLOG)
        except OSError as error:
            # Something is there, or the directory is gone.
            if error.errno in (errno.EEXIST, errno.EADDRINUSE, errno.ENOENT):
                raise
            try:
                claim(self.elsewhere.parent)
                door = listen_at(self.elsewhere, 0o600, _BACKLOG)
            except (OSError, RuntimeError):
                raise error from None
            logger.warning(
                "No socket could be made at %s (%s). The hub listens at %s instead.",
                *(self.sock, error.strerror, self.elsewhere),
            )
            return door

    def try_lock(self) -> int | None:
        """The lock's descriptor, or ``None`` if another has it."""
        return _try_lock(self.lock)

    def is_locked(self) -> bool:
        """Whether a hub lives, even one that doesn't answer. Makes nothing."""
        try:
            fd = open_own(self.lock, os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def last_words(self) -> str:
        """The end of the log."""
        with (
            contextlib.suppress(OSError),
            os.fdopen(open_own(self.log, os.O_RDONLY), "rb") as log,
        ):
            log.seek(max(0, log.seek(0, os.SEEK_END) - 2000))
            return log.read().decode(errors="replace").strip()
        return ""


class Tie:
    """Keeps a hub from ending, for as long as a process has it open."""

    def __init__(self, files: HubFiles) -> None:
        self.files = files
        self._path = files.ties
        self._fd: int | None = None

    def hold(self, make: bool) -> None:
        """Tie this process, and those that it forks. Again, if the file was replaced.

        It waits for nothing and raises nothing: the file may be in a directory that
        another user has made, of which :func:`.claim` tells.

        :param make: Whether to do so also where no hub was ever started.
        """
        path = self._path
        there = identity(path)
        if there is None and not make:
            return
        if self._fd is not None and there == identity_of(self._fd):
            return
        with contextlib.suppress(OSError):
            if not is_ours(path.parent.lstat()):
                return
            fd = open_own(path, os.O_RDONLY | (os.O_CREAT if make else 0))
            if lock_shared(fd, _INSTANT):
                self.release()
                self._fd = fd
            else:
                os.close(fd)

    def release(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


class Ties:
    """The hub's side of all ties."""

    def __init__(self, files: HubFiles) -> None:
        self._path = files.ties
        # The file itself, and those that were removed while processes were tied to them.
        self._fds: list[int] = []
        self.look()

    def look(self) -> None:
        """Make the file again if it was removed.

        :raises OSError: If it can't be made.
        """
        if self._fds and identity(self._path) == identity_of(self._fds[-1]):
            return
        self._fds.append(open_own(self._path, os.O_RDONLY | os.O_CREAT))
        for fd in self._fds[:-1]:
            if not _is_shared(fd):
                self._fds.remove(fd)
                os.close(fd)

    def any(self) -> bool:
        return any(map(_is_shared, self._fds))

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()


def _is_shared(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def _connect(door: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(PATIENCE)
        with short_path(door) as path:
            sock.connect(path)
        uid = peer_uid(sock)
        if uid not in (os.geteuid(), 0):
            raise PermissionError(
                f"The hub at {door} runs as user {uid}, and this process as"
                f" {os.geteuid()}. Run both as one user."
            )
    except BaseException:
        sock.close()
        raise
    return sock


def _try_lock(path: Path) -> int | None:
    while True:
        fd = open_own(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        except OSError:
            os.close(fd)
            raise
        if identity(path) == identity_of(fd):
            return fd
        # Somebody replaced the file, and others lock the new one.
        os.close(fd)
