"""Errors of an attempt to publish, and their remedies."""

from __future__ import annotations

import sqlite3
import time
import typing as t

from ..base import PublishUncertain
from .database import Database
from .database import Replaced
from .retention import is_broken
from .retention import is_full
from .retention import may_be_full
from .statements import Stored

# Errors after which SQLite has certainly undone everything that was not committed.
_UNDONE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY)
# On a disk that is full: ways to make space; and attempts after them, with a pause each,
# until the hubs have closed a file that was deleted, which they do when they look.
_STEPS, _ATTEMPTS, _RETRY_SECONDS = 3, 15, 0.05


class Trouble:
    """Of one call.

    :param timeout: Seconds from now on.
    :param size: Bytes that have to be written.
    :param claim: Makes the store's directory again, if it is gone.
    """

    def __init__(
        self,
        database: Database,
        timeout: float,
        size: int,
        claim: t.Callable[[], bool],
    ) -> None:
        self._database = database
        self._claim = claim
        self._claimed = False
        self._deadline = time.monotonic() + timeout
        self._size = size
        self._broken = False
        self._full = 0
        #: What may have been stored.
        self.doubt: Stored | None = None

    def meet(self, error: Exception, stored: Stored | None) -> float:
        """Apply the remedy.

        :param stored: What was stored, but for the end of it.
        :return: Seconds that are left to try again. If that is of no use, it raises.
        """
        if stored is not None and getattr(error, "sqlite_errorcode", 0) not in _UNDONE:
            self.doubt = stored
        try:
            if not self._helps(error):
                raise error
        except (Replaced, sqlite3.Error, OSError) as last:
            if self.doubt is not None:
                raise PublishUncertain(f"It may be stored, or not: {last}") from last
            raise
        return self._left()

    def _left(self) -> float:
        return max(0, self._deadline - time.monotonic())

    def _helps(self, error: Exception) -> bool:
        if isinstance(error, Replaced):
            return self._left() > 0
        if isinstance(error, FileNotFoundError) and not self._claimed:
            self._claimed = True
            return self._claim()
        if is_broken(error):
            # The file was moved away: the next attempt makes a new one.
            before, self._broken = self._broken, True
            return not before
        if not is_full(error):
            return False
        self._full += 1
        if self._full <= _STEPS:
            try:
                return self._database.make_space(
                    self._left(), self._size, self._full, sure=not may_be_full(error)
                )
            except sqlite3.Error as another:
                if not is_full(another):
                    raise
        time.sleep(_RETRY_SECONDS)
        return self._full <= _STEPS + _ATTEMPTS and self._left() > 0
