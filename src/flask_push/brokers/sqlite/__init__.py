"""``sqlite:``, the default: a file that all processes of a machine share.

Events are rows of a WAL file, numbered in the order in which they are committed, so a
reader that continues after a number misses nothing. A process that has published rings the
doorbell of each hub. No process serves the file, and it outlives all of them.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import sqlite3
import time
import typing as t
from functools import partial
from pathlib import Path
from pathlib import PurePath
from urllib.parse import quote
from urllib.parse import unquote
from urllib.parse import urlsplit

from ..._event import Event
from ..._event import Page
from ..._event import Position
from ..._system.rundir import claim
from ..base import NotPublished
from ..base import NotRead
from ..base import PAGE_BYTES
from ..base import Retention
from ..base import Sink
from ..items import check_change
from ..items import check_kind
from ..items import ItemChange
from ..items import ItemRow
from ..items import ItemsPage
from ..own import check_own
from ..own import OwnPage
from ..runs import check_own_kind
from ..runs import FORGET_ROWS
from . import history
from . import item_reads
from . import items
from . import own
from . import runs
from . import statements
from .database import Database
from .database import Occupied
from .database import Replaced
from .doorbell import bells
from .doorbell import Doorbells
from .errors import Trouble
from .feed import SqliteFeed
from .newest import KnownNewest
from .statements import Stored

T = t.TypeVar("T")
# Stores something, and says where something is that may be stored already. These are
# functions of a module, because publishing is slower if it makes one for each call.
_Store = cabc.Callable[..., Stored]
_Again = cabc.Callable[[sqlite3.Connection, Stored], list[Position]]


def from_url(
    url: str, directory: Path | None, retention: Retention | None, timeout: float
) -> SqliteBroker:
    parts = urlsplit(url)
    if parts.netloc or parts.query or (parts.path and not parts.path.startswith("/")):
        raise ValueError(
            f"{url!r} is not a file. Write 'sqlite:///' and the rest of an absolute path,"
            " which means the same in every process; or 'sqlite:' for the run directory."
        )
    if not parts.path:
        if directory is None:
            raise ValueError(
                "'sqlite:' needs an app; give the path, 'sqlite:///…/push.db'."
            )
        return SqliteBroker(directory / "push.db", retention, timeout, claims=True)
    return SqliteBroker(Path(path_of(parts.path)), retention, timeout)


def path_of(path: str, kind: type[PurePath] = Path) -> PurePath:
    """The file that the path of a URL names: with three slashes before it, or with four, as
    SQLAlchemy has it. On Windows, a drive follows them."""
    rest = unquote(path).lstrip("/")
    return kind(rest) if kind(rest).drive else kind(f"/{rest}")


def url_of(path: PurePath) -> str:
    """The URL of a file."""
    return f"sqlite:///{quote(path.as_posix().lstrip('/'))}"


def _append(
    connection: sqlite3.Connection,
    what: tuple[str, float],
    data: list[bytes],
    time: cabc.Callable[[int], int],
    noted: int,
) -> Stored:
    """Add an entry to an own log, as :func:`.statements.store` adds events."""
    (log, keep), (entry,) = what, data
    position = own.append(connection, log, entry, keep, time, noted)
    epoch, number = position
    return Stored(epoch, [position], number, len(entry), [(number, log)])


def _appended(connection: sqlite3.Connection, stored: Stored) -> list[Position]:
    """As :func:`.statements.again`."""
    ((number, log),) = stored.added
    return own.again(connection, log, number)


class SqliteBroker:
    """The store in the file at this path. The bells of the hubs lie beside it.

    :param retention: If given, changes what the store keeps, for all its users.
    :param timeout: Seconds that publishing waits for its turn.
    :param claims: Whether it is in a run directory, which is made again if it was removed.
    """

    def __init__(
        self,
        path: Path,
        retention: Retention | None = None,
        timeout: float = 2,
        *,
        claims: bool = False,
    ) -> None:
        self.url = url_of(path)
        self.path = path
        self.timeout = timeout
        self._retention = retention
        self._claims = claims
        self._writing = Database(path, retention)
        self._reading = Database(path, retention)
        self._newest = KnownNewest()
        self._store = partial(statements.store, of_this=self._newest)
        self._doorbells = Doorbells(bells(path))
        self._busy_until = 0.0

    def publish(self, events: cabc.Sequence[Event]) -> list[Position]:
        data = [event.data.encode() for event in events]
        return self._write(self._store, statements.again, events, data)

    def append(self, log: str, data: bytes, keep: float) -> Position:
        check_own(log, data, keep)
        return self._write(_append, _appended, (log, keep), [data])[0]

    def change(self, changes: cabc.Sequence[Event | ItemChange]) -> list[Position]:
        data = []
        for change in changes:
            if isinstance(change, ItemChange):
                check_change(change)
            data.append((change.data or "").encode())
        return self._write(items.change, items.again, changes, data)

    def _write(
        self, store: _Store, again: _Again, what: t.Any, data: list[bytes]
    ) -> list[Position]:
        now = time.monotonic()
        # After one call has waited in vain, no other waits for a second.
        busy = now < self._busy_until
        try:
            positions = self._attempt(store, again, what, data, 0 if busy else self.timeout)
        except TimeoutError as error:
            if not busy and not isinstance(error, Occupied):
                self._busy_until = time.monotonic() + 1
            raise NotPublished(f"The store is busy: {error}") from error
        except (sqlite3.Error, OSError) as error:
            raise NotPublished(f"The store can't be written: {error}") from error
        if busy:
            self._busy_until = 0.0
        self._doorbells.ring()
        return positions

    def _attempt(
        self,
        store: _Store,
        again: _Again,
        what: t.Any,
        data: list[bytes],
        timeout: float,
    ) -> list[Position]:
        writing = self._writing
        trouble: Trouble | None = None
        while True:
            stored: Stored | None = None
            transaction = writing.write(timeout)
            try:
                with transaction as connection:
                    if trouble is not None and trouble.doubt is not None:
                        if found := again(connection, trouble.doubt):
                            return found
                    stored = store(connection, what, data, writing.now, writing.noted)
                    writing.commit(stored.last, stored.size)
                    self._newest.note(stored.epoch, stored.last, stored.newest)
                writing.seen = Position(stored.epoch, stored.last)
                return stored.positions
            except (Replaced, sqlite3.Error, OSError) as error:
                trouble = trouble or Trouble(
                    writing, timeout, sum(map(len, data)), self._claim
                )
                timeout = trouble.meet(error, stored)
            finally:
                transaction.free()

    def read(
        self,
        channels: cabc.Collection[str],
        *,
        after: int | None = None,
        last: int = 0,
        limit: int = PAGE_BYTES,
        items: bool = False,
    ) -> Page:
        def read(connection: sqlite3.Connection) -> Page:
            page = history.page(connection, channels, after, last, limit)
            if items:
                return item_reads.with_items(connection, page, channels, limit)
            return page

        return self._read(read)

    def read_own(self, log: str, after: int = 0) -> OwnPage:
        check_own(log)
        return self._read(lambda connection: own.page(connection, log, after))

    def read_items(
        self,
        channels: cabc.Collection[str],
        *,
        after: int = 0,
        upto: int | None = None,
        limit: int = PAGE_BYTES,
        kind: str = "",
        due: bool = False,
    ) -> ItemsPage:
        check_kind(kind)
        what = item_reads.ItemsRequest(channels, after, upto)
        clock = None if due else self._reading.now
        return self._read(lambda c: item_reads.items_page(c, what, limit, kind, clock))

    def due(self, limit: int = 500) -> list[ItemChange]:
        return self._read(lambda c: item_reads.due(c, self._reading.now, limit))

    def owned(self, owner: str, *, kind: str, limit: int = 500) -> list[ItemRow]:
        check_kind(kind)
        return self._read(lambda c: item_reads.owned(c, owner, kind, limit))

    def find(self, channel: str, items: cabc.Sequence[str], *, kind: str = "") -> ItemsPage:
        check_kind(kind)
        return self._read(lambda c: runs.find(c, channel, items, kind))

    def forget(
        self, channel: str, upto: int, *, kind: str, limit: int = FORGET_ROWS
    ) -> bool:
        check_own_kind(kind)
        what = runs.ToForget(kind, channel, upto, limit)
        return bool(self._write(runs.forget, runs.again, what, []))

    def _read(self, page: cabc.Callable[[sqlite3.Connection], T]) -> T:
        def look() -> T:
            transaction = self._reading.read(self.timeout)
            try:
                with transaction as connection:
                    return page(connection)
            finally:
                transaction.free()

        try:
            try:
                return look()
            except FileNotFoundError:
                if not self._claim():
                    raise
                return look()
        except (sqlite3.Error, OSError) as error:
            raise NotRead(f"The store can't be read: {error}") from error

    def _claim(self) -> bool:
        """Make the run directory again. False if this broker may not make it."""
        if self._claims:
            try:
                claim(self.path.parent)
            except RuntimeError as error:
                raise OSError(str(error)) from error
        return self._claims

    def feed(
        self,
        sink: Sink,
        loop: asyncio.AbstractEventLoop,
        *,
        after: Position | None = None,
        channels: cabc.Collection[str] = (),
    ) -> SqliteFeed:
        return SqliteFeed(self.path, self._retention, sink, loop, after, channels)

    def close(self) -> None:
        self._writing.close()
        self._reading.close()
        self._doorbells.close()
