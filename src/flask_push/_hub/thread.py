"""A hub in a thread of this process: started when first needed, in each process anew."""

from __future__ import annotations

import _thread
import asyncio
import atexit
import collections.abc as cabc
import os
import resource
import threading
import typing as t
import weakref
from concurrent.futures import Future
from contextvars import Context
from functools import partial
from pathlib import Path

from .._delivery.options import Options
from .._delivery.stream import Stream
from .._ipc.client import Client
from .._system import unpatched
from .._system.fork import PerProcess
from .._system.logs import log_failures
from .._system.logs import QuietLogger
from ..brokers import Bridge
from ..brokers import Broker
from .bridges import Bridges
from .hub import Hub
from .nginx import AccelListener

#: Seconds that ending all streams may take.
PATIENCE = 1.0


class ThreadDoor(PerProcess):
    """Adopts clients from any thread.

    :param broker: Called on the hub's thread when it starts.
    :param accel: Where it listens for nginx, which comes with tickets.
    :param bridges: What it runs beside the streams.
    """

    def __init__(
        self,
        broker: cabc.Callable[[], Broker],
        options: Options,
        accel: Path | None = None,
        bridges: cabc.Collection[Bridge] = (),
    ) -> None:
        self._broker = broker
        self._options = options
        self._accel_path = accel
        self._wanted = bridges
        self._stopped = False
        self._quiet = QuietLogger()
        self._forget()
        _threads.add(self)
        super().__init__()

    def __repr__(self) -> str:
        return f"<ThreadDoor {self._hub or 'not running'}>"

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._thread: unpatched.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hub: Hub | None = None
        self._accel: AccelListener | None = None
        self._bridges: Bridges | None = None

    def adopt(self, stream: Stream, client: Client) -> None:
        """Give a client to the hub, which then closes it. If this raises, the client
        remains the caller's.

        :raises RuntimeError: If this process is about to end.
        """
        self.here()
        with self._lock:
            hub, loop = self._started()
            loop.call_soon_threadsafe(hub.adopt, stream, client, context=Context())

    def ticket(self, stream: Stream) -> str:
        """A ticket with which nginx brings the stream's client.

        :raises RuntimeError: If there are too many, or nginx can't be listened for.
        """
        self.here()
        with self._lock:
            hub, loop = self._started()
            listening: Future[AccelListener] = Future()
            loop.call_soon_threadsafe(self._listen, hub, listening, context=Context())
        return listening.result(PATIENCE).ticket(stream)

    def stop(self) -> None:
        """End all streams, and wait until that is done. The next process of a fork, but
        not this one, can start again."""
        self.here()
        with self._lock:
            self._stopped = True
            if self._thread is None or self._loop is None:
                return
            try:
                self._loop.call_soon_threadsafe(self._loop.stop)
            except RuntimeError:
                return
            if self._thread is not threading.current_thread():
                self._thread.join(PATIENCE)

    def _started(self) -> tuple[Hub, asyncio.AbstractEventLoop]:
        if self._thread is None or not self._thread.is_alive():
            self._start()
        assert self._loop is not None and self._hub is not None
        return self._hub, self._loop

    def _listen(self, hub: Hub, listening: Future[AccelListener]) -> None:
        try:
            if self._accel is None:
                assert self._loop is not None and self._accel_path is not None
                self._accel = AccelListener(
                    self._loop, self._accel_path, hub.adopt, self._options
                )
        except RuntimeError as error:
            listening.set_exception(error)
        else:
            listening.set_result(self._accel)

    def _start(self) -> None:
        if self._stopped:
            raise RuntimeError("This process is ending, and takes no new streams.")
        if reason := unpatched.unfit():
            raise RuntimeError(f"A hub in a thread can't work here: {reason}.")
        raise_descriptor_limit()
        started = unpatched.lock()
        failed: list[BaseException] = []
        # Nothing of it runs in the caller's context: it is a request's, and would live on.
        run = partial(Context().run, self._run, started, failed)
        self._thread = unpatched.start_thread(run)
        started.acquire()
        if failed:
            self._thread.join(PATIENCE)
            raise RuntimeError(f"The hub can't start: {failed[0]}") from failed[0]

    def _run(self, started: _thread.LockType, failed: list[BaseException]) -> None:
        try:
            self._loop = loop = _new_loop()
            log_failures(loop, self._quiet)
            try:
                broker = self._broker()
                self._hub = hub = Hub(broker, self._options, loop)
                self._bridges = bridges = Bridges(broker, loop)
                bridges.agree(self._wanted, self._options.max_event)
            except BaseException:
                loop.close()
                raise
        except BaseException as error:
            failed.append(error)
            return
        finally:
            started.release()
        try:
            loop.run_forever()
        except BaseException:
            self._quiet.exception("The hub failed. Browsers come back, to a new one.")
        finally:
            if self._accel is not None:
                self._accel.close()
            bridges.close()
            hub.stop()
            loop.close()
            self._hub = self._accel = self._bridges = None

    def abandon(self) -> None:
        """Close the copies of the parent's streams: they end when it ends them."""
        hub, loop, accel = self._hub, self._loop, self._accel
        if hub is not None:
            for fd in [*hub.descriptors(), *(accel.descriptors() if accel else ())]:
                os.close(fd)
            _parents.append((hub, loop, accel, self._bridges))
        self._stopped = False
        self._forget()


def _new_loop() -> asyncio.AbstractEventLoop:
    if unpatched.is_replaced("selectors", "EpollSelector"):
        selector = unpatched.original("selectors", "EpollSelector")()
        return asyncio.SelectorEventLoop(selector)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


def raise_descriptor_limit() -> None:
    """A stream is a descriptor, and the limit is often 1,024 where more may be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


_threads: weakref.WeakSet[ThreadDoor] = weakref.WeakSet()
# Loops that belong to another process's thread: never collected, and so never closed.
_parents: list[t.Any] = []


@atexit.register
def _at_exit() -> None:
    for thread in list(_threads):
        thread.stop()
