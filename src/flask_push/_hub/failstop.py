"""One place that catches whatever fails in a hub.

A hub may die at any time, since each of its readers resumes exactly where it was. This is
its strongest property, and it is used here: an exception ends each stream that it may have
touched. So no reader is counted as live that has not had what others were sent, nothing
follows half a frame, and no log is left half changed.

- What the loop, the feed or a worker calls may touch any stream. If it fails, all streams
  end, and the log and the feed begin again, as those of a new hub.
- What concerns one stream ends that one, unless it was changing what all streams share.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t

from .._system.logs import QuietLogger
from .connection import Connection

# Seconds before the feed is opened again, if all failed within the last minute, too: twice
# as long each time.
_SHORTEST, _LONGEST = 0.1, 10.0
_CALM = 60.0


class Guarded(t.Protocol):
    """All streams of a hub."""

    def cut(self, connection: Connection) -> None:
        """Close its socket, and no more."""

    def drop(self, connection: Connection) -> None:
        """Close its socket, and forget it."""

    def is_torn(self) -> bool:
        """Whether what all streams share is being changed for one of them."""

    def keep_bounds(self) -> None:
        """Keep what has grown within its bounds."""

    def end_all(self) -> int:
        """End all streams, and return how many they were."""


class FailStop:
    """
    :param begin_again: Begins with a new log, and after so many seconds with a new feed.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        streams: Guarded,
        begin_again: cabc.Callable[[float], None],
    ) -> None:
        #: How often all streams, or one, were ended because something failed.
        self.failures = 0
        self._loop = loop
        self._streams = streams
        self._begin_again = begin_again
        self._quiet = QuietLogger()
        self._failed_at = -_CALM
        self._delay = 0.0

    def guard(self, work: cabc.Callable[..., object], *args: t.Any) -> None:
        """Do what the loop, the feed or a worker asks for. If it fails, all streams end."""
        try:
            work(*args)
            self._streams.keep_bounds()
        except BaseException as error:
            self.fail(error)
            if not isinstance(error, Exception):
                raise

    def alone(
        self, connection: Connection, work: cabc.Callable[..., object], *args: t.Any
    ) -> None:
        """Do what concerns one stream, if it is open still. If it fails, it is ended."""
        try:
            if connection.fd >= 0:
                work(connection, *args)
        except BaseException as error:
            if not isinstance(error, Exception) or self._streams.is_torn():
                self._streams.cut(connection)
                raise
            # An OSError is a browser that has left.
            if not isinstance(error, OSError):
                self.failures += 1
                self._quiet.error(
                    "A stream failed, and will be resumed: %r", connection, exc_info=error
                )
            self._streams.drop(connection)

    def fail(self, error: BaseException) -> None:
        """End all streams: none is known to have had what it should."""
        self.failures += 1
        try:
            streams = self._streams.end_all()
            now = self._loop.time()
            calm = now - self._failed_at >= _CALM
            self._delay = 0 if calm else min(max(_SHORTEST, 2 * self._delay), _LONGEST)
            self._failed_at = now
            self._begin_again(self._delay)
        except BaseException:
            # Then this hub ends, and its process or thread with it. Another one begins.
            self.give_up()
            raise
        self._quiet.error(
            "The hub failed, and ended all %d streams.", streams, exc_info=error
        )

    def give_up(self) -> None:
        """End the loop."""
        self._loop.stop()
