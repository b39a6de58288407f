"""What a run has gathered, and the store does not have yet.

:meth:`.Run.write_all` adds the events of its source here. A thread of the process stores
them twenty times a second. If there are many, or that thread has not stored them for long,
the thread that adds them stores them itself. So a source is never far ahead of the store.

A thread that has the lock of the run stores what is here. Those that add something don't
need that lock, which may be held for as long as a call of the store lasts.
"""

from __future__ import annotations

import time
import typing as t

from .._delivery.run_rows import MAX_PACKED
from .._delivery.run_rows import MAX_PACKED_BYTES
from .._delivery.run_rows import size_of
from .._system import unpatched

#: Seconds between two rows of a run, and between two times that its progress is stored.
ROW_SECONDS, PROGRESS_SECONDS = 0.05, 0.1
# Seconds after which a thread that adds events stores them itself.
_LATE_SECONDS = 1.0
# A row that waited for so many seconds was not stored as soon as it could be.
_WAITED_SECONDS = 0.01

_NEVER = float("-inf")


class Progress(t.TypedDict):
    """How far a run is, as the store has it."""

    done: float
    total: float | None
    text: str


class Source:
    """Where events come from."""

    def __init__(self, type: str) -> None:
        self.type = type
        #: How many of its events are stored.
        self.stored = 0


class _Event(t.NamedTuple):
    text: str
    size: int
    source: Source


class Pending:
    """The events of one run, and its newest progress."""

    def __init__(self) -> None:
        #: Whether the thread of the process knows that there is something.
        self.is_known = False
        #: The newest progress, until it is stored.
        self.progress: Progress | None = None
        # For the next three. No greenlet lets others run while it has this lock.
        self._lock = unpatched.free_lock()
        self._events: list[_Event] = []
        self._bytes = 0
        # How many events the next row has. The store may have that row already, so it
        # keeps its events until it is stored.
        self._cut = 0
        # When a row was stored, and since when the events wait.
        self._stored_at, self._since = _NEVER, 0.0
        self._progress_at = _NEVER
        # Whether the row that was stored last has waited until it was due.
        self._has_waited = False

    def __bool__(self) -> bool:
        """Whether there is something to store."""
        return bool(self._events) or self.progress is not None

    @property
    def has_events(self) -> bool:
        return bool(self._events)

    def add(self, text: str, source: Source) -> None:
        """Gather one more event."""
        size = size_of(text)
        with self._lock:
            if not self._events:
                self._since = time.monotonic()
            self._events.append(_Event(text, size, source))
            self._bytes += size

    @property
    def is_much(self) -> bool:
        """Whether the thread that adds events should store them itself."""
        return bool(self._events) and (
            self._bytes >= MAX_PACKED_BYTES
            or len(self._events) >= MAX_PACKED
            or time.monotonic() > self._since + _LATE_SECONDS
        )

    @property
    def progress_is_due(self) -> bool:
        """Whether progress can be stored now."""
        return time.monotonic() >= self._progress_at + PROGRESS_SECONDS

    def due(self) -> float | None:
        """When there is something to store, by the monotonic clock. ``None`` if never."""
        times = [self._stored_at + ROW_SECONDS] if self._events else []
        if self.progress is not None:
            times.append(self._progress_at + PROGRESS_SECONDS)
        return min(times, default=None)

    def expected(self) -> float | None:
        """When the next row will be due, if the last one has waited: then events come
        faster than rows are stored. ``None`` if it has not, or if this was asked since.

        The thread of the process looks again at that time. So it need not be woken for
        each row.
        """
        waited, self._has_waited = self._has_waited, False
        return self._stored_at + ROW_SECONDS if waited else None

    # With the lock of the run.

    def row(self) -> tuple[list[str], str]:
        """The events of the next row, and their type."""
        with self._lock:
            if not self._cut:
                self._cut = self._count()
            first = self._events[: self._cut]
        return [each.text for each in first], first[0].source.type

    def row_stored(self) -> None:
        """The store has the next row."""
        with self._lock:
            for each in self._events[: self._cut]:
                each.source.stored += 1
                self._bytes -= each.size
            del self._events[: self._cut]
            self._cut = 0
        now = time.monotonic()
        self._has_waited = now >= self._since + _WAITED_SECONDS
        self._stored_at = self._since = now

    def progress_stored(self, progress: Progress) -> None:
        """
        :param progress: What was stored. There may be a newer one meanwhile.
        """
        self._progress_at = time.monotonic()
        if self.progress is progress:
            self.progress = None

    def drop(self, source: Source) -> None:
        """Forget the events of a source, which can't be stored."""
        with self._lock:
            kept = [each for each in self._events if each.source is not source]
            if kept[:1] != self._events[:1]:
                self._cut = 0
            self._events = kept
            self._bytes = sum(each.size for each in kept)

    def _count(self) -> int:
        """A row has events of one source."""
        size = 0
        for index, each in enumerate(self._events[:MAX_PACKED]):
            size += each.size
            if index and (
                size > MAX_PACKED_BYTES or each.source is not self._events[0].source
            ):
                return index
        return min(len(self._events), MAX_PACKED)
