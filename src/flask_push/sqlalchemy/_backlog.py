"""Lines of the log about rows of an outbox that wait for long."""

from __future__ import annotations

import contextlib
import logging
import time

from ._database import MAX_ROWS
from ._database import OutboxRows

logger = logging.getLogger("flask_push")

# More waiting rows than this are worth a line in the log.
_MANY = 10_000
# Seconds between two looks, of the relay and of a process that is not it.
_SECONDS = 60.0


class Backlog:
    """
    :param name: The outbox's.
    """

    def __init__(self, name: str, rows: OutboxRows) -> None:
        self._name, self._rows = name, rows
        self._full_since = self._looked = time.monotonic()
        self._first: int | None = None

    def read(self, found: int) -> None:
        """The relay has read so many rows."""
        now = time.monotonic()
        if found < MAX_ROWS:
            self._full_since = now
        elif now >= max(self._full_since, self._looked) + _SECONDS:
            self._looked = now
            with contextlib.suppress(Exception):
                if (waiting := self._rows.count()) > _MANY:
                    logger.warning(
                        "%d rows of the outbox %r wait to be published. Find out what"
                        " keeps the store or the database busy.",
                        *(waiting, self._name),
                    )

    def others(self) -> None:
        """Another process is the relay. It may be one of another app, which has a database
        of its own, and an outbox of the same name."""
        now = time.monotonic()
        if now < self._looked + _SECONDS:
            return
        self._looked = now
        with contextlib.suppress(Exception):
            before, self._first = self._first, self._rows.first()
            if before is not None and before == self._first:
                logger.warning(
                    "The row %d of the outbox %r waits, though another process has its"
                    " lease. If two apps share the store, give each outbox a name of its"
                    " own; otherwise, read the log of the other process.",
                    *(before, self._name),
                )
