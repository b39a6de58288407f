"""The worker's end of the door: clients go to a hub in a process of its own.

A worker comes to the door when it has its first client, and stays there: what the hub
logs, the worker says, and when the hub dies, the worker knows at once and starts the
next. Handing over never waits for an answer. What is sent to a hub that is about to
start, or dies with it, is closed by the kernel, and its browser comes back.
"""

from __future__ import annotations

import collections.abc as cabc
import logging
import os
import random
import select
import threading
import time
import typing as t
import weakref

from .._delivery.snapshot import stream_to_json
from .._delivery.stream import Stream
from .._ipc.files import HubFiles
from .._ipc.files import PATIENCE
from .._ipc.messages import close_all
from .._ipc.messages import Messages
from .._ipc.messages import MOST_SAID
from .._ipc.messages import UNREADABLE
from .._ipc.protocol import new_ticket
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
        self._hello = {"hello": hello, "version": version()}
        self._starts = starts
        self._make_thread = instead
        self._quiet = QuietLogger()
        self._stopped = False
        self._forget()
        super().__init__()

    def __repr__(self) -> str:
        there = "there" if self._welcomed.is_set() else "coming"
        state = self._thread or ("not there" if self._door is None else there)
        return f"<ProcessDoor {self.files.sock}: {state}>"

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._door: Messages | None = None
        self._welcomed = threading.Event()
        self._started, self._no_accel = False, ""
        self._refused, self._refused_until, self._busy_until = "", 0.0, 0.0
        self._failures: list[float] = []
        self._thread: Door | None = None
        self._respite, self._thread_until = _RESPITE, 0.0

    @property
    def all_files(self) -> list[HubFiles]:
        return [self.files]

    def adopt(self, stream: Stream, fd: int, drain: int | None = None) -> None:
        """Give a client's descriptors to the hub. If this raises, they are the caller's
        still.

        :raises RuntimeError: If no hub takes it now.
        """
        fds = [fd] if drain is None else [fd, drain]
        thread = self._bring({"adopt": stream_to_json(stream)}, fds)
        if thread is not None:
            thread.adopt(stream, fd, drain)
            return
        for sent in fds:
            os.close(sent)

    def ticket(self, stream: Stream) -> str:
        """A ticket with which nginx brings the stream's client.

        :raises RuntimeError: If no hub takes it now.
        """
        ticket = new_ticket()
        thread = self._bring({"expect": stream_to_json(stream), "ticket": ticket}, [])
        if thread is not None:
            return thread.ticket(stream)
        # Nginx takes it for the server's failure if nobody listens yet.
        if not self._welcomed.wait(PATIENCE):
            raise RuntimeError("the hub has not answered yet.")
        if self._no_accel:
            raise RuntimeError(self._no_accel)
        return ticket

    def _bring(self, message: dict[str, t.Any], fds: list[int]) -> Door | None:
        """Send it to the hub; or what has to do instead, if there is none for a while."""
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

    def _send(self, message: dict[str, t.Any], fds: list[int]) -> None:
        if self._stopped:
            raise NotNow("This process is ending, and takes no new streams.")
        now = time.monotonic()
        if now < self._refused_until:
            raise NoHub(self._refused)
        if now < self._busy_until:
            raise NotNow(_BUSY)
        for attempt in 0, 1:
            try:
                door = self._door or self._come()
                door.send(message, fds)
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

    def _come(self) -> Messages:
        sock, self._started = self._enter()
        door = self._door = Messages(sock, most=MOST_SAID)
        self._welcomed.clear()
        listener = threading.Thread(
            target=_listen,
            args=(weakref.ref(self), door),
            name="flask-push door",
            daemon=True,
        )
        try:
            listener.start()
        except RuntimeError as error:
            # Without one, it would not notice that the hub has died.
            self._door = None
            door.close()
            raise NotNow(str(error)) from error
        try:
            door.send(self._hello)
        except OSError:
            # Without it, the hub takes nothing else.
            self._leave()
            raise
        return door

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
        door, self._door = self._door, None
        if door is not None:
            # Not closed before the thread that listens is done with the descriptor.
            door.shut()

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

    def heard(self, door: Messages, message: dict[str, t.Any]) -> None:
        """Take what has come by the door. On the thread that listens."""
        try:
            self._take(door, message)
        except Exception:
            self._quiet.exception("Could not do what the hub asked for.")

    def _take(self, door: Messages, message: dict[str, t.Any]) -> None:
        if UNREADABLE in message:
            reason = message[UNREADABLE]
            self._quiet.error("Received an invalid message from the hub: %s", reason)
        elif "log" in message:
            level, text = message["log"]
            logger.log(level, "%s", text)
        elif "welcome" in message:
            self._no_accel = message["no_accel"]
            self._welcomed.set()
            self._respite = _RESPITE
            if self._starts and is_newer(version(), message["version"]):
                self._replace(message["version"])
        elif "refused" in message:
            self._quiet.error("The hub refuses this process. %s", message["refused"])
            with self._lock:
                self._refused = message["refused"]
                self._refused_until = time.monotonic() + _PAUSE
                if self._door is door:
                    self._leave()
        elif "bye" in message:
            with self._lock:
                if self._door is door:
                    self._leave()

    def gone(self, door: Messages) -> None:
        """The hub has died, or left. On the thread that listens."""
        with self._lock:
            if self._door is not door:
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
            if self._door is None and not self._stopped:
                try:
                    self._come()
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
        if self._door is not None:
            self._door.close()
        self._stopped = False
        self._forget()


def _listen(worker: weakref.ref[ProcessDoor], door: Messages) -> None:
    # Waiting has no end, unlike sending, which is what the socket's timeout is for.
    readable = select.poll()
    readable.register(door, select.POLLIN)
    try:
        while readable.poll():
            for message, fds in door.receive():
                # The hub sends none.
                close_all(fds)
                if (it := worker()) is not None:
                    it.heard(door, message)
                del it
    except (OSError, EOFError):
        pass
    try:
        if (it := worker()) is not None:
            it.gone(door)
    finally:
        door.close()
