"""The hub of the listeners of a process: one that is there, or a thread of this process.

To listen starts no process: scripts and tasks listen too, and end. The thread starts with
the first listener that finds no hub process, and ends with the last listener (law 60).
"""

from __future__ import annotations

import collections.abc as cabc
import socket
import threading
import time
import weakref

from .._delivery.stream import Stream
from .._ipc.client import Client
from .._system.fork import PerProcess
from .door import Door
from .door import NoHubThere
from .relay import pair_with

# When a hub process has died, a worker starts the next one. So listeners wait for so many
# seconds before they use a thread.
_NEXT_HUB_SECONDS = 2.0


class ListenersHub(PerProcess):
    """From any thread. A process that is forked begins again.

    :param doors: The ways to hubs. They start no process.
    :param thread: Makes the way to a hub in a thread.
    :param position: Returns the position of the store now.
    :param seen: Returns the position that a stream carries (:attr:`.Stream.seen`).
    :param heartbeat: Seconds after which a hub writes to a silent stream.
    """

    def __init__(
        self,
        doors: cabc.Sequence[Door],
        thread: cabc.Callable[[], Door],
        position: cabc.Callable[[], str],
        seen: cabc.Callable[[Stream], str],
        heartbeat: float,
    ) -> None:
        self._doors = doors
        self._make_thread = thread
        self._seen = seen
        self.position = position
        self.heartbeat = heartbeat
        self._reset()
        super().__init__()

    def __repr__(self) -> str:
        return (
            f"<ListenersHub [{len(self._listeners)} listeners]: {self._thread or 'there'}>"
        )

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._thread: Door | None = None
        # Those that have a stream, or want one.
        self._listeners: weakref.WeakSet[object] = weakref.WeakSet()
        # Whether the last stream went to a hub process, and since when there is none.
        self._was_there, self._gone_since = False, float("-inf")

    def connect(self, listener: object, stream: Stream) -> socket.socket:
        """Have a hub write a stream to a socket, of which this returns the other end.

        :raises RuntimeError: If no hub takes it now.
        :raises OSError: If there can't be another socket.
        """
        self.here()
        with self._lock:
            self._listeners.add(listener)
        return pair_with(stream._replace(seen=self._seen(stream)), self._adopt)

    def _adopt(self, stream: Stream, client: Client) -> None:
        for door in self._doors:
            try:
                door.adopt(stream, client)
            except NoHubThere:
                continue
            self._was_there = True
            return
        now = time.monotonic()
        if self._was_there:
            self._was_there, self._gone_since = False, now
        if now < self._gone_since + _NEXT_HUB_SECONDS:
            raise RuntimeError("The hub has ended, and the next one is not there yet.")
        with self._lock:
            if self._thread is None:
                self._thread = self._make_thread()
            self._thread.adopt(stream, client)

    def leave(self, listener: object) -> None:
        """The listener no longer needs a stream. With the last one, the thread ends."""
        self.here()
        with self._lock:
            self._discard(listener)

    def collect(self, listener: object) -> None:
        """As :meth:`leave`, for a listener that Python collects, maybe while this thread
        holds the lock. Then the thread ends with the next listener."""
        if self._lock.acquire(blocking=False):
            try:
                self._discard(listener)
            finally:
                self._lock.release()

    def _discard(self, listener: object) -> None:
        self._listeners.discard(listener)
        if not self._listeners:
            self._stop_thread()

    def stop(self) -> None:
        """End all streams. Called when the app no longer exists."""
        self.here()
        for door in self._doors:
            door.stop()
        with self._lock:
            self._stop_thread()

    def _stop_thread(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()

    def abandon(self) -> None:
        if self._thread is not None:
            self._thread.here()
        self._reset()
