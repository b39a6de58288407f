"""Log lines that a browser, a proxy or another process can cause.

Without a limit, one that fails over and over fills the disk, and hides every other line.
"""

from __future__ import annotations

import logging
import time
import typing as t

logger = logging.getLogger("flask_push")

#: Seconds between two lines of one kind.
PAUSE = 60.0


class QuietLogger:
    """Logs a line of one kind at most once a minute, with the number of those that it
    left out. From any thread.

    Two lines are of one kind if they have the same text, before its arguments are put in.
    """

    def __init__(self) -> None:
        # By kind: when a line was logged, and how many were left out since. Without a
        # lock, which a fork could leave held: two threads may lose one of the count.
        self._kinds: dict[str, tuple[float, int]] = {}

    def warning(self, text: str, *args: t.Any) -> None:
        self._log(logging.WARNING, text, args)

    def error(self, text: str, *args: t.Any) -> None:
        self._log(logging.ERROR, text, args)

    def exception(self, text: str, *args: t.Any) -> None:
        """An error, with the traceback of the exception that is being handled."""
        self._log(logging.ERROR, text, args, traceback=True)

    def _log(
        self, level: int, text: str, args: tuple[t.Any, ...], traceback: bool = False
    ) -> None:
        now = time.monotonic()
        logged, count = self._kinds.get(text, (-PAUSE, 0))
        if now < logged + PAUSE:
            self._kinds[text] = logged, count + 1
            return
        self._kinds[text] = now, 0
        if count:
            text += " (left out %d more lines like this in the last %d seconds)"
            args = *args, count, round(now - logged)
        # Shown as the line of the caller's.
        logger.log(level, text, *args, exc_info=traceback or None, stacklevel=3)
