"""How a process asks the scripts of a store, until a server answers or the time is up."""

from __future__ import annotations

import collections.abc as cabc
import time
import typing as t
from functools import partial

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
from .pool import Moving
from .pool import Place
from .pool import Pool
from .pool import Refused
from .pool import Silence
from .scripts import Arg
from .scripts import Script

# Seconds between two attempts while a slot moves to another node, longer each time.
_MOVING_PAUSE_SECONDS = 0.02


class Attempt:
    #: Whether the server may have done it without an answer.
    unsure = False


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
        self._silent_until = 0.0

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
        while self._store.is_another(
            self.pool.ask(connection, scripts.READ.by_text(self._store.join([])), deadline)
        ):
            pass

    def ask(
        self,
        script: Script,
        args: cabc.Callable[[], list[Arg]],
        deadline: float,
        attempt: Attempt | None = None,
    ) -> t.Any:
        """Ask twice if a connection is lost: it may have been idle for too long."""
        attempt = attempt or Attempt()
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
            pause = min(pause + _MOVING_PAUSE_SECONDS, 10 * _MOVING_PAUSE_SECONDS)

    def _ask_once(
        self,
        script: Script,
        args: cabc.Callable[[], list[Arg]],
        attempt: Attempt,
        deadline: float,
    ) -> t.Any:
        connection = self.pool.take(deadline)
        unsure, attempt.unsure = attempt.unsure, True
        try:
            reply = self._tell(connection, script, args, deadline)
            while self._store.is_another(reply):
                reply = self._tell(connection, script, args, deadline)
        except Refused as error:
            attempt.unsure = unsure or is_uncertain(error)
            if type(error).__name__ == "ReadOnlyError":
                # It became a replica. A new connection may reach the master.
                connection.disconnect()
            else:
                self.pool.give_back(connection)
            raise
        except BaseException:
            connection.disconnect()
            raise
        self.pool.give_back(connection)
        return reply

    def _tell(
        self,
        connection: t.Any,
        script: Script,
        args: cabc.Callable[[], list[Arg]],
        deadline: float,
    ) -> t.Any:
        made = self._store.in_one_life(args)
        try:
            return self.pool.ask(connection, script.by_sha(made), deadline)
        except Refused as error:
            # redis-py drops the code NOSCRIPT from the text.
            if type(error).__name__ != "NoScriptError":
                raise
        return self.pool.ask(connection, script.by_text(made), deadline)
