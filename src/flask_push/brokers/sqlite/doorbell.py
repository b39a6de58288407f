"""One-byte datagrams that tell the hubs of a directory to look.

A bell that does not ring delays events and loses none, because each hub also looks without
it. So a hub works without a bell if it can't make one, and replaces one that was removed.
"""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

from ..._system import unpatched
from ..._system.datagrams import is_receiver
from ..._system.datagrams import Receiver
from ..._system.datagrams import Sender


def bells(path: Path) -> Path:
    return path.with_name(f"{path.name}.bells")


class Doorbell(Receiver):
    """The bell of one hub. It is readable after a ring.

    :raises OSError: If it can't be made in the directory.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        super().__init__(directory / f"{os.getpid()}-{secrets.token_hex(4)}")


class Doorbells:
    """Rings every bell of a directory. Any thread."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._name = os.fspath(directory)
        self._pid = os.getpid()
        self._lock = unpatched.free_lock()
        self._sender = Sender()
        self._bells: list[Path] = []
        self._listed = -1

    def ring(self) -> None:
        """Never waits for a hub, and never fails."""
        if self._pid != os.getpid():
            # A thread of the parent may have held the lock.
            self._pid, self._lock = os.getpid(), unpatched.free_lock()
        with self._lock:
            self._ring_all()

    def _ring_all(self) -> None:
        try:
            for bell in self._list():
                # Where none answers, its hub is gone, and no other uses the name.
                if not self._sender.send(bell):
                    bell.unlink(missing_ok=True)
        except OSError:
            self._listed = -1

    def __del__(self) -> None:
        # A process may end without closing it.
        self.close()

    def close(self) -> None:
        self._sender.close()

    def _list(self) -> list[Path]:
        changed = os.stat(self._name).st_mtime_ns
        # A directory's time is coarse: two changes within one tick have the same time.
        if changed != self._listed or time.time_ns() - changed < 50_000_000:
            self._bells = [path for path in self.directory.iterdir() if is_receiver(path)]
            self._listed = changed
        return self._bells
