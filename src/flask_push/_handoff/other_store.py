"""Notices hubs that read another store than this process uses."""

from __future__ import annotations

import collections.abc as cabc

from .._ipc.hub_store import reads_another
from .._ipc.hub_store import say_hello
from .._system.logs import QuietLogger
from .door import Door
from .process_door import ProcessDoor


class OtherStore:
    """
    :param doors: To hub processes; other doors don't matter.
    """

    def __init__(self, doors: cabc.Iterable[Door]) -> None:
        self._doors = [door for door in doors if isinstance(door, ProcessDoor)]
        self._quiet = QuietLogger()

    def look(self) -> None:
        """Say hello to each hub that reads another store, so that it ends. It refuses if
        processes that use its store are connected. Never raises."""
        for door in self._doors:
            if not reads_another(door.files, str(door.hello.values["url"])):
                continue
            if reason := say_hello(door.files, door.hello):
                self._quiet.error("The hub refuses this process. %s", reason)
