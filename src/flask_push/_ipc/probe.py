"""How a probe finds out whether a hub answers."""

from __future__ import annotations

import time

from .files import HubFiles
from .status import status_of

# What the error is if no hub listens, or if it ends just now.
_GONE = FileNotFoundError, ConnectionRefusedError, ConnectionResetError, BrokenPipeError
# Seconds between two attempts, while a hub starts or ends.
_AGAIN_SECONDS = 0.05


def answers(files: HubFiles, until: float) -> bool:
    """Find out whether a hub runs, by its lock, and whether it answers.

    :param until: The time of the monotonic clock until which the hub may answer.
    :return: ``False`` if none runs.
    :raises OSError: If one runs, and does not answer.
    """
    while True:
        left = max(until - time.monotonic(), 0.001)
        try:
            status_of(files, left)
            return True
        except _GONE:
            if not files.is_locked():
                return False
            # It starts or ends, or its socket was removed.
            if time.monotonic() >= until:
                raise
            time.sleep(_AGAIN_SECONDS)
