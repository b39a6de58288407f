"""The positions of the store that a process knows, and those that it knew at a request.

A view decides who may read what. If ``push.disconnect`` is called while it runs, its stream
must not begin. So each request keeps the position that its process knew *before* anything
of the app read who the user is, and its stream carries it. The hub then finds the
disconnects after this position. An older position is also right: a stream is sent back to
its view once more than it had to be, and finds a newer one.

The position comes from the file of each hub, from a hub in a thread, and from what the
store has returned to this process. Only if none of them has one, the store is asked.
"""

from __future__ import annotations

import threading
import time
import typing as t

from ._app_publisher import AppPublisher
from ._delivery.stream import Stream
from ._event import Position
from ._handoff.door import Door
from ._system.fork import PerProcess
from ._system.logs import QuietLogger

#: What a stream carries if its process knew no position. The hub sends it back.
UNKNOWN = "unknown"

# Seconds after which the store is asked again: if no hub has written a position; and if the
# store could not be read, at first.
_AGAIN_SECONDS, _FAILED_SECONDS = 60.0, 1.0

#: The greatest number by epoch. There is one epoch, unless the store has begun another and
#: not every hub has noticed it.
Known = t.Mapping[str, int]


class KnownPositions(PerProcess):
    """From any thread."""

    def __init__(self, hub: Door, publisher: AppPublisher) -> None:
        self._hub = hub
        self._publisher = publisher
        self._quiet = QuietLogger()
        self._ask_at, self._wait = 0.0, _FAILED_SECONDS
        self._asking = threading.Lock()
        super().__init__()

    def now(self) -> Known:
        """What is known now. Empty if that is nothing. Never raises."""
        found = self._hub.positions()
        if not found and time.monotonic() >= self._ask_at:
            self._ask()
        if self._publisher.known is not None:
            found.append(self._publisher.known)
        known: dict[str, int] = {}
        for epoch, number in found:
            if number > known.get(epoch, -1):
                known[epoch] = number
        return known

    def seen(self, known: Known, stream: Stream) -> str:
        """The position that a stream carries.

        :param known: What was known when its request arrived.
        """
        if len(known) > 1:
            # Each of them is right. In another epoch than its own, the hub would send the
            # stream back.
            for epoch, _ in self._hub.positions(stream):
                if epoch in known:
                    return str(Position(epoch, known[epoch]))
        for epoch, number in known.items():
            return str(Position(epoch, number))
        return UNKNOWN

    def _ask(self) -> None:
        """Ask the store for its position. While one thread does, those wait that know none.

        Without a hub that writes its position, the known one becomes old, and hubs send
        streams back that carry one from before their list of disconnects.
        """
        self.here()
        if not self._asking.acquire(blocking=self._publisher.known is None):
            return
        try:
            if time.monotonic() < self._ask_at:
                return
            wait = _AGAIN_SECONDS
            try:
                self._publisher.position()
            except Exception as error:
                # Most requests are not for streams, and need not wait for a broken store.
                wait, self._wait = self._wait, min(2 * self._wait, _AGAIN_SECONDS)
                self._quiet.warning(
                    "Could not read the store's position; until it can be read, or a hub"
                    " has written it, streams are sent back to their views: %s",
                    error,
                )
            else:
                self._wait = _FAILED_SECONDS
            self._ask_at = time.monotonic() + wait
        finally:
            self._asking.release()

    def abandon(self) -> None:
        # A thread of the parent may have held it.
        self._asking = threading.Lock()
