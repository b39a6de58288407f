"""``sqlite:``, the default: a file that all processes of a machine share.

Events are rows of a WAL file, numbered in the order in which they are committed, so
that reading on from a number misses nothing. Whoever has published rings the doorbell
of each hub. No process serves it, and it survives all of them.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import logging
import sqlite3
import time
import typing as t
from collections import deque
from pathlib import Path
from urllib.parse import quote
from urllib.parse import unquote
from urllib.parse import urlsplit

from .._event import Event
from .._event import Page
from .._event import Position
from .._rundir import claim
from . import _sql
from ._database import BROKEN
from ._database import Database
from ._doorbell import Doorbell
from ._doorbell import Ringer
from .base import NotPublished
from .base import NotRead
from .base import PAGE_BYTES
from .base import PublishUncertain
from .base import Retention
from .base import Sink

logger = logging.getLogger("flask_push")

# Pages read in one look, after which the loop has other things to do.
_READS = 50
# Seconds between two looks if the bell does not ring, and if there is none.
_POLL = 0.5
_POLL_WITHOUT = 0.1


def from_url(
    url: str, directory: Path | None, retention: Retention | None, timeout: float
) -> SqliteBroker:
    parts = urlsplit(url)
    # Also with four slashes, as SQLAlchemy has it.
    path = Path("/" + unquote(parts.path).lstrip("/"))
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
    return SqliteBroker(path, retention, timeout)


class SqliteBroker:
    """The store in the file at this path; its bells hang beside it.

    :param retention: Changes what the store keeps, for everybody, if given.
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
        self.url = f"sqlite://{quote(str(path))}"
        self.path = path
        self.timeout = timeout
        self._retention = retention
        self._claims = claims
        self._writing = Database(path, retention)
        self._reading = Database(path, retention)
        self._ringer = Ringer(bells(path))
        self._busy_until = 0.0

    def publish(self, events: cabc.Sequence[Event]) -> list[Position]:
        # Who has waited in vain once does not make others wait, for a second.
        busy = time.monotonic() < self._busy_until
        try:
            return self._publish(events, 0 if busy else self.timeout)
        except TimeoutError as error:
            if not busy:
                self._busy_until = time.monotonic() + 1
            raise NotPublished(f"The store is busy: {error}") from error
        except (sqlite3.Error, OSError) as error:
            raise NotPublished(f"The store can't be written: {error}") from error

    def _publish(self, events: cabc.Sequence[Event], timeout: float) -> list[Position]:
        for attempt in 0, 1:
            try:
                with self._writing.write(timeout) as connection:
                    positions, last = _sql.store(connection, events)
                    self._commit(connection)
                    self._writing.note(last)
                    self._ringer.ring()
                    return positions
            except FileNotFoundError:
                if attempt or not self._claim():
                    raise
            except sqlite3.DatabaseError as error:
                # A broken file was moved away: the next attempt is in a new one.
                if attempt or error.sqlite_errorcode & 0xFF not in BROKEN:
                    raise
        raise AssertionError

    def _commit(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_IOERR:
                raise PublishUncertain(f"The disk failed: {error}") from error
            raise

    def read(
        self,
        channels: cabc.Collection[str],
        *,
        after: int | None = None,
        last: int = 0,
        limit: int = PAGE_BYTES,
    ) -> Page:
        def look() -> Page:
            with self._reading.read(self.timeout) as connection:
                return _sql.page(connection, channels, after, last, limit)

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
        """Make the run directory again. False if it is for others to make."""
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
        self._ringer.close()


def bells(path: Path) -> Path:
    return path.with_name(f"{path.name}.bells")


class SqliteFeed:
    """Looks what is new when the bell rings, and twice a second without."""

    def __init__(
        self,
        path: Path,
        retention: Retention | None,
        sink: Sink,
        loop: asyncio.AbstractEventLoop,
        after: Position | None = None,
        channels: cabc.Collection[str] = (),
    ) -> None:
        self.retention = round(Retention().age * 1_000_000)
        self._path = path
        self._sink = sink
        self._loop = loop
        self._database = Database(path, retention)
        self._connection: sqlite3.Connection | None = None
        self._epoch, self._end = after or ("", 0)
        self._channels = set(channels)
        self._wanted: set[str] = set()
        self._reads: deque[_Read] = deque()
        self._due = self._failing = self._closed = False
        self._bell: Doorbell | None = None
        self._no_bell = ""
        self._poll()

    def watch(self, channels: cabc.Collection[str]) -> None:
        self._wanted.update(channels)
        self._look_soon()

    def unwatch(self, channels: cabc.Collection[str]) -> None:
        self._wanted.difference_update(channels)
        self._channels.difference_update(channels)

    def read(
        self,
        channels: cabc.Collection[str],
        callback: cabc.Callable[[Page], None],
        *,
        after: int | None = None,
        last: int = 0,
    ) -> None:
        self._reads.append(_Read(channels, after, last, callback))
        self._look_soon()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._timer.cancel()
        self._take_down()
        self._database.close()

    def _ring(self, bell: Doorbell) -> None:
        bell.silence()
        self._look_soon()

    def _poll(self) -> None:
        self._hang()
        pause = _POLL_WITHOUT if self._bell is None else _POLL
        self._timer = self._loop.call_later(pause, self._poll)
        self._look_soon()

    def _hang(self) -> None:
        """See that there is a bell, if there can be one."""
        if self._bell is not None and self._bell.is_there:
            return
        self._take_down()
        try:
            self._bell = bell = Doorbell(bells(self._path))
        except FileNotFoundError:
            pass  # The directory was removed, which the store says.
        except OSError as error:
            if self._no_bell != str(error):
                self._no_bell = str(error)
                logger.warning(
                    "No socket could be made in %s, and so events are delivered up to %g"
                    " seconds later: %s",
                    *(bells(self._path), _POLL_WITHOUT, error),
                )
        else:
            self._loop.add_reader(bell, self._ring, bell)

    def _take_down(self) -> None:
        bell, self._bell = self._bell, None
        if bell is not None:
            self._loop.remove_reader(bell)
            bell.close()

    def _look_soon(self) -> None:
        if not self._due:
            self._due = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        if self._closed:
            return
        reads = [self._reads.popleft() for _ in range(min(len(self._reads), _READS))]
        try:
            with self._database.read(timeout=0.2) as connection:
                if connection is not self._connection:
                    self._connection = connection
                    connection.create_function("heard", 1, self._channels.__contains__)
                news = _sql.news(connection, self._epoch, self._end)
                pages = [_sql.page(connection, *read[:3], PAGE_BYTES) for read in reads]
        except Exception as error:
            # Whatever it is, such as a file of another version, it may be cured.
            self._reads.extendleft(reversed(reads))
            self._due = False
            self._fail(error)
            return
        self._due = False
        self._recover()
        self._epoch, self._end, self.retention = news.epoch, news.end, news.retention
        if news.forgotten:
            self._sink.missed(news.end)
        else:
            self._sink.deliver(news.epoch, news.entries, news.end)
        if self._wanted:
            wanted, self._wanted = self._wanted, set()
            self._channels |= wanted
            self._sink.watched(sorted(wanted))
        for page, read in zip(pages, reads, strict=True):
            read.callback(page)
        if news.end < news.last or self._reads:
            self._look_soon()

    def _fail(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            logger.error("%s can't be read, and streams wait: %s", self._path, error)

    def _recover(self) -> None:
        if self._failing:
            self._failing = False
            logger.warning("%s can be read again.", self._path)


class _Read(t.NamedTuple):
    channels: cabc.Collection[str]
    after: int | None
    last: int
    callback: cabc.Callable[[Page], None]
