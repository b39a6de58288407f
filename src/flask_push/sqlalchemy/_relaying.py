"""The thread that publishes the rows of an outbox, in each process of the app that has one.

One of them holds the lease, and publishes. The others look at the lease once a second.

It is a thread as the app's own are: a greenlet, if gevent has replaced threads, because the
connections of the app's engine work only in those.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import threading
import time
import weakref

from sqlalchemy.exc import SQLAlchemyError

from .._publisher import Publisher
from .._system import unpatched
from .._system.fork import all_of
from .._system.fork import ForkLock
from .._system.fork import PerProcess
from .._system.logs import QuietLogger
from ..brokers import NotPublished
from ..brokers.base import TROUBLE
from ._bell import Bell
from ._database import OutboxRows
from ._notify import channel_of
from ._notify import Listening
from ._notify import may_listen
from ._turns import RelayTurns

logger = logging.getLogger("flask_push")

# Seconds between two looks at the database if nothing notifies of new rows.
_POLL_SECONDS = 0.1
# Seconds between two looks at the lease of another process, at least.
_LOOK_SECONDS = 0.1
# Seconds until PostgreSQL is asked again to notify of new rows.
_LISTEN_SECONDS = 5.0
# Seconds between two tries in trouble.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
# Seconds for which the end of the process waits for the thread.
_EXIT_SECONDS = 5.0
# Seconds for which a call waits until another process has published all rows.
_CALL_SECONDS = 20.0
# What the store and the database raise.
_TROUBLE = (*TROUBLE, SQLAlchemyError)


class Relay(PerProcess):
    """Any thread.

    :param name: The outbox's.
    :param is_direct: Whether the thread that commits publishes, instead of a thread of its
        own. For tests.
    """

    def __init__(
        self, name: str, rows: OutboxRows, publisher: Publisher, is_direct: bool
    ) -> None:
        self.name, self.rows, self.is_direct = name, rows, is_direct
        self._publisher = publisher
        self._thread: threading.Thread | None = None
        self._bell: Bell | None = None
        # This raises if the broker keeps no items.
        self._begin()
        super().__init__()
        _relays.add(self)

    def __repr__(self) -> str:
        held = "holds the lease" if self._turns.lease.holds else "does not hold the lease"
        trouble = self._trouble.partition("\n")[0]
        trouble = f", trouble: {trouble:.80}" if trouble else ""
        return f"<Relay {self.name!r} [{held}, {self.relayed:,} relayed{trouble}]>"

    @property
    def relayed(self) -> int:
        """How many rows this process has published."""
        return self._turns.relayed

    def _begin(self) -> None:
        # A fork waits until no thread relays: SQLite notes in memory what a process has
        # locked, so in a child the app's database would stay locked.
        self._lock = ForkLock()
        self._turns = RelayTurns(
            *(self.name, self.rows, self._publisher),
            is_quiet=self.is_direct,
        )
        self._stops = False
        self._quiet = QuietLogger()
        # What the thread has failed at; since when; and whether the log says so.
        self._trouble, self._since, self._is_logged = "", 0.0, False
        self._pause = 0.0
        self._listening: Listening | None = None
        self._listen_at = 0.0

    def abandon(self) -> None:
        if self._bell is not None:
            # This process's copies.
            self._bell.close()
        if self._thread is not None:
            # The thread of the parent uses connections of the engine's, and perhaps its
            # locks.
            self.rows.engine.dispose(close=False)
        self._thread = self._bell = None
        self._begin()

    # Any thread.

    def start(self) -> None:
        """Start the thread, if it does not run."""
        self.here()
        if self.is_direct or (self._thread is not None and not self._stops):
            return
        self.join()
        with self._lock:
            if self._thread is not None:
                return
            if why := unpatched.unfit():
                self._quiet.warning(
                    "The outbox %r is not relayed by this process: %s. Run 'flask push"
                    " relay'.",
                    *(self.name, why),
                )
                return
            self._stops, self._bell = False, Bell()
            name = "flask-push-outbox"
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._thread = thread
            unpatched.start_apart(thread)

    def ring(self) -> None:
        """There are new rows."""
        if self._bell is not None:
            self._bell.ring()

    def stop(self) -> None:
        """Let the thread end, and give back the lease. Takes no lock, so that a finalizer
        may call it."""
        self._stops = True
        self.ring()

    def join(self, timeout: float = _EXIT_SECONDS) -> None:
        """Wait until the thread has ended, if there is one."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def relay(self) -> None:
        """Publish all committed rows in this thread, or wait until another process has.

        :raises NotPublished: If it could not be done now, or another exception of the store
            or of the database.
        """
        self.here()
        deadline = time.monotonic() + _CALL_SECONDS
        turns = self._turns
        try:
            while True:
                with self._lock:
                    more = turns.turn()
                    holds = turns.lease.holds
                if more:
                    continue
                if holds or not self.rows.count():
                    return
                if time.monotonic() >= deadline:
                    raise NotPublished(
                        f"Another process holds the lease of the outbox {self.name!r}, and"
                        " has not published all rows. Its log says why."
                    )
                time.sleep(_LOOK_SECONDS)
        finally:
            if self._thread is None:
                self._release()

    def relay_quietly(self) -> None:
        """As :meth:`relay`, after a commit, which no exception must hide."""
        try:
            self.relay()
        except Exception as error:
            self._note(error)
        else:
            self._note(None)

    def _release(self) -> None:
        """Give the lease back, unless the store or the database is in trouble."""
        with self._lock, contextlib.suppress(*_TROUBLE):
            self._turns.release()

    # The thread.

    def _run(self) -> None:
        bell = self._bell
        assert bell is not None
        try:
            while not self._stops:
                seconds = self._turn()
                if seconds and not self._stops:
                    self._wait(bell, seconds)
        finally:
            self._release()
            self._listen_no_more()
            self._thread = self._bell = None
            bell.close()

    def _turn(self) -> float:
        """
        :return: How many seconds there are until the next turn.
        """
        turns = self._turns
        try:
            with self._lock:
                more = turns.turn()
        except Exception as error:
            self._note(error)
            self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE)
            return self._pause
        self._note(None)
        self._pause = 0.0
        if more:
            return 0
        if not turns.lease.holds:
            self._listen_no_more()
            return turns.lease.pause
        return turns.lease.pause if self._is_notified() else _POLL_SECONDS

    def _wait(self, bell: Bell, seconds: float) -> None:
        began = time.monotonic()
        try:
            bell.wait(seconds, self._listening)
        except Exception as error:
            # A connection that is closed can't be waited for.
            self._listening_failed(error)
        if self._pause or not self._turns.lease.holds:
            # Each commit of this process rings.
            least = self._pause or _LOOK_SECONDS
            if not self._stops:
                time.sleep(max(0.0, min(least, began + least - time.monotonic())))
        if self._listening is not None:
            try:
                self._listening.take()
            except Exception as error:
                self._listening_failed(error)

    def _is_notified(self) -> bool:
        """Whether PostgreSQL notifies of new rows."""
        engine, now = self.rows.engine, time.monotonic()
        if self._listening is None and now >= self._listen_at and may_listen(engine):
            self._listen_at = now + _LISTEN_SECONDS
            try:
                self._listening = Listening(engine, channel_of(self.rows.table))
            except Exception as error:
                self._listening_failed(error)
        return self._listening is not None and self._listening.works

    def _listening_failed(self, error: Exception) -> None:
        self._listen_no_more()
        self._quiet.warning(
            "Could not listen to PostgreSQL for the outbox %r, and ask it %d times a second"
            " instead: %s",
            *(self.name, 1 / _POLL_SECONDS, error),
        )

    def _listen_no_more(self) -> None:
        if self._listening is not None:
            with contextlib.suppress(Exception):
                self._listening.close()
            self._listening = None

    def _note(self, error: Exception | None) -> None:
        """Log the beginning and the end of trouble."""
        if error is None:
            if self._trouble and self._is_logged:
                seconds = round(time.monotonic() - self._since)
                logger.warning(
                    "The outbox %r is relayed again, after %d seconds.", self.name, seconds
                )
            self._trouble, self._is_logged = "", False
            return
        if is_first := not self._trouble:
            self._since = time.monotonic()
        self._trouble = f"{type(error).__name__}: {error}"
        if not isinstance(error, _TROUBLE):
            self._quiet.exception("A step of the relay of an outbox failed; it goes on.")
        elif is_first and isinstance(error, SQLAlchemyError):
            self._is_logged = self._quiet.error(
                "Could not read the table of the outbox %r, and try again. If it does not"
                " exist, make it by a migration or by create_all: %s",
                *(self.name, error),
            )
        elif is_first:
            self._is_logged = self._quiet.error(
                "Could not relay the outbox %r to the store, and try again: %s",
                *(self.name, error),
            )


_relays: weakref.WeakSet[Relay] = weakref.WeakSet()


@atexit.register
def _finish() -> None:
    relays = all_of(_relays)
    for relay in relays:
        relay.stop()
    for relay in relays:
        relay.join()
