"""Reads the rows of runs from the store, for streams that follow a run and need rows that
the log no longer has. All streams that follow the same run in the same format share their
reads (see :mod:`.shared_reads`).
"""

from __future__ import annotations

import collections.abc as cabc

from .._delivery.followed import RunGroup
from .._delivery.followed import RunPieces
from .._delivery.subscription import ReaderGroup
from ..brokers import ItemsPage
from .connection import Connection
from .shared_reads import SharedReads


class RunReads(SharedReads[ReaderGroup, RunPieces]):
    def wait(self, connection: Connection, rows: RunPieces | None) -> None:
        """Continue with a stream when it can be sent more of its run.

        :param rows: The page that it has just been given, if any.
        """
        log, begin = self._readers.log, self._after(connection)
        # It needs the same page again, so that page did not help.
        again = rows is not None and (rows.epoch, rows.after) == (log.epoch, begin)
        if again or connection.cursor >= log.end:
            # The log is too far behind the store.
            self._pump.wait_for_turn(connection)
        else:
            self._share(connection)

    def _key(self, connection: Connection) -> ReaderGroup:
        return connection.group

    def _after(self, connection: Connection) -> int:
        return _run(connection.group).begin_page(connection)

    def _request(
        self, key: ReaderGroup, together: cabc.Iterable[Connection]
    ) -> tuple[cabc.Collection[str], int | None]:
        return [_run(key).own], None

    def _encode(self, group: ReaderGroup, page: ItemsPage) -> RunPieces:
        return self._readers.following.take(_run(group), page)


def _run(group: ReaderGroup) -> RunGroup:
    assert isinstance(group, RunGroup)
    return group
