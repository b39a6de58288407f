"""The way from a worker to a hub in a process of its own.

A worker connects to the hub when it has its first stream, and stays connected. So it logs
what the hub logs, and notices at once when the hub dies, and starts the next. To hand a
stream over, it waits for no answer. If the hub dies before it has read a message, the
kernel closes the sockets that were sent with it, and the browsers reconnect.
"""

from __future__ import annotations

import collections.abc as cabc
import logging
import random
import threading
import time
import typing as t

from .._delivery.follow import NOT_FOLLOWING
from .._delivery.stream import Stream
from .._event import Position
from .._ipc.client import Client
from .._ipc.files import HubFiles
from .._ipc.files import SEND_SECONDS
from .._ipc.kind import Message
from .._ipc.messages import UNREADABLE
from .._ipc.protocol import Adopt
from .._ipc.protocol import Bye
from .._ipc.protocol import Expect
from .._ipc.protocol import ExpectFollow
from .._ipc.protocol import Follow
from .._ipc.protocol import Hello
from .._ipc.protocol import LogLine
from .._ipc.protocol import new_token
from .._ipc.protocol import Reader
from .._ipc.protocol import Refused
from .._ipc.protocol import Welcome
from .._ipc.seen import SeenFile
from .._ipc.version import is_newer
from .._ipc.version import version
from .._system.fork import PerProcess
from .._system.logs import QuietLogger
from .._system.turns import wait_again
from .door import Door
from .door import NoHubThere
from .hub_connection import HubConnection
from .spawn import connect_to_hub
from .spawn import is_passing
from .spawn import NoHub
from .spawn import NotNow
from .spawn import replace_hub
from .stand_in import StandIn

logger = logging.getLogger("flask_push")

# Seconds that a hub may take to answer the hello. It may be starting.
_WELCOME_SECONDS = 5.0
# Seconds before a hub that refuses this process, or reads nothing, is tried again.
_AGAIN_SECONDS = 1.0
_BUSY = f"It has read nothing for {SEND_SECONDS:g} seconds."


class ProcessDoor(PerProcess):
    """Hands streams over to the hub that has these files. From any thread. A process that
    is forked connects for itself.

    :param hello: The values of the :class:`.Hello`.
    :param starts: Whether to start the hub if there is none.
    :param instead: Makes the door to a thread that stands in while no process can be had.
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
        self._seen = SeenFile(files.seen)
        self.hello = Hello({"began": time.monotonic(), **hello}, version())
        self._starts = starts
        self._stand_in = StandIn(instead)
        self._quiet = QuietLogger()
        self._reader = Reader("worker")
        self._reset()
        super().__init__()

    def __repr__(self) -> str:
        there = "there" if self._welcomed.is_set() else "coming"
        state = self._stand_in.door or ("not there" if self._connection is None else there)
        return f"<ProcessDoor {self.files.sock}: {state}>"

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._connection: HubConnection | None = None
        self._welcomed = threading.Event()
        self._stopped = self._started = self._follows = False
        self._no_nginx = self._refused = ""
        self._refused_until = self._busy_until = 0.0

    def adopt(self, stream: Stream, client: Client) -> None:
        """As :meth:`.Door.adopt`."""
        message: Message = Adopt(stream)
        if stream.follow is not NOT_FOLLOWING:
            self._wait_for_hub_that_follows()
            message = Follow(stream)
        if (thread := self._send_or_stand_in(message, client.fds)) is not None:
            thread.adopt(stream, client)
        else:
            client.close()

    def token(self, stream: Stream) -> str:
        """As :meth:`.Door.token`."""
        token = new_token(stream.is_plain)
        message: Message = Expect(stream, token)
        if stream.follow is not NOT_FOLLOWING:
            self._wait_for_hub_that_follows()
            message = ExpectFollow(stream, token)
        if (thread := self._send_or_stand_in(message, [])) is not None:
            return thread.token(stream)
        # Nginx reports a failure of the server if the hub does not listen yet.
        if not wait_again(self._welcomed.wait, SEND_SECONDS):
            raise RuntimeError("the hub has not answered yet.")
        if self._no_nginx:
            raise RuntimeError(self._no_nginx)
        return token

    def _wait_for_hub_that_follows(self) -> None:
        """Find out before a client's socket is sent whether the hub knows streams of runs:
        an older one drops the message, and closes the socket.

        :raises RuntimeError: If it does not.
        """
        if self._send_or_stand_in(None, []) is not None:
            return
        if not wait_again(self._welcomed.wait, _WELCOME_SECONDS):
            raise RuntimeError("The hub has not answered yet.")
        if not self._follows:
            raise RuntimeError(
                "The hub has an older version, which knows no runs. End it ('flask push"
                " stop'); the workers start the next one."
            )

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    def positions(self, stream: Stream | None = None) -> list[Position]:
        """As :meth:`.Door.positions`. That of a thread that stands in is the first."""
        thread, written = self._stand_in.door, self._seen.read()
        found = [] if thread is None else thread.positions()
        return found if written is None else [*found, written]

    def answers(self, until: float) -> str | None:
        """As :meth:`.Door.answers`."""
        return self._stand_in.answers(self.files, until, has_to_run=not self._starts)

    def _send_or_stand_in(self, message: Message | None, fds: list[int]) -> Door | None:
        """Send a message to the hub, or only connect to it. If no hub process can be had,
        return the thread that stands in for it."""
        self.here()
        with self._lock:
            thread = self._stand_in.current()
            if thread is None:
                try:
                    self._send(message, fds)
                except NotNow as error:
                    raise RuntimeError(f"The hub takes no stream now. {error}") from error
                except NoHub as error:
                    thread = self._stand_in.count_failure(str(error), self.files)
                    if thread is None:
                        raise NoHubThere(f"There is no hub now. {error}") from error
            return thread

    def stop(self) -> None:
        """Disconnect. The hub goes on for the other workers, and lingers for the next."""
        self.here()
        with self._lock:
            self._stopped = True
            self._disconnect()
            self._stand_in.stop()

    def _send(self, message: Message | None, fds: list[int]) -> None:
        if self._stopped:
            raise NotNow("This process is ending, and takes no new streams.")
        if (now := time.monotonic()) < self._refused_until:
            raise NoHub(self._refused)
        if now < self._busy_until:
            raise NotNow(_BUSY)
        for attempt in 0, 1:
            try:
                connection = self._connection or self._connect()
                if message is not None:
                    connection.send(message.to_json(), fds)
                return
            except OSError as error:
                if isinstance(error, TimeoutError):
                    # The threads that wait for the lock need not wait as long again.
                    self._busy_until = time.monotonic() + _AGAIN_SECONDS
                    raise NotNow(_BUSY) from error
                if is_passing(error):
                    raise NotNow(str(error)) from error
                # Usually the hub has died since the last message.
                if self._connection is not None:
                    self._connection.fail(error)
                self._disconnect()
                if attempt:
                    raise NoHub(f"It could not be sent a message: {error}") from error

    def _connect(self) -> HubConnection:
        sock, self._started = connect_to_hub(self.files, self._starts)
        connection = self._connection = HubConnection(sock)
        self._welcomed.clear()
        try:
            connection.start(self)
        except RuntimeError as error:
            # Without the thread, this process would not notice that the hub has died.
            self._connection = None
            connection.close()
            raise NotNow(str(error)) from error
        try:
            connection.send(self.hello.to_json())
        except OSError:
            # Before a hello, the hub accepts nothing else.
            self._disconnect()
            raise
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # The thread that reads it closes it. Until then it needs the descriptor.
            connection.shut()

    # What the hub sends. On the thread that reads the connection.

    def handle(self, connection: HubConnection, received: dict[str, t.Any]) -> None:
        if UNREADABLE in received:
            reason = received[UNREADABLE]
            self._quiet.error("Received an invalid message from the hub: %s", reason)
            return
        try:
            message = self._reader.read(received)
            if (handler := _HANDLERS.get(type(message))) is not None:
                handler(self, message, connection)
        except Exception:
            self._quiet.exception("Failed to handle a message from the hub.")

    def _log_line(self, line: LogLine, _: HubConnection) -> None:
        logger.log(line.level, "%s", line.text)

    def _be_welcome(self, welcome: Welcome, connection: HubConnection) -> None:
        connection.welcomed = True
        self._no_nginx, self._follows = welcome.no_accel, welcome.follows
        self._welcomed.set()
        self._stand_in.process_works()
        if self._starts and is_newer(version(), welcome.version):
            replace_hub(self.files, welcome.version)

    def _be_refused(self, refused: Refused, connection: HubConnection) -> None:
        self._quiet.error("The hub refuses this process. %s", refused.reason)
        with self._lock:
            self._refused = refused.reason
            self._refused_until = time.monotonic() + _AGAIN_SECONDS
            if self._connection is connection:
                self._disconnect()

    def _hub_ends(self, _: Bye, connection: HubConnection) -> None:
        with self._lock:
            connection.lost = False
            if self._connection is connection:
                self._disconnect()

    def closed(self, connection: HubConnection) -> None:
        """The hub has died, or has closed the connection."""
        with self._lock:
            is_current = self._connection is connection
            if is_current:
                self._disconnect()
            if is_current and self._started and not connection.welcomed:
                self._stand_in.count_failure("It ended before it had started.", self.files)
                return
        if connection.welcomed and (is_current or connection.lost):
            logger.warning("The hub has died. Its browsers reconnect to the next one.")
        if not is_current:
            return
        if connection.welcomed:
            time.sleep(random.uniform(0, 0.05))
        else:
            # The next hub may do the same, again and again.
            self._quiet.warning("The hub ended the connection before it had answered.")
            time.sleep(_AGAIN_SECONDS)
        with self._lock:
            if self._connection is None and not self._stopped:
                self._connect_again()

    def _connect_again(self) -> None:
        try:
            self._connect()
        except NotNow as error:
            self._quiet.warning("Could not connect to the next hub yet: %s", error)
        except (NoHub, OSError) as error:
            self._disconnect()
            self._stand_in.count_failure(str(error), self.files)

    def abandon(self) -> None:
        """Close the copy of the parent's connection. Only the parent may send on it."""
        self._stand_in.abandon()
        if self._connection is not None:
            self._connection.close()
        self._reset()


_HANDLERS: dict[type, cabc.Callable[[ProcessDoor, t.Any, HubConnection], None]] = {
    LogLine: ProcessDoor._log_line,
    Welcome: ProcessDoor._be_welcome,
    Refused: ProcessDoor._be_refused,
    Bye: ProcessDoor._hub_ends,
}
