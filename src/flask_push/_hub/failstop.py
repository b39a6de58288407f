"""The one place that catches exceptions in a hub.

A hub may die at any time, because each of its readers resumes exactly where it was. The hub
uses this when an exception is raised: it ends each stream that the exception may have
affected. So no reader counts as live that has missed something, nothing follows half a
frame, and no log stays half changed.

- A call by the loop, the feed or a worker may affect any stream. If it fails, all streams
  end, and the hub begins again with an empty log and a new feed.
- Work for one stream ends only that stream if it fails, unless it was changing something
  that all streams share.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t

from .._system.logs import QuietLogger
from .connection import Connection

# Seconds before the feed is opened again, if the hub has failed in the last minute, too.
# They double each time.
_MIN_DELAY_SECONDS, _MAX_DELAY_SECONDS = 0.1, 10.0
_CALM_SECONDS = 60.0


class Guarded(t.Protocol):
    """All streams of a hub."""

    def cut(self, connection: Connection) -> None:
        """Close its socket, and do nothing else."""

    def drop(self, connection: Connection, retry: float, why: str) -> None:
        """Close its socket, and forget it."""

    def is_torn(self) -> bool:
        """Whether one stream is changing something that all streams share."""

    def keep_bounds(self) -> None:
        """End streams if they hold more memory than they may."""

    def end_all(self) -> int:
        """End all streams, and return how many there were."""


class FailStop:
    """
    :param begin_again: Begins with an empty log, and opens a new feed after some seconds.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        streams: Guarded,
        begin_again: cabc.Callable[[float], None],
    ) -> None:
        #: How often an exception has ended one stream, or all.
        self.failures = 0
        self._loop = loop
        self._streams = streams
        self._begin_again = begin_again
        self._quiet = QuietLogger()
        self._failed_at = -_CALM_SECONDS
        self._delay = 0.0

    def guard(self, work: cabc.Callable[..., object], *args: t.Any) -> None:
        """Run a call by the loop, the feed or a worker. If it fails, all streams end."""
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
        """Run work for one stream, if it is still open. If it fails, the stream ends."""
        try:
            if connection.fd >= 0:
                work(connection, *args)
        except BaseException as error:
            if not isinstance(error, Exception) or self._streams.is_torn():
                self._streams.cut(connection)
                raise
            # An OSError means that the browser has left.
            why = "left"
            if not isinstance(error, OSError):
                why = "failed"
                self.failures += 1
                self._quiet.error(
                    "A stream failed and was ended; its browser resumes: %r",
                    connection,
                    exc_info=error,
                )
            self._streams.drop(connection, 0, why)

    def fail(self, error: BaseException) -> None:
        """End all streams, because any of them may have missed something."""
        self.failures += 1
        try:
            streams = self._streams.end_all()
            now = self._loop.time()
            calm = now - self._failed_at >= _CALM_SECONDS
            delay = min(max(_MIN_DELAY_SECONDS, 2 * self._delay), _MAX_DELAY_SECONDS)
            self._delay = 0 if calm else delay
            self._failed_at = now
            self._begin_again(self._delay)
        except BaseException:
            # This hub stops, and its process or thread ends. Another hub will be started.
            self.give_up()
            raise
        self._quiet.error(
            "The hub failed and ended all %d streams; their browsers resume.",
            streams,
            exc_info=error,
        )

    def give_up(self) -> None:
        """End the loop."""
        self._loop.stop()
