"""How a probe finds out whether a hub answers."""

from __future__ import annotations

import time

from .files import HubFiles
from .status import status_of
from .status import trouble_in

# What the error is if no hub listens, or if it ends just now.
_GONE = FileNotFoundError, ConnectionRefusedError, ConnectionResetError, BrokenPipeError
# Seconds between two attempts, while a hub starts or ends.
_AGAIN_SECONDS = 0.05


def answers(files: HubFiles, until: float) -> str | None:
    """Find out whether a hub runs, by its lock, whether it answers, and whether it can read
    its store.

    :param until: The time of the monotonic clock until which the hub may answer.
    :return: ``None`` if none runs. Why it can't read its store; empty if it can.
    :raises OSError: If one runs, and does not answer.
    """
    while True:
        left = max(until - time.monotonic(), 0.001)
        try:
            return trouble_in(status_of(files, left))
        except _GONE:
            if not files.is_locked():
                return None
            # It starts or ends, or its socket was removed.
            if time.monotonic() >= until:
                raise
            time.sleep(_AGAIN_SECONDS)
