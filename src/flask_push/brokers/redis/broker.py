"""What the brokers for one server and for a Cluster share: publishing and reading."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import time
import typing as t
from functools import partial

from ..._event import Event
from ..._event import Page
from ..._event import Position
from ..base import NotPublished
from ..base import NotRead
from ..base import PAGE_BYTES
from ..base import PublishUncertain
from ..base import Retention
from ..base import Sink
from ..own import check_own
from ..own import OwnPage
from . import calls
from . import replies
from . import scripts
from .errors import explain
from .errors import is_uncertain
from .feed import RedisFeed
from .pool import FAILED
from .pool import Moving
from .pool import Place
from .pool import Pool
from .pool import Refused
from .pool import Silence
from .scripts import Arg
from .scripts import Script

# How often one call may run the script that removes old events.
_MAX_PRUNES = 32
# Events and bytes of data that one call may publish. A script that stores so many takes a
# Redis about half a second, in which it answers no other client.
_MAX_EVENTS, _MAX_BYTES = 100_000, 64 * 2**20
# More than a log of Flask-Push's own has.
_ALL_BYTES = 2**30
# Seconds between two attempts while a slot moves to another node, longer each time.
_MOVING_PAUSE_SECONDS = 0.02


class AnyRedisBroker:
    """The store at this URL, in redis-py's form; ``prefix=…`` in its query separates the
    keys of several apps.

    :param retention: If given, changes what the store keeps, for all who use it.
    :param timeout: Seconds that publishing may take.
    """

    def __init__(
        self, url: str, retention: Retention | None = None, timeout: float = 2
    ) -> None:
        self.url = url
        self.timeout = timeout
        self._place = Place(url)
        single = self._place.nodes is None
        self._publish = scripts.PUBLISH if single else scripts.SPUBLISH
        self._append = scripts.APPEND if single else scripts.SAPPEND
        self._retention = retention
        self._store = calls.Store(self._place.names, retention)
        self._pool = Pool(self._place, self._greet)
        self._callers = calls.Callers()
        self._silent_until = 0.0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._place.name}>"

    def publish(self, events: cabc.Sequence[Event]) -> list[Position]:
        if not events:
            return []
        if len(events) > 1:
            _check_size(events)
        runs = calls.Runs(events)
        deadline = time.monotonic() + self.timeout
        args = partial(self._store.publish, runs)
        reply = self._write(self._publish, args, deadline)
        if replies.PRUNE_NEXT in reply:
            self._prune(deadline)
        return runs.positions(reply)

    def append(self, log: str, data: bytes, keep: float) -> Position:
        check_own(log, data, keep)
        args = partial(self._store.append, log, data, keep)
        reply = self._write(self._append, args, time.monotonic() + self.timeout)
        return Position(reply[0].decode(), int(reply[1]))

    def _write(
        self,
        script: Script,
        args: cabc.Callable[[calls.Caller], list[Arg]],
        deadline: float,
    ) -> list[t.Any]:
        attempt = _Attempt()
        # Each caller has one call at a time, so a second attempt stores nothing twice.
        caller = self._callers.take()
        try:
            reply: list[t.Any] = self._ask(script, partial(args, caller), attempt, deadline)
            return reply
        except FAILED as error:
            if attempt.unsure:
                raise PublishUncertain(f"Redis did not answer: {explain(error)}") from error
            raise NotPublished(f"Redis can't be written: {explain(error)}") from error
        except Silence as error:
            if attempt.unsure:
                raise PublishUncertain("Redis did not answer in time.") from error
            secure = " Does it speak TLS?" if self._place.secure else ""
            raise NotPublished(f"Redis can't be reached in time.{secure}") from error
        finally:
            self._callers.give_back(caller)

    def _prune(self, deadline: float) -> None:
        """Remove events and keys that are too old or too many."""
        channels: list[str] = []
        try:
            for _ in range(_MAX_PRUNES):
                args = partial(self._store.prune, channels)
                reply = self._ask(scripts.PRUNE, args, _Attempt(), deadline)
                channels = replies.channels_to_prune(reply)
                if not channels:
                    return
        except (*FAILED, Silence):
            pass  # The events are published. The next call will prune.

    def read(
        self,
        channels: cabc.Collection[str],
        *,
        after: int | None = None,
        last: int = 0,
        limit: int = PAGE_BYTES,
    ) -> Page:
        channels = list(channels)
        args = partial(self._store.read, channels, after, last, limit)
        return replies.page(self._read(scripts.READ, args), channels, after)

    def read_own(self, log: str, after: int = 0) -> OwnPage:
        check_own(log)
        args = partial(self._store.read_own, log, Position("", after), _ALL_BYTES)
        page, _ = replies.own_page(self._read(scripts.READ_OWN, args))
        return page

    def _read(self, script: Script, args: cabc.Callable[[], list[Arg]]) -> list[t.Any]:
        try:
            reply: list[t.Any] = self._ask(
                script, args, _Attempt(), time.monotonic() + self.timeout
            )
            return reply
        except (*FAILED, Silence) as error:
            raise NotRead(f"Redis can't be read: {explain(error)}") from error

    def feed(
        self,
        sink: Sink,
        loop: asyncio.AbstractEventLoop,
        *,
        after: Position | None = None,
        channels: cabc.Collection[str] = (),
    ) -> RedisFeed:
        return RedisFeed(self._place, self._retention, sink, loop, after, channels)

    def close(self) -> None:
        self._pool.close()

    def _greet(self, connection: t.Any, deadline: float) -> None:
        """Let the store check that the server is still the same."""
        while self._store.is_another(
            self._pool.ask(connection, scripts.READ.by_text(self._store.join([])), deadline)
        ):
            pass

    def _ask(
        self,
        script: Script,
        args: cabc.Callable[[], list[Arg]],
        attempt: _Attempt,
        deadline: float,
    ) -> t.Any:
        """Ask twice if a connection is lost: it may have been idle for too long."""
        start = time.monotonic()
        if start < self._silent_until:
            # After one call has waited in vain, no other waits for a second.
            raise Silence("Redis has not answered within the last second.")
        try:
            try:
                return self._ask_where_it_is(script, args, attempt, deadline)
            except Refused:
                raise
            except FAILED:
                # Later, the store may no longer remember the call's result.
                until = min(deadline, start + calls.CALLER_SECONDS / 2)
                if time.monotonic() >= until:
                    raise
                return self._ask_where_it_is(script, args, attempt, until)
        except (*FAILED, Silence):
            if time.monotonic() >= deadline:
                self._silent_until = time.monotonic() + 1
            raise

    def _ask_where_it_is(
        self,
        script: Script,
        args: cabc.Callable[[], list[Arg]],
        attempt: _Attempt,
        deadline: float,
    ) -> t.Any:
        """In a Cluster, ask until a node has all keys. The others did nothing."""
        pause = 0.0
        while True:
            try:
                return self._ask_once(script, args, attempt, deadline)
            except Refused as error:
                if not self._place.elsewhere(error):
                    raise
                # All idle connections are to the same node.
                self._pool.close()
                if time.monotonic() + pause >= deadline:
                    raise Moving("Its slot is being moved to another node.") from error
            time.sleep(pause)
            pause = min(pause + _MOVING_PAUSE_SECONDS, 10 * _MOVING_PAUSE_SECONDS)

    def _ask_once(
        self,
        script: Script,
        args: cabc.Callable[[], list[Arg]],
        attempt: _Attempt,
        deadline: float,
    ) -> t.Any:
        connection = self._pool.take(deadline)
        unsure, attempt.unsure = attempt.unsure, True
        try:
            reply = self._tell(connection, script, args(), deadline)
            while self._store.is_another(reply):
                reply = self._tell(connection, script, args(), deadline)
        except Refused as error:
            attempt.unsure = unsure or is_uncertain(error)
            if type(error).__name__ == "ReadOnlyError":
                # It became a replica. A new connection may reach the master.
                connection.disconnect()
            else:
                self._pool.give_back(connection)
            raise
        except BaseException:
            connection.disconnect()
            raise
        self._pool.give_back(connection)
        return reply

    def _tell(
        self, connection: t.Any, script: Script, args: list[Arg], deadline: float
    ) -> t.Any:
        try:
            return self._pool.ask(connection, script.by_sha(args), deadline)
        except Refused as error:
            # redis-py drops the code NOSCRIPT from the text.
            if type(error).__name__ != "NoScriptError":
                raise
        return self._pool.ask(connection, script.by_text(args), deadline)


def _check_size(events: cabc.Sequence[Event]) -> None:
    size = sum(len(event.data) for event in events)
    if len(events) > _MAX_EVENTS or size > _MAX_BYTES:
        raise ValueError(
            f"One call can publish {_MAX_EVENTS:,} events and {_MAX_BYTES:,} bytes of"
            f" data to a Redis, and this has {len(events):,} and {size:,}. Publish them in"
            " several calls."
        )


class _Attempt:
    #: Whether the server may have done it without an answer.
    unsure = False
