"""Several hub processes that share the streams of an app."""

from __future__ import annotations

import collections.abc as cabc
from zlib import crc32

from .._delivery.stream import Stream
from .._event import Position
from .._ipc.client import Client
from .process_door import ProcessDoor


class SharedDoors:
    """The first hub also does what only one can: it listens for nginx, and takes the
    streams of another hub that can't be started."""

    def __init__(self, hubs: cabc.Sequence[ProcessDoor]) -> None:
        self._hubs = hubs

    def __repr__(self) -> str:
        return f"<SharedDoors {list(self._hubs)}>"

    def adopt(self, stream: Stream, client: Client) -> None:
        """As :meth:`.Door.adopt`. All streams of a user go to one hub, because a hub counts
        only its own streams."""
        hub = self._hub_of(stream)
        try:
            hub.adopt(stream, client)
        except RuntimeError:
            if hub is self._hubs[0]:
                raise
            self._hubs[0].adopt(stream, client)

    def _hub_of(self, stream: Stream) -> ProcessDoor:
        whose = stream.user or stream.address or stream.connection
        return self._hubs[crc32(whose.encode()) % len(self._hubs)]

    def positions(self, stream: Stream | None = None) -> list[Position]:
        """As :meth:`.Door.positions`."""
        hubs = [*self._hubs]
        if stream is not None:
            # The first hub may hold it instead. What a hub has written that does not run is
            # of no use.
            hubs.insert(0, self._hub_of(stream))
            hubs.sort(key=lambda hub: not hub.is_connected)
        return [position for hub in hubs for position in hub.positions()]

    def token(self, stream: Stream) -> str:
        """As :meth:`.Door.token`."""
        return self._hubs[0].token(stream)

    def answers(self, until: float) -> str | None:
        """As :meth:`.Door.answers`."""
        # Each is asked. One that does not answer leaves no time for those after it.
        found = [hub.answers(until) for hub in self._hubs]
        running = [trouble for trouble in found if trouble is not None]
        return max(running, key=len, default=None)

    def here(self) -> None:
        """As :meth:`.Door.here`."""
        for hub in self._hubs:
            hub.here()

    def stop(self) -> None:
        """As :meth:`.Door.stop`."""
        for hub in self._hubs:
            hub.stop()
