"""Reads all items from the store, for readers that begin with them. All readers of the same
channels share their reads (see :mod:`.shared_reads`).

After a new epoch, all readers are sent all items. So at most fifty of them are sent items
in one pass of the loop, also if the log has the items (law 33).
"""

from __future__ import annotations

import collections.abc as cabc

from .._delivery.all_items import LivingPieces
from .._delivery.all_items import take_rows
from .._delivery.subscription import ReaderGroup
from ..brokers import ItemsPage
from .connection import Connection
from .shared_reads import SharedReads

_Names = tuple[str, ...]


class ItemReads(SharedReads[_Names, LivingPieces]):
    def admits(self, connection: Connection) -> bool:
        """Whether a reader may be sent more in this pass of the loop. If all items are
        next, and it may not, it continues in a later one."""
        if not connection.is_sent_items or connection in self._admitted:
            return True
        self._schedule()
        if self._free <= 0:
            self._queue.setdefault(connection, None)
            return False
        self._admitted.add(connection)
        return True

    def wait(self, connection: Connection, rows: LivingPieces | None) -> None:
        """Continue with a reader when it can be sent more items.

        :param rows: A page that it has got.
        """
        place, log = connection.items, self._readers.log
        assert place is not None
        if connection.group.lacks_rosters:
            self._pump.wait_for_turn(connection)
            return
        if rows is not None and rows.epoch == log.epoch:
            if rows.after == connection.cursor and rows.end >= place.base:
                # The page was in vain: the log is too far behind the store.
                self._pump.wait_for_turn(connection)
                return
        self._share(connection)

    def _key(self, connection: Connection) -> _Names:
        return connection.group.names

    def _after(self, connection: Connection) -> int:
        return connection.cursor

    def _request(
        self, key: _Names, together: cabc.Iterable[Connection]
    ) -> tuple[cabc.Collection[str], int | None]:
        # Some may have got all items meanwhile, which had waited for a page before.
        places = [c.items.position for c in together if c.items is not None]
        return key, max([self._readers.log.end, *places])

    def _encode(self, group: ReaderGroup, page: ItemsPage) -> LivingPieces:
        return take_rows(group, page, self._readers.log)
