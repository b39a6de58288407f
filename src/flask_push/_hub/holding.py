"""The files that a hub process holds open: its lock, socket, ties, position, and directory.

Each can be removed at any time, by a cleaner, by ``git clean``, or by a deploy. So the hub
looks every second whether the paths still lead to the files that it holds, and makes again
those that are missing. The lock decides: if another hub has it, the files belong to that
hub, and this one changes none of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from pathlib import Path

from .._delivery.snapshot import HubState
from .._ipc.agreement import Agreement
from .._ipc.files import HubFiles
from .._ipc.files import Ties
from .._ipc.hub_store import note_store
from .._ipc.process_figures import ProcessFiles
from .._ipc.seen import SeenFile
from .._system.descriptors import open_directory
from .._system.inodes import identity
from .._system.inodes import identity_of
from .._system.lock import lock_shared
from .._system.rundir import claim
from ..brokers import Broker
from .loop import HubLoop

logger = logging.getLogger("flask_push")


class HeldFiles:
    """
    :param listener: The listening socket. It was opened while this process had the lock.
    :param lock: The descriptor that holds the lock.
    :param keeps: Whether to keep cleaners from the directory, because only the app uses it.
    """

    def __init__(
        self, files: HubFiles, listener: socket.socket, lock: int, keeps: bool
    ) -> None:
        self.files = files
        self.listener = listener
        self.lock = lock
        #: Writes the hub's position for the processes of the app.
        self.seen = SeenFile(files.seen)
        self._ties = Ties(files)
        self._keeps = keeps
        self._directory: int | None = None
        self._failing = ""
        # Only a process that has the lock makes the socket. So if this process still has
        # it, the socket at the path is the listener's.
        made = identity(files.path_of(listener))
        self._made = made if self._has_lock() else None
        self._keep_directory()

    @property
    def tied(self) -> bool:
        """Whether a process of the app runs, connected or not."""
        return self._ties.any()

    def renew(self, needed: bool) -> bool:
        """Make again the files that were removed.

        :param needed: Whether a process of the app runs. Otherwise no file is made,
            because the app itself may have been removed.
        :return: False if another hub has the lock.
        """
        if not needed:
            return True
        try:
            if not self._has_lock() and not self._lock_again():
                return False
            if self._made is None or identity(self._path) != self._made:
                self._open_again()
            self._ties.renew()
            self.seen.renew()
            self._keep_directory()
        except (OSError, RuntimeError) as error:
            if self._failing != str(error):
                self._failing = str(error)
                logger.error("The hub could not make its files again: %s", error)
        else:
            self._failing = ""
        return True

    def remove_socket(self) -> None:
        """Remove the socket, unless it is another hub's by now."""
        if self._has_lock() and self._made and identity(self._path) == self._made:
            self._path.unlink(missing_ok=True)
            if self._path == self.files.elsewhere:
                with contextlib.suppress(OSError):
                    self._path.parent.rmdir()

    def close(self) -> None:
        self.listener.close()
        self._ties.close()
        if self._directory is not None:
            os.close(self._directory)

    @property
    def _path(self) -> Path:
        return self.files.path_of(self.listener)

    def _has_lock(self) -> bool:
        return identity(self.files.lock) == identity_of(self.lock)

    def _lock_again(self) -> bool:
        claim(self.files.sock.parent)
        lock = self.files.try_lock()
        if lock is None:
            return False
        os.close(self.lock)
        self.lock = lock
        _log_removed(self.files.lock)
        return True

    def _open_again(self) -> None:
        listener = self.files.listen()
        listener.setblocking(False)
        # The caller closes the old listener, after it has accepted those that wait there.
        self.listener = listener
        self._made = identity(self._path)
        _log_removed(self._path)

    def _keep_directory(self) -> None:
        """Share a lock on the directory: systemd-tmpfiles skips one that is locked, with
        everything in it."""
        directory = self.files.sock.parent
        fd = self._directory
        if not self._keeps or (fd is not None and identity(directory) == identity_of(fd)):
            return
        with contextlib.suppress(OSError):
            self._directory = open_directory(directory)
            if fd is not None:
                os.close(fd)
            lock_shared(self._directory, seconds=0)


def open_hub(
    loop: asyncio.AbstractEventLoop,
    held: HeldFiles,
    agreed: Agreement,
    broker: Broker | None = None,
    state: HubState | None = None,
) -> HubLoop:
    """The hub of a process that has these files.

    :param broker: Its store, if it is open already.
    :param state: As for :class:`.HubLoop`.
    """
    note_store(held.files, agreed.url)
    note, take = held.seen.write, ProcessFiles(held.files.figures).take
    about = broker or agreed.open_broker(), agreed.options, (), state
    return HubLoop(loop, *about, note, take)


def _log_removed(path: Path) -> None:
    logger.warning("%s was removed while the hub was running; the hub made it again.", path)
