"""What an open transaction holds, and each of its savepoints."""

from __future__ import annotations

import collections.abc as cabc
import logging

from .._changes import Entry
from .._later import log_committed

logger = logging.getLogger("flask_push")


class Layers:
    """The changes of a transaction of a session, or of a connection: those of each
    savepoint apart, until it is released. Savepoints end in the reverse of the order in
    which they began, so they lie above each other.
    """

    __slots__ = ("_layers", "bytes", "count", "is_aborted", "is_committed", "root")

    def __init__(self, root: object) -> None:
        #: The outermost transaction.
        self.root = root
        #: Whether it has committed. Then its changes wait to be sent.
        self.is_committed = False
        #: Whether the database has aborted it, so that its commit is a rollback.
        self.is_aborted = False
        self.count = 0
        self.bytes = 0
        self._layers: dict[object, list[Entry]] = {}

    def __del__(self) -> None:
        if self.is_committed:
            # Because of an exception, no listener was called at the end of the transaction.
            log_committed(self.entries(), "the session was not used again")

    def add(self, transaction: object, entries: cabc.Collection[Entry]) -> None:
        """
        :param transaction: The innermost one: a savepoint, or the root.
        """
        self._layers.setdefault(transaction, []).extend(entries)
        for _, _, size in entries:
            self.count += 1
            self.bytes += size

    def release(self, transaction: object, parent: object) -> None:
        """A savepoint is released: its parent has its changes."""
        layer = self._layers.pop(transaction, None)
        if layer is not None:
            self._layers.setdefault(parent, []).extend(layer)

    def drop(self, transaction: object) -> None:
        """A savepoint is rolled back, with those that lie above it."""
        if transaction in self._layers:
            above = [*self._layers]
            for each in above[above.index(transaction) :]:
                for entry in self._layers.pop(each):
                    self.count -= 1
                    self.bytes -= entry[2]

    def was_aborted(self) -> bool:
        """Whether the commit was a rollback. Then all is dropped."""
        if self.is_aborted:
            logger.warning(
                "Dropped %d changes: their commit rolled back, because a statement had"
                " failed; call session.rollback() after an error of the database",
                self.count,
            )
        return self.is_aborted

    def entries(self) -> list[Entry]:
        """All, in their order."""
        return [entry for layer in self._layers.values() for entry in layer]
