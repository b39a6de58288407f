"""How a process asks the scripts of a store, until a server answers or the time is up."""

from __future__ import annotations

import collections.abc as cabc
import math
import time
import typing as t
from functools import partial

from ..._system.turns import Places
from ..base import NotPublished
from ..base import NotRead
from ..base import PublishUncertain
from ..base import StoreFull
from . import calls
from . import scripts
from .errors import code_of
from .errors import explain
from .errors import is_uncertain
from .pool import FAILED
from .pool import MAX_CONNECTIONS
from .pool import Moving
from .pool import Place
from .pool import Pool
from .pool import Refused
from .pool import Silence
from .scripts import Arg
from .scripts import Script

# Seconds between two attempts while a slot moves to another node, longer each time.
_MOVING_PAUSE_SECONDS = 0.02
# Seconds that a step has at least, so that the server may answer.
_LEAST_SECONDS = 0.1
# How often a server may say that it has another life of the store.
_TELLS = 10
_TOLD = "The store begins again and again."
_SILENT = "Redis has not answered within the last second."
_BUSY = (
    "This process has too much to do: Redis has answered other calls of it, but there was"
    f" no turn for this one. At most {MAX_CONNECTIONS} ask Redis at the same time. Start"
    " more workers, or let each have fewer requests at a time."
)


class Attempt:
    #: Whether the server may have done it without an answer.
    unsure = False
    #: Since when the server owes an answer. Infinite while the call waits for its turn.
    since = math.inf


class Busy(Silence):
    """This process has too much to do. It says nothing about the server."""


class Asking:
    """
    :param timeout: Seconds that a call may take.
    """

    def __init__(self, place: Place, store: calls.Store, timeout: float) -> None:
        self.timeout = timeout
        self.pool = Pool(place, self._greet)
        self.callers = calls.Callers()
        self._place = place
        self._store = store
        # After one call has waited in vain, no other waits until then.
        self._silent_until = 0.0
        # When the server has answered any call.
        self._answered = 0.0

    def write(
        self,
        script: Script,
        args: cabc.Callable[[calls.Caller], list[Arg]],
        deadline: float,
    ) -> list[t.Any]:
        attempt = Attempt()
        # Each caller has one call at a time, so a second attempt stores nothing twice.
        caller = self.callers.take()
        try:
            reply: list[t.Any] = self.ask(script, partial(args, caller), deadline, attempt)
            return reply
        except FAILED as error:
            if attempt.unsure:
                raise PublishUncertain(f"Redis did not answer: {explain(error)}") from error
            refused = StoreFull if code_of(error) == "OOM" else NotPublished
            raise refused(f"Redis can't be written: {explain(error)}") from error
        except Busy as error:
            raise NotPublished(str(error)) from error
        except Silence as error:
            if attempt.unsure:
                raise PublishUncertain("Redis did not answer in time.") from error
            secure = " Does it speak TLS?" if self._place.secure else ""
            raise NotPublished(f"Redis can't be reached in time.{secure}") from error
        finally:
            self.callers.give_back(caller)

    def read(self, script: Script, args: cabc.Callable[[], list[Arg]]) -> list[t.Any]:
        try:
            reply: list[t.Any] = self.ask(script, args, time.monotonic() + self.timeout)
            return reply
        except (*FAILED, Silence) as error:
            raise NotRead(f"Redis can't be read: {explain(error)}") from error

    def _greet(self, connection: t.Any, deadline: float) -> None:
        """Let the store check that the server is still the same."""
        for _ in range(_TELLS):
            args = scripts.READ.by_text(self._store.join([]))
            reply = self.pool.ask(connection, args, self._left(deadline))
            if not self._store.is_another(reply):
                return
        raise Silence(_TOLD)

    def ask(
        self,
        script: Script,
        args: cabc.Callable[[], list[Arg]],
        deadline: float,
        attempt: Attempt | None = None,
    ) -> t.Any:
        """Ask twice if a connection is lost: it may have been idle for too long."""
        attempt = attempt or Attempt()
        attempt.since = start = time.monotonic()
        if start < self._silent_until:
            raise Silence(_SILENT)
        try:
            try:
                return self._ask_where_it_is(script, args, attempt, deadline)
            except Refused:
                raise
            except FAILED:
                # Later, the store may no longer remember the call's result.
                until = min(deadline, start + calls.CALLER_SECONDS / 2)
                if (now := time.monotonic()) >= until:
                    raise
                attempt.since = now
                return self._ask_where_it_is(script, args, attempt, until)
        except (*FAILED, Silence):
            now = time.monotonic()
            # Whether the server has had enough time to answer, and has not even answered
            # others meanwhile.
            has_waited = now - attempt.since >= (deadline - start) / 2
            if now >= deadline and has_waited and self._answered < attempt.since:
                self._silent_until = now + 1
            raise

    def _left(self, deadline: float) -> float:
        """Seconds for a step that begins now. If it begins late, this process was busy, and
        the step has as many seconds as it was late."""
        left = deadline - time.monotonic()
        if left >= _LEAST_SECONDS:
            return left
        return min(max(-left, _LEAST_SECONDS), self.timeout)

    def _ask_where_it_is(
        self,
        script: Script,
        args: cabc.Callable[[], list[Arg]],
        attempt: Attempt,
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
                self.pool.close()
                if time.monotonic() + pause >= deadline:
                    raise Moving("Its slot is being moved to another node.") from error
            time.sleep(pause)
            attempt.since = time.monotonic()
            pause = min(pause + _MOVING_PAUSE_SECONDS, 10 * _MOVING_PAUSE_SECONDS)

    def _ask_once(
        self,
        script: Script,
        args: cabc.Callable[[], list[Arg]],
        attempt: Attempt,
        deadline: float,
    ) -> t.Any:
        place: list[t.Any] = []
        places = self.pool.places
        try:
            try:
                if not places.take_now(place):
                    self._wait(places, place, attempt, deadline)
                connection = self.pool.idle(place)
                if connection is None:
                    connection = self.pool.connect(self._left(deadline))
                reply = self._ask_on(connection, place, script, args, attempt, deadline)
                place[0] = connection
                return reply
            finally:
                places.give_back(place)
        finally:
            # If that was interrupted.
            if place:
                places.give_back(place)

    def _wait(
        self,
        places: Places[t.Any],
        place: list[t.Any],
        attempt: Attempt,
        deadline: float,
    ) -> None:
        """Wait for this call's turn."""
        start, attempt.since = attempt.since, math.inf
        if not places.take(place, max(deadline - start, 0)):
            if self._answered > start:
                raise Busy(_BUSY)
            raise Silence("The time is up.")
        attempt.since = time.monotonic()
        if attempt.since < self._silent_until:
            raise Silence(_SILENT)

    def _ask_on(
        self,
        connection: t.Any,
        place: list[t.Any],
        script: Script,
        args: cabc.Callable[[], list[Arg]],
        attempt: Attempt,
        deadline: float,
    ) -> t.Any:
        """Ask until the server and this process agree in which life the store is."""
        unsure, attempt.unsure = attempt.unsure, True
        ask = script.by_sha
        try:
            for _ in range(_TELLS):
                made = self._store.in_one_life(args)
                try:
                    reply = self.pool.ask(connection, ask(made), self._left(deadline))
                except Refused as error:
                    # redis-py drops the code NOSCRIPT from the text.
                    if type(error).__name__ != "NoScriptError":
                        raise
                    ask = script.by_text
                    continue
                if not self._store.is_another(reply):
                    self._answered = time.monotonic()
                    return reply
            raise Silence(_TOLD)
        except Refused as error:
            self._answered = time.monotonic()
            attempt.unsure = unsure or is_uncertain(error)
            if type(error).__name__ == "ReadOnlyError":
                # It became a replica. A new connection may reach the master.
                connection.disconnect()
            else:
                place[0] = connection
            raise
        except BaseException:
            connection.disconnect()
            raise
