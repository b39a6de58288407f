"""What other programs have published, until a bridge has stored it."""

from __future__ import annotations

from collections import deque

from ... import sse
from ..._event import Event
from ..._event import GAP
from ..._system.logs import QuietLogger
from ..bridging import Bridge
from .unwrapping import unwrap

# Events and bytes of one publish, and of all that wait.
_BATCH, _BATCH_BYTES = 200, 256 * 1024
_MAX_WAITING, _MAX_WAITING_BYTES = 20_000, 32 * 2**20


class WaitingEvents:
    """The events to publish next, in their order. In place of those that can't be stored,
    it has a gap.

    :param max_event: How many bytes an event may have.
    """

    def __init__(self, bridge: Bridge, max_event: int) -> None:
        self._bridge = bridge
        self._max_event = max_event
        self._events: deque[Event] = deque()
        self._size = 0
        self._quiet = QuietLogger()

    def __bool__(self) -> bool:
        return bool(self._events)

    def add(self, data: bytes) -> None:
        """Make an event of what another program has published."""
        if len(self._events) >= _MAX_WAITING or self._size > _MAX_WAITING_BYTES:
            self._miss("It is published faster than it can be stored.")
            return
        try:
            data, type = unwrap(data, self._bridge)
            if (size := sse.sent_size(data)) > self._max_event:
                raise ValueError(f"It has {size:,} bytes (PUSH_MAX_EVENT_BYTES).")
            self._events.append(Event(self._bridge.channel, data.decode(), type))
        except ValueError as error:
            self._miss(str(error))
        else:
            self._size += len(data)

    def take(self) -> list[Event]:
        """The oldest events, as many as one publish may have."""
        events, size = list[Event](), 0
        while self._events and len(events) < _BATCH and size < _BATCH_BYTES:
            events.append(self._events.popleft())
            size += len(events[-1].data.encode())
        self._size -= size
        return events

    def clear(self) -> None:
        self._events.clear()
        self._size = 0

    def _miss(self, reason: str) -> None:
        if not self._events or self._events[-1].type != GAP:
            self._events.append(Event(self._bridge.channel, "", GAP))
        self._quiet.error(
            "Could not make an event of what was published on %s; readers get a gap: %s",
            *(source_of(self._bridge), reason),
        )


def source_of(bridge: Bridge) -> str:
    """The Redis channel from which the bridge leads."""
    return bridge.source.partition(":")[2]
