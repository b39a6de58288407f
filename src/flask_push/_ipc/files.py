"""The files of a hub process, by which workers find it and keep it running.

- ``hub.sock``: the socket to which workers connect.
- ``hub.lock``: locked by the hub as long as it lives. A process needs the lock to start
  one.
- ``hub.ties``: each process of the app shares a lock on it as long as it lives, as do the
  processes that it forks. The kernel counts them: when the hub can get this lock for
  itself, no process needs the hub any more.
- ``hub.seen``: its position in the store, which each process reads (:mod:`.seen`).
- ``hub.store``: which store it reads (:mod:`.hub_store`).
- ``hub.figures``: a directory with a file of each process of the app, in which it counts
  what it publishes (:mod:`.process_figures`).
- ``hub.log``: its log, at most two files of a megabyte.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import socket
import typing as t
from pathlib import Path

from .._system.inodes import identity
from .._system.inodes import identity_of
from .._system.inodes import is_ours
from .._system.inodes import open_own
from .._system.lock import is_locked
from .._system.lock import is_shared
from .._system.lock import lock_shared
from .._system.lock import try_lock
from .._system.rundir import claim
from .._system.rundir import TEMP
from .._system.unix import listen_at
from .._system.unix import peer_uid
from .._system.unix import short_path
from .._system.unix import unix_socket
from .._system.users import current_user

logger = logging.getLogger("flask_push")

#: Seconds that a hub may take to accept a connection, or to read a message.
SEND_SECONDS = 2.0
# Seconds to wait for the lock on the ties, which the hub holds for an instant.
_TIE_SECONDS = 0.2
# Connections that may wait to be accepted.
_BACKLOG = 512


class HubFiles(t.NamedTuple):
    #: The path of the socket. The other files differ by their suffix.
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
    def seen(self) -> Path:
        return self.sock.with_suffix(".seen")

    @property
    def store(self) -> Path:
        return self.sock.with_suffix(".store")

    @property
    def figures(self) -> Path:
        """The directory with what processes count."""
        return self.sock.with_suffix(".figures")

    @property
    def log(self) -> Path:
        return self.sock.with_suffix(".log")

    @property
    def elsewhere(self) -> Path:
        """The path of the socket if none can be made beside the other files. File systems
        that a desktop or a NAS shares often don't allow sockets."""
        digest = hashlib.sha256(os.fsencode(self.sock)).hexdigest()[:16]
        return TEMP / f"push-{current_user()}-door-{digest}" / "hub.sock"

    def path_of(self, listener: socket.socket) -> Path:
        """The path of a socket that :meth:`listen` returned."""
        here = listener.getsockname() != str(self.elsewhere)
        return self.sock if here else self.elsewhere

    def connect(self, seconds: float = SEND_SECONDS) -> socket.socket:
        """Connect to the hub.

        :param seconds: How long it may take to accept, and the socket's timeout.
        :raises OSError: If there is no hub.
        :raises PermissionError: If the hub runs as another user.
        """
        try:
            return _connect(self.sock, seconds)
        except (FileNotFoundError, ConnectionRefusedError):
            if identity(self.elsewhere) is None:
                raise
            return _connect(self.elsewhere, seconds)

    def is_open(self) -> bool:
        """Whether a hub listens."""
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def listen(self) -> socket.socket:
        """Make the socket. Only the process that has the lock may do so.

        :raises OSError: If it can't be made, or another file has its path.
        """
        try:
            return listen_at(self.sock, 0o600, _BACKLOG)
        except OSError as error:
            # Another file has the path, or the directory does not exist.
            if error.errno in (errno.EEXIST, errno.EADDRINUSE, errno.ENOENT):
                raise
            try:
                claim(self.elsewhere.parent)
                listener = listen_at(self.elsewhere, 0o600, _BACKLOG)
            except (OSError, RuntimeError):
                raise error from None
            logger.warning(
                "No socket could be made at %s (%s). The hub listens at %s instead.",
                *(self.sock, error.strerror, self.elsewhere),
            )
            return listener

    def try_lock(self) -> int | None:
        """The lock's descriptor, or ``None`` if another process has the lock."""
        return try_lock(self.lock)

    def is_locked(self) -> bool:
        """Whether a hub lives, even if it does not answer. Creates no file."""
        return is_locked(self.lock)

    def log_end(self) -> str:
        """The end of the log."""
        with (
            contextlib.suppress(OSError),
            os.fdopen(open_own(self.log, os.O_RDONLY), "rb") as log,
        ):
            log.seek(max(0, log.seek(0, os.SEEK_END) - 2000))
            return log.read().decode(errors="replace").strip()
        return ""


class Tie:
    """Keeps a hub running as long as this process lives."""

    def __init__(self, files: HubFiles) -> None:
        self.files = files
        self._path = files.ties
        self._fd: int | None = None

    def renew(self, create: bool) -> None:
        """Tie this process, and those that it forks, to the hub. Do so again if the file
        was replaced.

        Never waits, and never raises: if another user has made the directory,
        :func:`.claim` raises.

        :param create: Whether to create the file, if no hub was ever started here.
        """
        path = self._path
        there = identity(path)
        if there is None and not create:
            return
        if self._fd is not None and there == identity_of(self._fd):
            return
        with contextlib.suppress(OSError):
            if not is_ours(path.parent.lstat()):
                return
            fd = open_own(path, os.O_RDONLY | (os.O_CREAT if create else 0))
            if lock_shared(fd, _TIE_SECONDS):
                self.release()
                self._fd = fd
            else:
                os.close(fd)

    def release(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


class Ties:
    """All ties to a hub, as the hub sees them."""

    def __init__(self, files: HubFiles) -> None:
        self._path = files.ties
        # The file, and those that were removed while processes were tied to them.
        self._fds: list[int] = []
        self.renew()

    def renew(self) -> None:
        """Make the file again if it was removed.

        :raises OSError: If it can't be made.
        """
        if self._fds and identity(self._path) == identity_of(self._fds[-1]):
            return
        self._fds.append(open_own(self._path, os.O_RDONLY | os.O_CREAT))
        for fd in self._fds[:-1]:
            if not is_shared(fd):
                self._fds.remove(fd)
                os.close(fd)

    def any(self) -> bool:
        return any(map(is_shared, self._fds))

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()


def _connect(path: Path, seconds: float) -> socket.socket:
    sock = unix_socket()
    try:
        sock.settimeout(seconds)
        with short_path(path) as short:
            sock.connect(short)
        uid = peer_uid(sock)
        if uid not in (current_user(), 0):
            raise PermissionError(
                f"The hub at {path} runs as user {uid}, and this process as"
                f" {current_user()}. Run both as one user."
            )
    except BaseException:
        sock.close()
        raise
    return sock
