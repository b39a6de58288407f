"""A transaction as a context manager."""

from __future__ import annotations

import sqlite3
import typing as t


class Transaction:
    """The handler of a signal may raise an exception at any moment, also while the
    transaction ends or just before. So :meth:`free` is called after its block.

    :param begin: Takes the locks, and begins.
    :param end: Ends, and releases the locks.
    """

    def __init__(
        self,
        begin: t.Callable[[Transaction], sqlite3.Connection],
        end: t.Callable[[Transaction, BaseException | None], None],
        timeout: float | None,
    ) -> None:
        self._begin, self._end = begin, end
        self.timeout = timeout
        #: Has ``True`` while the thread of the transaction has the locks.
        self.held: list[bool] = []

    def __enter__(self) -> sqlite3.Connection:
        return self._begin(self)

    def __exit__(self, kind: t.Any, error: BaseException | None, trace: t.Any) -> None:
        self._end(self, error)

    def free(self) -> None:
        """End it, if its end was interrupted. Otherwise its locks would stay held."""
        if True in self.held:
            self._end(self, None)
