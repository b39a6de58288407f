"""Log lines that a browser, a proxy or another process can cause.

Without a limit, one that fails over and over fills the disk, and hides every other line.
"""

from __future__ import annotations

import asyncio
import logging
import time
import typing as t

logger = logging.getLogger("flask_push")

#: Seconds between two lines of one kind.
PAUSE = 60.0


class QuietLogger:
    """Logs a line of one kind at most once a minute, with the number of those that it
    left out. From any thread.

    Two lines are of one kind if they have the same text, before its arguments are put in,
    and the same `kind`, where one is given.
    """

    def __init__(self) -> None:
        # By kind: when a line was logged, and how many were left out since. Without a
        # lock, which a fork could leave held: two threads may lose one of the count.
        self._kinds: dict[tuple[str, str], tuple[float, int]] = {}

    def warning(self, text: str, *args: t.Any, kind: str = "") -> None:
        self._log(logging.WARNING, text, args, kind=kind)

    def error(
        self, text: str, *args: t.Any, exc_info: t.Any = None, kind: str = ""
    ) -> bool:
        """
        :return: Whether the line was logged, and not left out.
        """
        return self._log(logging.ERROR, text, args, exc_info, kind)

    def exception(self, text: str, *args: t.Any) -> None:
        """An error, with the traceback of the exception that is being handled."""
        self._log(logging.ERROR, text, args, True)

    def _log(
        self,
        level: int,
        text: str,
        args: tuple[t.Any, ...],
        exc_info: t.Any = None,
        kind: str = "",
    ) -> bool:
        now = time.monotonic()
        logged, count = self._kinds.get((text, kind), (-PAUSE, 0))
        if now < logged + PAUSE:
            self._kinds[text, kind] = logged, count + 1
            return False
        self._kinds[text, kind] = now, 0
        if count:
            text += " (left out %d more lines like this in the last %d seconds)"
            args = *args, count, round(now - logged)
        # Shown as the line of the caller's.
        logger.log(level, text, *args, exc_info=exc_info, stacklevel=3)
        return True


def log_failures(loop: asyncio.AbstractEventLoop, quiet: QuietLogger) -> None:
    """Log what a loop reports: exceptions that no code of ours has caught."""

    def log(_: asyncio.AbstractEventLoop, context: dict[str, t.Any]) -> None:
        error = context.get("exception")
        quiet.error("A step of the hub failed: %s", context["message"], exc_info=error)

    loop.set_exception_handler(log)
