"""Items in SQLite: changed on a connection of the test's, by a clock of the test's."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import sqlite3
import typing as t
import weakref

from flask_push import Event
from flask_push import Position
from flask_push.brokers import Entry
from flask_push.brokers import ItemChange
from flask_push.brokers import ItemRow
from flask_push.brokers import ItemsPage
from flask_push.brokers import Page
from flask_push.brokers import Retention
from flask_push.brokers.base import PAGE_BYTES
from flask_push.brokers.sqlite import history
from flask_push.brokers.sqlite import item_reads
from flask_push.brokers.sqlite import item_tables
from flask_push.brokers.sqlite import items
from flask_push.brokers.sqlite import statements
from flask_push.brokers.sqlite.item_reads import ItemsRequest
from flask_push.brokers.sqlite.statements import Stored

FOUND = statements.Found(
    inode=7, boot="one", alone=True, doubtful=False, noted=0, seen=Position("", 0)
)
SECOND = 1_000_000


def item(item: str, data: str | None, channel: str = "a", **more: t.Any) -> ItemChange:
    """An item that is set or, without data, unset."""
    return ItemChange(channel, item, data, **more)


class Store:
    """A store on a connection. Its clock stands still until a test moves it."""

    def __init__(
        self, connection: sqlite3.Connection, retention: Retention | None = None
    ) -> None:
        self.connection = connection
        self.now, _ = statements.prepare(connection, retention, FOUND)

    def store(self, *changes: Event | ItemChange) -> Stored:
        data = [(change.data or "").encode() for change in changes]
        with self.transaction():
            return items.change(self.connection, changes, data, lambda last: self.now, 0)

    def change(self, *changes: Event | ItemChange) -> list[int]:
        """Make changes, and return their numbers."""
        numbers = [position.number for position in self.store(*changes).positions]
        assert item_tables.adds_up(self.connection)
        return numbers

    def again(self, stored: Stored) -> list[Position]:
        return items.again(self.connection, stored)

    @contextlib.contextmanager
    def transaction(self) -> cabc.Iterator[None]:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    @property
    def last(self) -> int:
        return statements.last_number(self.connection)

    def rows(self, *channels: str, due: bool = False, kind: str = "") -> list[ItemRow]:
        clock = None if due else lambda last: self.now
        request = ItemsRequest(channels or ["a"], 0, None)
        page = item_reads.items_page(self.connection, request, 2**30, kind, clock)
        return list(page.rows)

    def living(self, *channels: str) -> dict[str, bytes]:
        return {row.item: row.data for row in self.rows(*channels)}

    def entries(self, *channels: str, after: int = 0, limit: int = 2**30) -> list[Entry]:
        names = channels or ["a"]
        page = history.page(self.connection, names, after, 0, limit)
        page = item_reads.with_items(self.connection, page, names, limit)
        return list(page.entries)

    def horizon(self, channel: str = "a") -> int:
        return item_reads.horizons(self.connection, [channel]).numbers[channel]

    def count(self, table: str) -> int:
        found = self.connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(found[0])


@contextlib.contextmanager
def opened(retention: Retention | None = None) -> cabc.Iterator[Store]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    with contextlib.closing(connection):
        yield Store(connection, retention)


class InMemory:
    """What :mod:`.item_machine` uses of a broker, for statements on a file in memory."""

    def __init__(self, retention: Retention) -> None:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        weakref.finalize(self, connection.close)
        self._store = Store(connection, retention)
        self._last = self._store.last
        self._clock: t.Any

    @property
    def _epoch(self) -> str:
        (epoch,) = self._store.connection.execute("SELECT epoch FROM store").fetchone()
        return str(epoch)

    @_epoch.setter
    def _epoch(self, epoch: str) -> None:
        self._store.connection.execute("UPDATE store SET epoch = ?", (epoch,))

    def change(self, changes: cabc.Sequence[Event | ItemChange]) -> list[Position]:
        self._store.now = self._clock.now(0)
        positions = self._store.store(*changes).positions
        assert item_tables.adds_up(self._store.connection)
        return positions

    def read(
        self,
        channels: cabc.Collection[str],
        after: int | None = None,
        last: int = 0,
        limit: int = PAGE_BYTES,
        items: bool = False,
    ) -> Page:
        connection = self._store.connection
        page = history.page(connection, channels, after, last, limit)
        if not items:
            return page
        return item_reads.with_items(connection, page, channels, limit)

    def read_items(
        self, channels: cabc.Collection[str], kind: str = "", due: bool = False
    ) -> ItemsPage:
        clock = None if due else self._clock.now
        what = ItemsRequest(channels, 0, None)
        return item_reads.items_page(self._store.connection, what, 2**30, kind, clock)

    def due(self, limit: int = 500) -> list[ItemChange]:
        return item_reads.due(self._store.connection, self._clock.now, limit)

    def owned(self, owner: str, kind: str) -> list[ItemRow]:
        return item_reads.owned(self._store.connection, owner, kind, 500)
