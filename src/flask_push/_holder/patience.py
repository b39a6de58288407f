"""How long a write waits for a store in trouble (law R56)."""

from __future__ import annotations

import collections.abc as cabc
import time

from ..brokers import NotPublished
from ..brokers import PublishUncertain

# Seconds between two tries.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0


def not_read(error: Exception) -> NotPublished:
    """What a change raises that needs to read the store first."""
    return NotPublished(f"Could not read the store: {error}")


class Patience:
    """Waits for a store in trouble."""

    def __init__(self, until: cabc.Callable[[], float]) -> None:
        self._until, self._pause = until, _FIRST_PAUSE
        self._uncertain: PublishUncertain | None = None

    def wait(self, error: Exception) -> None:
        """Wait before the next try.

        :raises NotPublished: If there is no time for one.
        :raises PublishUncertain: If it is also not certain that nothing was stored.
        """
        if isinstance(error, PublishUncertain):
            self._uncertain = error
        if time.monotonic() + self._pause > self._until():
            if self._uncertain is not None:
                raise self._uncertain
            if isinstance(error, NotPublished):
                raise error
            raise not_read(error) from error
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
