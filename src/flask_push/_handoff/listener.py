"""Reads a stream in a process of the app, without HTTP.

A listener has one end of a socket pair, and the hub writes to the other, as it writes to
any browser. What ends the stream does not end the listener: as a browser would, it asks a
hub again, with its last id and the word for its items. No view has granted it, so it has no
user and no lifetime, and the hub counts it in no limit (law 59).
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import socket
import sys
import threading
import time
from collections import deque

from .. import sse
from .._delivery.connection_id import new_connection_id
from .._delivery.options import silence
from .._delivery.own_events import HeldItems
from .._delivery.own_events import is_of_presence
from .._delivery.own_events import is_returned
from .._delivery.stream import LISTENER
from .._delivery.stream import Stream
from .._delivery.stream_presence import NOTHING
from .._delivery.stream_presence import StreamPresence
from .._event import Event
from .._system.fork import PerProcess
from .._system.sockets import receive_in_time
from ..brokers import NotRead
from .listeners_hub import ListenersHub

logger = logging.getLogger("flask_push")

# Seconds before a hub is asked again, about: at first, and at most. Each time, it is twice
# as long.
_FIRST_SECONDS, _MOST_SECONDS = 0.05, 5.0
# After so many failures, which is after about six seconds, one line is logged.
_LOGGED_FAILURE = 7
# Bytes that are read at once.
_READ_BYTES = 64 * 1024


class _Lost(Exception):
    """There is no stream now. The next one may work."""


class _Late(Exception):
    """No event came in time."""


class Listener(PerProcess):
    """The events of some channels, in order. :meth:`.Push.listen` returns it.

    One thread iterates, and each step waits for the next event. In a process that is
    forked, it goes on with a stream of its own.
    """

    def __init__(
        self,
        hub: ListenersHub,
        channels: tuple[str, ...],
        since: str,
        timeout: float | None,
        watch: tuple[str, ...] = (),
    ) -> None:
        self._hub = hub
        # A stream has a channel.
        self._channels = channels or watch[:1]
        self._watch = watch
        self._only_watches = not channels
        self._timeout = timeout
        self._connection = new_connection_id()
        self._position = since
        self._parser = sse.Parser(max_size=sys.maxsize)
        self._parser.last_event_id = since
        self._pending: deque[Event] = deque()
        self._items = HeldItems()
        self._failures = 0
        self._has_warned = False
        self._silence = silence(hub.heartbeat)
        # None while there is no stream.
        self._socket: socket.socket | None = None
        self._closed = threading.Event()
        # Held while the stream is in use. ``close()`` then only shuts the socket down.
        self._using = threading.Lock()
        super().__init__()
        with contextlib.suppress(NotRead):
            self._find_position()

    def __repr__(self) -> str:
        state = "closed" if self._closed.is_set() else "open" if self._socket else "away"
        return f"<Listener to {', '.join(self._channels)}: {state}>"

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Listener:
        return self

    def __next__(self) -> Event:
        self.here()
        ends = None if self._timeout is None else time.monotonic() + self._timeout
        while not self._closed.is_set():
            if self._pending:
                event = self._pending.popleft()
                self._position = event.id if self._pending else self._parser.last_event_id
                if self._is_returned(event):
                    return event
            else:
                self._more(ends)
        raise StopIteration

    def _is_returned(self, event: Event) -> bool:
        if self._only_watches and not is_of_presence(event):
            return False
        return is_returned(event)

    @property
    def position(self) -> str:
        """The id of the last event that was returned; before the first one, where the
        listener begins. With ``since=``, a later one goes on from here. Empty if the store
        could not be read yet."""
        return self._position

    def close(self) -> None:
        """End it, from any thread. A thread that waits for the next event stops at once."""
        self.here()
        self._closed.set()
        if (sock := self._socket) is not None:
            _shut(sock)
        self._end_if_unused()

    def _more(self, ends: float | None) -> None:
        try:
            with self._using:
                if self._closed.is_set():
                    return
                self._advance(ends)
        except _Late:
            self.close()
        except BaseException:
            self.close()
            raise
        if self._closed.is_set():
            self._end_if_unused()

    def _end_if_unused(self) -> None:
        if self._using.acquire(blocking=False):
            self._disconnect()
            self._using.release()
            self._hub.leave(self)

    def _advance(self, ends: float | None) -> None:
        """Ask a hub if necessary, and read some bytes. After a failure, wait."""
        try:
            if self._socket is None:
                self._socket = self._connect()
            # If another thread has closed it meanwhile, that thread did not see the socket.
            if not self._closed.is_set():
                self._read(self._socket, ends)
        except _Lost as lost:
            self._disconnect()
            self._pause(lost, ends)

    def _find_position(self) -> None:
        if not self._parser.last_event_id:
            self._position = self._parser.last_event_id = self._hub.position()

    def _connect(self) -> socket.socket:
        self._parser.reset()
        self._items.connect()
        try:
            self._find_position()
            stream = Stream(
                channels=self._channels,
                connection=self._connection,
                position=self._parser.last_event_id,
                session=LISTENER,
                items=True,
                holds=self._items.word,
                presence=StreamPresence(watch=self._watch) if self._watch else NOTHING,
            )
            return self._hub.connect(self, stream)
        except (NotRead, OSError, RuntimeError) as error:
            raise _Lost(str(error)) from error

    def _read(self, sock: socket.socket, ends: float | None) -> None:
        left = self._silence if ends is None else ends - time.monotonic()
        try:
            sock.settimeout(max(0.001, min(left, self._silence)))
            data = receive_in_time(sock, _READ_BYTES)
        except TimeoutError:
            if left <= self._silence and ends is not None:
                raise _Late from None
            raise _Lost(f"The hub wrote nothing for {self._silence:g} seconds.") from None
        except OSError as error:
            raise _Lost(f"The stream was cut: {error}") from None
        if not data:
            raise _Lost("The hub ended the stream.")
        for event in self._parser.feed(data):
            self._pending.append(event)
            self._items.take(event)
            if event.type == "push:open":
                self._failures = 0
                self._check_watch(event)
        if not self._pending:
            self._position = self._parser.last_event_id

    def _check_watch(self, opening: Event) -> None:
        if self._watch and not self._has_warned and "watch" not in opening.json:
            self._has_warned = True
            logger.warning(
                "Did not notice who is present, because the hub is of an older version;"
                " replace it with this one ('flask push stop'): %s",
                self,
            )

    def _pause(self, lost: _Lost, ends: float | None) -> None:
        """Wait before a hub is asked again."""
        seconds = min(_MOST_SECONDS, _FIRST_SECONDS * 2 ** min(self._failures, 16))
        seconds *= random.uniform(0.5, 1)
        self._failures += 1
        if self._failures == _LOGGED_FAILURE:
            logger.warning("Could not listen, and retries: %s: %s", self, lost)
        left = seconds if ends is None else ends - time.monotonic()
        self._closed.wait(min(seconds, left))
        if left <= seconds and ends is not None:
            raise _Late

    def _disconnect(self) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            _shut(sock)
            sock.close()

    def abandon(self) -> None:
        # Only the parent may read from its stream, or end it.
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()
        closed, self._closed = self._closed, threading.Event()
        if closed.is_set():
            self._closed.set()
        self._using = threading.Lock()

    def __del__(self) -> None:
        # Waits for no lock. Python may call this in any thread, at any time.
        sock = getattr(self, "_socket", None)
        if sock is not None:
            is_ours = self._pid == os.getpid()
            if is_ours:
                _shut(sock)
            sock.close()
            if is_ours:
                self._hub.collect(self)


def _shut(sock: socket.socket) -> None:
    """End the stream, and wake a thread that reads it."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
