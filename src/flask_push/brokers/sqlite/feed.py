"""How a hub reads what is new in the file."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import logging
import sqlite3
import time
from collections import deque
from functools import partial
from pathlib import Path

from ..._event import Page
from ..._event import Position
from .._common import PageRequest
from .._items import as_watched
from .._items import one_kind
from ..base import PAGE_BYTES
from ..base import Retention
from ..base import Sink
from ..items import ItemsPage
from ..own import OWN_LOGS
from ..own import OwnPage
from ..own import OwnPages
from . import history
from . import item_reads
from . import own
from .database import Database
from .doorbell import bells
from .doorbell import Doorbell
from .item_feed import ItemLooks
from .item_feed import TimedLooks
from .item_reads import ItemsRequest

logger = logging.getLogger("flask_push")

# Pages and seconds after which one look ends, because the loop has other things to do. A
# page takes about a millisecond.
_MAX_PAGES, _SLICE_SECONDS = 50, 0.002
# Seconds between two looks if the bell does not ring, and if there is no bell.
_POLL_SECONDS = 0.5
_POLL_SECONDS_WITHOUT_BELL = 0.1
# Seconds until a locked file is tried again, and after which the log says so.
_LOCK_RETRY_SECONDS, _LOCK_LOG_SECONDS = 0.002, 1.0


class SqliteFeed:
    """Reads new events when the bell rings, and else twice a second.

    It reads on the loop, because reading new events takes less time than waking a thread.
    So each look is short: it reads a few pages, and does not wait for the lock that
    opening the file needs.
    """

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
        self._own = OwnPages(sink)
        self._items = ItemLooks(sink)
        self._timed = TimedLooks(sink)
        self._channels = set(channels)
        self._wanted: set[str] = set()
        self._reads: deque[PageRequest | ItemsRequest] = deque()
        self._due = self._closed = False
        #: As the hub asks for it.
        self.trouble = ""
        # Since when it has been waiting for the lock, or 0.
        self._since = 0.0
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
        self._reads.append(PageRequest(list(channels), after, last, callback))
        self._look_soon()

    def read_items(
        self,
        channels: cabc.Collection[str],
        callback: cabc.Callable[[ItemsPage], None],
        *,
        after: int = 0,
        upto: int | None = None,
    ) -> None:
        kind, names = one_kind(channels)

        def answer(page: ItemsPage) -> None:
            callback(as_watched(page, kind))

        self._reads.append(ItemsRequest(names, after, upto, answer, kind))
        self._look_soon()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._timer.cancel()
        self._take_down()
        self._database.close()

    def _ring(self, bell: Doorbell) -> None:
        bell.empty()
        # At once, and not in the next pass of the loop, which takes time of its own.
        if not self._due:
            self._due = True
            self._look()

    def _poll(self) -> None:
        self._hang()
        pause = _POLL_SECONDS_WITHOUT_BELL if self._bell is None else _POLL_SECONDS
        self._timer = self._loop.call_later(pause, self._poll)
        self._look_soon()

    def _hang(self) -> None:
        """Make the bell if it is not there."""
        if self._bell is not None and self._bell.is_there:
            return
        self._take_down()
        try:
            self._bell = bell = Doorbell(bells(self._path))
        except FileNotFoundError:
            pass  # The directory was removed. Reading the store will report it.
        except OSError as error:
            if self._no_bell != str(error):
                self._no_bell = str(error)
                logger.warning(
                    "No socket could be made in %s, and so events are delivered up to %g"
                    " seconds later: %s",
                    *(bells(self._path), _POLL_SECONDS_WITHOUT_BELL, error),
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
        # The sink may ask for more while it is called.
        wanted = frozenset(self._wanted)
        reads: list[PageRequest | ItemsRequest] = []
        try:
            with self._database.read(None) as connection:
                if connection is not self._connection:
                    self._connection = connection
                    history.select(connection, self._channels)
                unread, horizons = self._read_new(connection, wanted)
                logs = self._read_own(connection, unread.epoch)
                answers = self._read_pages(connection, reads)
                self._timed.look(connection, self._loop.time())
        except Exception as error:
            # Any error may be corrected, even a file of another version. Try again.
            self._reads.extendleft(reversed(reads))
            self._fail(error)
            return
        self._due = False
        self._recover()
        self._epoch, self._end, self.retention = unread.epoch, unread.end, unread.retention
        self._database.seen = Position(unread.epoch, unread.last)
        # In the snapshot of all that follows, so nothing in that is before an entry.
        for log, own_page in logs:
            self._own.give(log, own_page)
        self._items.give(unread, horizons)
        self._hand_over(unread, wanted)
        for answer in answers:
            answer()
        self._timed.give()
        if unread.end < unread.last or self._reads:
            self._look_soon()

    def _read_new(
        self, connection: sqlite3.Connection, wanted: frozenset[str]
    ) -> tuple[history.Unread, item_reads.FoundHorizons]:
        unread = history.unread(connection, self._epoch, self._end)
        if not self._items:
            return unread, item_reads.FoundHorizons({}, [])
        after = self._end if unread.epoch == self._epoch else None
        return self._items.look(connection, unread, after, self._channels, wanted)

    def _read_pages(
        self, connection: sqlite3.Connection, reads: list[PageRequest | ItemsRequest]
    ) -> list[cabc.Callable[[], None]]:
        """Read pages that the hub waits for, as many as there is time for.

        :param reads: They are moved to this list.
        """
        answers: list[cabc.Callable[[], None]] = []
        end = time.monotonic() + _SLICE_SECONDS
        while self._reads and len(reads) < _MAX_PAGES:
            reads.append(read := self._reads.popleft())
            answers.append(self._answer(connection, read))
            if time.monotonic() > end:
                break
        return answers

    def _answer(
        self, connection: sqlite3.Connection, read: PageRequest | ItemsRequest
    ) -> cabc.Callable[[], None]:
        if isinstance(read, ItemsRequest):
            rows = item_reads.items_page(connection, read, PAGE_BYTES, read.kind)
            return partial(read.callback, rows)
        page = history.page(connection, *read[:3], PAGE_BYTES)
        if self._items:
            page = item_reads.with_items(connection, page, read.channels, PAGE_BYTES)
        return partial(read.callback, page)

    def _read_own(
        self, connection: sqlite3.Connection, epoch: str
    ) -> list[tuple[str, OwnPage]]:
        if not self._own:
            return []
        after = self._own.after
        return [(log, own.page(connection, log, after(log, epoch))) for log in OWN_LOGS]

    def _hand_over(self, unread: history.Unread, wanted: frozenset[str]) -> None:
        if unread.forgotten:
            self._sink.missed(unread.end)
        else:
            self._sink.deliver(unread.epoch, unread.entries, unread.end)
        if wanted := wanted & self._wanted:
            self._wanted -= wanted
            self._channels |= wanted
            self._sink.watched(sorted(wanted))

    def _fail(self, error: Exception) -> None:
        now = self._loop.time()
        self._since = self._since or now
        if isinstance(error, TimeoutError):
            # Other processes open the file, or write to it.
            self._loop.call_later(_LOCK_RETRY_SECONDS, self._look)
            if now - self._since < _LOCK_LOG_SECONDS:
                return
        else:
            self._due = False
        was, self.trouble = self.trouble, str(error) or repr(error)
        if not was:
            logger.error("Could not read %s; streams wait: %s", self._path, error)

    def _recover(self) -> None:
        self._since = 0.0
        if self.trouble:
            self.trouble = ""
            logger.warning("Read %s again; streams continue.", self._path)
