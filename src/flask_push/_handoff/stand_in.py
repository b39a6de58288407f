"""A hub in a thread, which stands in while no hub process can be started."""

from __future__ import annotations

import collections.abc as cabc
import logging
import time

from .._ipc.files import HubFiles
from .._ipc.probe import answers
from .door import Door

logger = logging.getLogger("flask_push")

# The thread stands in after so many failed starts within so many seconds.
_FAILURES = 3
_WITHIN_SECONDS = 60.0
# Seconds for which it does: at first, and at most. Each time, it is twice as long.
_FIRST_SECONDS = 60.0
_MOST_SECONDS = 900.0


class StandIn:
    """Used under the lock of its :class:`.ProcessDoor`.

    :param make: Makes the door to the thread. Without it, none stands in.
    """

    def __init__(self, make: cabc.Callable[[], Door] | None) -> None:
        self._make = make
        self._reset()

    def _reset(self) -> None:
        self.door: Door | None = None
        #: Seconds for which the next thread stands in, and when this one ends.
        self.seconds, self.until = _FIRST_SECONDS, 0.0
        self._failures: list[float] = []

    def current(self) -> Door | None:
        """The thread that stands in, unless it is time to try a process again."""
        if self.door is not None and time.monotonic() >= self.until:
            self.door.stop()
            self.door = None
            self._failures.clear()
        return self.door

    def count_failure(self, reason: str, files: HubFiles) -> Door | None:
        """Count a start that failed. After too many, begin to stand in."""
        now = time.monotonic()
        recent = [when for when in self._failures if when > now - _WITHIN_SECONDS]
        self._failures = [*recent, now]
        if len(self._failures) < _FAILURES or self._make is None:
            return None
        logger.error(
            "Could not start a hub process. For %d seconds a thread of this process stands"
            " in; its streams end with this process. %s\n%s",
            *(self.seconds, reason, files.log_end()),
        )
        self.door = self._make()
        self.until = now + self.seconds
        self.seconds = min(self.seconds * 2, _MOST_SECONDS)
        return self.door

    def process_works(self) -> None:
        """Stand in for a short time again, the next time."""
        self.seconds = _FIRST_SECONDS

    def answers(self, files: HubFiles, until: float, has_to_run: bool) -> str | None:
        """As :meth:`.Door.answers`, of the thread or of the hub. Any thread.

        It connects to the hub again, because a connection that is there only shows that
        the hub did answer once.

        :param has_to_run: Whether no process of the app starts the hub.
        """
        thread = self.door
        if thread is not None:
            return thread.answers(until)
        trouble = answers(files, until)
        if has_to_run and trouble is None:
            raise FileNotFoundError(f"No hub is running at {files.sock}.")
        return trouble

    def stop(self) -> None:
        if self.door is not None:
            self.door.stop()

    def abandon(self) -> None:
        """Begin again, in the child of a fork."""
        if self.door is not None:
            self.door.here()
        self._reset()
