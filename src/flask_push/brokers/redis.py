"""``redis:``, a Redis or Valkey that the hubs of many machines share.

Publishing is one script, which numbers, stores and publishes all events of a call in
one transaction. Each hub holds one subscribed connection, and another one to read
history on. ``_lua.py`` says what is kept, and under which names.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import math
import secrets
import time
import typing as t
from pathlib import Path

from .._event import Event
from .._event import Page
from .._event import Position
from . import _redis_wire as wire
from .base import Bridge
from .base import NotPublished
from .base import NotRead
from .base import PAGE_BYTES
from .base import PublishUncertain
from .base import Retention
from .base import Sink

try:
    from ._redis_bridge import RedisBridge
    from ._redis_feed import RedisFeed
    from ._redis_pool import FAILED
    from ._redis_pool import Place
    from ._redis_pool import Pool
    from ._redis_pool import Refused
    from ._redis_pool import Silence
except ModuleNotFoundError as error:
    if error.name != "redis":
        raise
    raise ValueError("Redis needs redis-py: pip install 'Flask-Push[redis]'") from None


def from_url(
    url: str, directory: Path | None, retention: Retention | None, timeout: float
) -> RedisBroker:
    return RedisBroker(url, retention, timeout)


class RedisBroker:
    """The store at this URL, as redis-py has it; ``prefix=…`` in its query tells one
    app's keys from another's.

    :param retention: Changes what the store keeps, for everybody, if given.
    :param timeout: Seconds that publishing may take.
    """

    def __init__(
        self, url: str, retention: Retention | None = None, timeout: float = 2
    ) -> None:
        self.url = url
        self.timeout = timeout
        self._place = Place(url)
        self._retention = retention
        self._pool = Pool(self._place, self._greeting)
        self._silent_until = 0.0

    def publish(self, events: cabc.Sequence[Event]) -> list[Position]:
        # Made before the first attempt, so that the second stores nothing twice.
        call = secrets.token_urlsafe(12)
        seconds = math.ceil(3 * self.timeout) + 10
        args = wire.opening(self._retention)
        args += wire.publish_args(events, self._place.names, call, seconds)
        if not events:
            return []
        attempt = _Attempt()
        try:
            return wire.positions(self._ask(wire.PUBLISH, args, attempt))
        except FAILED as error:
            if attempt.unsure:
                raise PublishUncertain(f"Redis did not answer: {error}") from error
            raise NotPublished(f"Redis can't be written: {error}") from error
        except Silence as error:
            if attempt.unsure:
                raise PublishUncertain("Redis did not answer in time.") from error
            raise NotPublished("Redis can't be reached in time.") from error

    def read(
        self,
        channels: cabc.Collection[str],
        *,
        after: int | None = None,
        last: int = 0,
        limit: int = PAGE_BYTES,
    ) -> Page:
        channels = list(channels)
        args = wire.opening(self._retention)
        args += wire.read_args(channels, after, last, limit)
        try:
            reply = self._ask(wire.READ, args, _Attempt())
        except (*FAILED, Silence) as error:
            raise NotRead(f"Redis can't be read: {error}") from error
        return wire.page(reply, channels, after)

    def feed(
        self,
        sink: Sink,
        loop: asyncio.AbstractEventLoop,
        *,
        after: Position | None = None,
        channels: cabc.Collection[str] = (),
    ) -> RedisFeed:
        return RedisFeed(self._place, self._retention, sink, loop, after, channels)

    def bridge(
        self, bridge: Bridge, loop: asyncio.AbstractEventLoop, max_event: int
    ) -> cabc.Callable[[], None]:
        return RedisBridge(self._place, self._retention, bridge, loop, max_event).close

    def close(self) -> None:
        self._pool.close()

    def _greeting(self) -> list[wire.Arg]:
        args = [*wire.opening(self._retention, thorough=True), *wire.read_args([], 0, 0, 0)]
        return wire.READ.by_text(self._place.names.store, args)

    def _ask(self, script: wire.Script, args: list[wire.Arg], attempt: _Attempt) -> t.Any:
        """Twice, if a connection is lost: it may be one that was idle for too long."""
        start = time.monotonic()
        if start < self._silent_until:
            # Who has waited in vain once does not make others wait, for a second.
            raise Silence("Redis has not answered within the last second.")
        deadline = start + self.timeout
        try:
            try:
                return self._ask_once(script, args, attempt, deadline)
            except Refused:
                raise
            except FAILED:
                if time.monotonic() >= deadline:
                    raise
                return self._ask_once(script, args, attempt, deadline)
        except (*FAILED, Silence):
            if time.monotonic() >= deadline:
                self._silent_until = time.monotonic() + 1
            raise

    def _ask_once(
        self,
        script: wire.Script,
        args: list[wire.Arg],
        attempt: _Attempt,
        deadline: float,
    ) -> t.Any:
        connection = self._pool.take(deadline)
        key = self._place.names.store
        unsure, attempt.unsure = attempt.unsure, True
        try:
            try:
                reply = self._pool.ask(connection, script.by_sha(key, args), deadline)
            except Refused as error:
                # redis-py strips the code that its class stands for.
                if type(error).__name__ != "NoScriptError":
                    raise
                reply = self._pool.ask(connection, script.by_text(key, args), deadline)
        except Refused as error:
            attempt.unsure = unsure
            if type(error).__name__ == "ReadOnlyError":
                # It was demoted. Another connection may come to the one that was not.
                connection.disconnect()
            else:
                self._pool.give_back(connection)
            raise
        except BaseException:
            connection.disconnect()
            raise
        self._pool.give_back(connection)
        return reply


class _Attempt:
    #: Whether the server may have done it, though it did not say so.
    unsure = False
