"""The worker's end of the door: clients go to a hub in a process of its own.

A worker comes to the door when it has its first client, and stays there: what the hub
logs, the worker says, and when the hub dies, the worker knows at once and starts the
next. Handing over never waits for an answer. What is sent to a hub that is about to
start, or dies with it, is closed by the kernel, and its browser comes back.
"""

from __future__ import annotations

import collections.abc as cabc
import logging
import random
import select
import threading
import time
import typing as t
import weakref

from .._delivery.stream import Stream
from .._ipc.client import Client
from .._ipc.files import HubFiles
from .._ipc.files import PATIENCE
from .._ipc.messages import close_all
from .._ipc.messages import Messages
from .._ipc.messages import MOST_SAID
from .._ipc.messages import UNREADABLE
from .._ipc.protocol import Adopt
from .._ipc.protocol import Bye
from .._ipc.protocol import Expect
from .._ipc.protocol import Hello
from .._ipc.protocol import LogLine
from .._ipc.protocol import Message
from .._ipc.protocol import new_ticket
from .._ipc.protocol import Reader
from .._ipc.protocol import Refused
from .._ipc.protocol import Welcome
from .._ipc.version import is_newer
from .._ipc.version import version
from .._system.fork import PerProcess
from .._system.logs import QuietLogger
from .door import Door
from .spawn import enter
from .spawn import is_passing
from .spawn import NoHub
from .spawn import NotNow

logger = logging.getLogger("flask_push")

# So many starts that fail within so many seconds, and a thread has to do: for a minute,
# then for twice as long each time, up to a quarter of an hour.
_FAILURES = 3
_WITHIN = 60.0
_RESPITE = 60.0
_MOST_RESPITE = 900.0
# Seconds before a hub that has refused us, or takes nothing, is asked again.
_PAUSE = 1.0
_BUSY = f"It has taken nothing for {PATIENCE:g} seconds."


class ProcessDoor(PerProcess):
    """Hands clients to the hub whose files these are. Any thread, and after a fork anew.

    :param hello: What the hub has to know: the store, and how to treat streams.
    :param starts: Whether it is started if there is none.
    :param instead: Makes the hub that stands in while no process can be had.
    """

    def __init__(
        self,
        files: HubFiles,
        hello: dict[str, t.Any],
        *,
        starts: bool = True,
        instead: cabc.Callable[[], Door] | None = None,
    ) -> None:
        self.files = files
        hello = {"began": time.monotonic(), **hello}
        self._hello = Hello(hello, version())
        self._starts = starts
        self._make_thread = instead
        self._quiet = QuietLogger()
        self._reader = Reader("worker")
        self._stopped = False
        self._forget()
        super().__init__()

    def __repr__(self) -> str:
        there = "there" if self._welcomed.is_set() else "coming"
        state = self._thread or ("not there" if self._connection is None else there)
        return f"<ProcessDoor {self.files.sock}: {state}>"

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._connection: Messages | None = None
        self._welcomed = threading.Event()
        self._started, self._no_accel = False, ""
        self._refused, self._refused_until, self._busy_until = "", 0.0, 0.0
        self._failures: list[float] = []
        self._thread: Door | None = None
        self._respite, self._thread_until = _RESPITE, 0.0

    @property
    def all_files(self) -> list[HubFiles]:
        return [self.files]

    def adopt(self, stream: Stream, client: Client) -> None:
        """As :meth:`.Door.adopt`."""
        thread = self._send_or_stand_in(Adopt(stream), client.fds)
        if thread is not None:
            thread.adopt(stream, client)
            return
        client.close()

    def ticket(self, stream: Stream) -> str:
        """As :meth:`.Door.ticket`."""
        ticket = new_ticket()
        thread = self._send_or_stand_in(Expect(stream, ticket), [])
        if thread is not None:
            return thread.ticket(stream)
        # Nginx takes it for the server's failure if nobody listens yet.
        if not self._welcomed.wait(PATIENCE):
            raise RuntimeError("the hub has not answered yet.")
        if self._no_accel:
            raise RuntimeError(self._no_accel)
        return ticket

    def _send_or_stand_in(self, message: Message, fds: list[int]) -> Door | None:
        """Send a message to the hub. If no hub process can be had, return the thread that
        stands in for it."""
        self.here()
        with self._lock:
            thread = self._instead()
            if thread is None:
                try:
                    self._send(message, fds)
                except NotNow as error:
                    raise RuntimeError(f"The hub takes no stream now. {error}") from error
                except NoHub as error:
                    thread = self._fail(str(error))
                    if thread is None:
                        raise RuntimeError(f"There is no hub now. {error}") from error
            return thread

    def stop(self) -> None:
        """Leave. The hub goes on, for others and, a while, for those who come back."""
        self.here()
        with self._lock:
            self._stopped = True
            self._leave()
            if self._thread is not None:
                self._thread.stop()

    def _send(self, message: Message, fds: list[int]) -> None:
        if self._stopped:
            raise NotNow("This process is ending, and takes no new streams.")
        now = time.monotonic()
        if now < self._refused_until:
            raise NoHub(self._refused)
        if now < self._busy_until:
            raise NotNow(_BUSY)
        for attempt in 0, 1:
            try:
                connection = self._connection or self._connect()
                connection.send(message.to_json(), fds)
                return
            except OSError as error:
                if isinstance(error, TimeoutError):
                    # Others, who wait for their turn here, need not wait as long again.
                    self._busy_until = time.monotonic() + _PAUSE
                    raise NotNow(_BUSY) from error
                if is_passing(error):
                    raise NotNow(str(error)) from error
                # It has died since.
                self._leave()
                if attempt:
                    raise NoHub(f"It does not take what it is sent: {error}") from error

    def _connect(self) -> Messages:
        sock, self._started = self._enter()
        connection = self._connection = Messages(sock, most=MOST_SAID)
        self._welcomed.clear()
        listener = threading.Thread(
            target=_read,
            args=(weakref.ref(self), connection),
            name="flask-push door",
            daemon=True,
        )
        try:
            listener.start()
        except RuntimeError as error:
            # Without one, it would not notice that the hub has died.
            self._connection = None
            connection.close()
            raise NotNow(str(error)) from error
        try:
            connection.send(self._hello.to_json())
        except OSError:
            # Without it, the hub takes nothing else.
            self._leave()
            raise
        return connection

    def _enter(self) -> tuple[t.Any, bool]:
        try:
            return enter(self.files, self._starts)
        except NoHub as error:
            if self._starts:
                raise
            raise NoHub(
                f"PUSH_HUB names {self.files.sock}, where none answers ({error}). Start"
                f" it: 'flask push hub --socket {self.files.sock}'."
            ) from error

    def _leave(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # Not closed before the thread that reads it is done with the descriptor.
            connection.shut()

    # While there is no process.

    def _instead(self) -> Door | None:
        """The thread that stands in, unless it is time to try again."""
        if self._thread is not None and time.monotonic() >= self._thread_until:
            self._thread.stop()
            self._thread = None
            self._failures.clear()
        return self._thread

    def _fail(self, reason: str) -> Door | None:
        """Count a start that failed. The thread that stands in, when it were too many."""
        now = time.monotonic()
        self._failures = [when for when in self._failures if when > now - _WITHIN] + [now]
        if len(self._failures) < _FAILURES or self._make_thread is None:
            return None
        logger.error(
            "No hub process can be had, and for %d seconds a thread of this one stands in."
            " Its streams end with this process. %s\n%s",
            *(self._respite, reason, self.files.last_words()),
        )
        self._thread = self._make_thread()
        self._thread_until = now + self._respite
        self._respite = min(self._respite * 2, _MOST_RESPITE)
        return self._thread

    # What the hub says.

    def handle(self, connection: Messages, received: dict[str, t.Any]) -> None:
        """Handle a message from the hub. On the thread that reads the connection."""
        if UNREADABLE in received:
            reason = received[UNREADABLE]
            self._quiet.error("Received an invalid message from the hub: %s", reason)
            return
        try:
            message = self._reader.read(received)
            if (handler := _HANDLERS.get(type(message))) is not None:
                handler(self, message, connection)
        except Exception:
            self._quiet.exception("Could not do what the hub asked for.")

    def _log_line(self, line: LogLine, _: Messages) -> None:
        logger.log(line.level, "%s", line.text)

    def _be_welcome(self, welcome: Welcome, _: Messages) -> None:
        self._no_accel = welcome.no_accel
        self._welcomed.set()
        self._respite = _RESPITE
        if self._starts and is_newer(version(), welcome.version):
            self._replace(welcome.version)

    def _be_refused(self, refused: Refused, connection: Messages) -> None:
        self._quiet.error("The hub refuses this process. %s", refused.reason)
        with self._lock:
            self._refused = refused.reason
            self._refused_until = time.monotonic() + _PAUSE
            if self._connection is connection:
                self._leave()

    def _hub_ends(self, _: Bye, connection: Messages) -> None:
        with self._lock:
            if self._connection is connection:
                self._leave()

    def gone(self, connection: Messages) -> None:
        """The hub has died, or left. On the thread that listens."""
        with self._lock:
            if self._connection is not connection:
                return
            self._leave()
            welcomed = self._welcomed.is_set()
            if self._started and not welcomed:
                self._fail("It ended before it had begun.")
                return
        if welcomed:
            logger.warning("The hub has died. Its streams come back, to the next one.")
            time.sleep(random.uniform(0, 0.05))
        else:
            # It may do so again and again.
            self._quiet.warning("The hub ended the connection before it had answered.")
            time.sleep(_PAUSE)
        with self._lock:
            if self._connection is None and not self._stopped:
                try:
                    self._connect()
                except NotNow as error:
                    self._quiet.warning("Could not connect to the next hub yet: %s", error)
                except (NoHub, OSError) as error:
                    self._leave()
                    self._fail(str(error))

    def _replace(self, older: str) -> None:
        from .spawn import start_process

        logger.info("Version %s of the hub is replaced by %s.", older, version())
        try:
            start_process(self.files, "--replace")
        except OSError as error:
            logger.error("Version %s of the hub can't be replaced: %s", older, error)

    def abandon(self) -> None:
        """Close the copy of the parent's connection, on which only one may send."""
        if self._thread is not None:
            self._thread.here()
        if self._connection is not None:
            self._connection.close()
        self._stopped = False
        self._forget()


_HANDLERS: dict[type, cabc.Callable[[ProcessDoor, t.Any, Messages], None]] = {
    LogLine: ProcessDoor._log_line,
    Welcome: ProcessDoor._be_welcome,
    Refused: ProcessDoor._be_refused,
    Bye: ProcessDoor._hub_ends,
}


def _read(worker: weakref.ref[ProcessDoor], connection: Messages) -> None:
    # Waits without end, although the socket has a timeout, which is for sending.
    readable = select.poll()
    readable.register(connection, select.POLLIN)
    try:
        while readable.poll():
            for message, fds in connection.receive():
                # The hub sends none.
                close_all(fds)
                if (door := worker()) is not None:
                    door.handle(connection, message)
                del door
    except (OSError, EOFError):
        pass
    try:
        if (door := worker()) is not None:
            door.gone(connection)
    finally:
        connection.close()
