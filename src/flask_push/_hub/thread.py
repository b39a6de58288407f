"""A hub in a thread of this process. It starts with the first stream, in each process."""

from __future__ import annotations

import atexit
import collections.abc as cabc
import contextlib
import threading
import time
import typing as t
import weakref
from concurrent.futures import Future
from contextvars import Context
from functools import partial
from pathlib import Path

from .._delivery.options import Options
from .._delivery.stream import Stream
from .._event import Position
from .._ipc.client import Client
from .._ipc.listing_protocol import ChannelPage
from .._ipc.listing_protocol import StreamPage
from .._ipc.status import trouble_in
from .._system import sockets
from .._system import unpatched
from .._system.descriptors import raise_limit
from .._system.fork import all_of
from .._system.fork import PerProcess
from .._system.logs import log_failures
from .._system.logs import QuietLogger
from .._system.polling import new_loop
from ..brokers import Bridge
from ..brokers import Broker
from .figure_keeper import Take
from .listing import answer
from .listing import Asked
from .loop import HubLoop
from .nginx import NginxListener

#: Seconds for which a test waits for what its streams show.
SETTLE_SECONDS = 1.0
#: Seconds that the thread may take to end all streams, or to listen for nginx.
STOP_SECONDS = 1.0


class ThreadDoor(PerProcess):
    """A :class:`.Door` to a hub in a thread.

    :param broker: Called on the hub's thread when it starts.
    :param accel: The path of the socket on which the hub listens for nginx.
    :param bridges: The bridges that the hub runs.
    :param take: Returns what this process has counted.
    """

    def __init__(
        self,
        broker: cabc.Callable[[], Broker],
        options: Options,
        accel: Path | None = None,
        bridges: cabc.Collection[Bridge] = (),
        take: Take | None = None,
    ) -> None:
        self._broker = broker
        self._take = take
        self._options = options
        self._nginx_path = accel
        self._bridges = bridges
        self._stopped = False
        self._quiet = QuietLogger()
        self._reset()
        _threads.add(self)
        super().__init__()

    def __repr__(self) -> str:
        return f"<ThreadDoor {self._hub or 'not running'}>"

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._thread: unpatched.Thread | None = None
        self._hub: HubLoop | None = None

    def adopt(self, stream: Stream, client: Client) -> None:
        """As :meth:`.Door.adopt`.

        :raises RuntimeError: If this process is about to end.
        """
        self.here()
        with self._lock:
            self._started().arrivals.add(stream, client)

    def token(self, stream: Stream) -> str:
        """As :meth:`.Door.token`.

        :raises RuntimeError: If there are too many, or the hub can't listen for nginx.
        """
        self.here()
        with self._lock:
            hub = self._started()
            listening: Future[NginxListener] = Future()
            hub.loop.call_soon_threadsafe(self._listen, hub, listening, context=Context())
        return listening.result(STOP_SECONDS).token(stream)

    @property
    def known(self) -> Position | None:
        """The hub's position in the store; ``None`` before it has read any. Any thread."""
        hub = self._hub
        return None if hub is None else hub.known

    def positions(self, stream: Stream | None = None) -> list[Position]:
        """As :meth:`.Door.positions`."""
        known = self.known
        return [] if known is None else [known]

    def answers(self, until: float) -> str | None:
        """As :meth:`.Door.answers`."""
        self.here()
        hub, answered = self._hub, unpatched.lock()
        if hub is None:
            return None
        found: list[str] = []

        def answer() -> None:
            found.append(trouble_in(hub.hub.status()))
            answered.release()

        with contextlib.suppress(RuntimeError):  # It may just have ended.
            hub.loop.call_soon_threadsafe(answer, context=Context())
            if not answered.acquire(timeout=max(0, until - time.monotonic())):
                raise TimeoutError("The thread of the hub does not answer.")
            return found[0]
        return None

    def listed(self, asked: Asked) -> StreamPage | ChannelPage:
        """A page of the streams or channels of this process.

        :raises TimeoutError: If the thread does not answer.
        """
        hub = self._hub
        if hub is None:
            return answer(None, asked)
        page: Future[StreamPage | ChannelPage] = Future()
        try:
            hub.loop.call_soon_threadsafe(_list, hub, asked, page, context=Context())
        except RuntimeError:
            return answer(None, asked)  # It has just ended.
        return page.result(STOP_SECONDS)

    def settle(self) -> None:
        """Wait, but not for long, until the store has whom the streams show: all that were
        adopted, and none whose client has left. For an app that is tested."""
        hub, settled = self._hub, threading.Event()
        if hub is None:
            return
        look = partial(_look, hub, settled, time.monotonic() + SETTLE_SECONDS)
        with contextlib.suppress(RuntimeError):  # It may just have ended.
            # The loop first finds out which clients have left.
            later = partial(hub.loop.call_later, 0, look)
            hub.loop.call_soon_threadsafe(later, context=Context())
            settled.wait(SETTLE_SECONDS)

    def stop(self) -> None:
        """End all streams, and wait until that is done. This process can't start the hub
        again; one that is forked from it can."""
        self.here()
        with self._lock:
            self._stopped = True
            hub = self._hub
            if self._thread is None or hub is None:
                return
            try:
                hub.loop.call_soon_threadsafe(hub.loop.stop)
            except RuntimeError:
                return  # It has just ended.
            if self._thread is not threading.current_thread():
                self._thread.join(STOP_SECONDS)

    def _started(self) -> HubLoop:
        hub = self._hub
        if hub is None or self._thread is None or not self._thread.is_alive():
            hub = self._start()
        return hub

    def _listen(self, hub: HubLoop, listening: Future[NginxListener]) -> None:
        try:
            if self._nginx_path is None:
                raise RuntimeError("The hub has no socket for nginx: set PUSH_ACCEL.")
            listening.set_result(hub.listen(self._nginx_path))
        except RuntimeError as error:
            listening.set_exception(error)

    def _start(self) -> HubLoop:
        if self._stopped:
            raise RuntimeError("This process is ending, and takes no new streams.")
        if reason := unpatched.unfit():
            raise RuntimeError(f"A hub in a thread can't work here: {reason}.")
        raise_limit()
        started = unpatched.lock()
        results: list[HubLoop | BaseException] = []
        # In a context of its own: the caller's is that of a request, and would live on.
        run = partial(Context().run, self._run, results, started.release)
        self._thread = unpatched.start_thread(run)
        started.acquire()
        (result,) = results
        if isinstance(result, HubLoop):
            return result
        self._thread.join(STOP_SECONDS)
        raise RuntimeError(f"The hub can't start: {result}") from result

    def _run(
        self, results: list[HubLoop | BaseException], started: cabc.Callable[[], None]
    ) -> None:
        try:
            hub = self._hub = self._open()
            results.append(hub)
        except BaseException as error:
            results.append(error)
            return
        finally:
            started()
        try:
            hub.loop.run_forever()
        except BaseException:
            self._quiet.exception("The hub failed. Browsers reconnect, to a new hub.")
        finally:
            try:
                hub.close()
            finally:
                hub.loop.close()
                self._hub = None

    def _open(self) -> HubLoop:
        loop = new_loop()
        log_failures(loop, self._quiet)
        try:
            return HubLoop(
                *(loop, self._broker(), self._options, self._bridges), take=self._take
            )
        except BaseException:
            loop.close()
            raise

    def abandon(self) -> None:
        """Close the copies of the parent's streams, which then end when the parent ends
        them."""
        if self._hub is not None:
            for fd in self._hub.descriptors():
                sockets.close(fd)
            _parents.append(self._hub)
        self._stopped = False
        self._reset()


def _list(hub: HubLoop, asked: Asked, page: Future[StreamPage | ChannelPage]) -> None:
    page.set_result(answer(hub.hub.listing, asked))


def _look(hub: HubLoop, settled: threading.Event, until: float) -> None:
    if hub.is_settled:
        settled.set()
    elif time.monotonic() < until:
        hub.loop.call_later(0.01, _look, hub, settled, until)


_threads: weakref.WeakSet[ThreadDoor] = weakref.WeakSet()
# Hubs of a parent's threads: never collected, and so their loops are never closed.
_parents: list[t.Any] = []


@atexit.register
def _at_exit() -> None:
    for thread in all_of(_threads):
        thread.stop()
