"""What a hub counts, in whole numbers that only its loop changes, or only its writer's
thread.

The hub adds to these numbers where it sends events. Every five seconds, and not before,
they become :class:`.Figures`.
"""

from __future__ import annotations

import collections.abc as cabc
import time
from collections import Counter

from .._delivery.channel import Frame
from .._delivery.figures import BY_NAME
from .._delivery.figures import Figures
from .._delivery.figures import Times
from .._event import Entry

_LAG = BY_NAME["feed_lag_seconds"]
_WRITTEN = BY_NAME["publish_to_write_seconds"]
_ENDS = [f"runs_ended:{status}" for status in BY_NAME["runs_ended"].values]


class Counts:
    def __init__(self) -> None:
        #: Whether events are counted, too. Each stream is, because it costs much more than
        #: to count it.
        self.on = False
        self._seldom: Counter[str] = Counter()
        self._events = self._sends = self._bytes = self._from_log = self._from_store = 0
        self._lag, self._written = Times(_LAG), Times(_WRITTEN)

        # Each has its place from the beginning, because another thread reads them.
        self._ended = dict.fromkeys(_ENDS, 0)

    def __repr__(self) -> str:
        return f"<Counts {'on' if self.on else 'off'}: {self._sends} events sent>"

    def add(self, key: str, count: int = 1) -> None:
        """Count something that seldom happens.

        :param key: As in :meth:`.Figures.to_json`.
        """
        self._seldom[key] += count

    def gap(self, reason: str) -> None:
        """Count a gap that a reader is sent."""
        self._seldom[f"gaps:{reason}"] += 1

    def run_ended(self, status: str) -> None:
        """Count that the hub has ended a run. Only the writer's thread calls this."""
        self._ended[f"runs_ended:{status}"] += 1

    def receive(self, entries: cabc.Sequence[Entry]) -> int:
        """Count the events of a turn.

        :return: The number of the oldest of them, for :meth:`write`. 0 if there are none.
        """
        # The names of own channels are of another class.
        numbers = [entry.number for entry in entries if type(entry.channel) is str]
        if not numbers:
            return 0
        self._events += len(numbers)
        # The wall clock's, because the number is of the store's, which may be elsewhere.
        self._lag.add(time.time_ns() // 1000 - numbers[0])
        return numbers[0]

    def write(self, number: int) -> None:
        """Count that a turn was written whose oldest event has this number."""
        if number:
            self._written.add(time.time_ns() // 1000 - number)

    def send(self, readers: int, frames: int, size: int) -> None:
        """Count what a turn brings to the readers of a group.

        :param frames: How many events.
        :param size: How many bytes to each of them.
        """
        self._sends += readers * frames
        self._bytes += readers * size

    def send_less(
        self, frames: list[Frame], packed: list[Frame], size: int, written: int
    ) -> None:
        """Count that a reader took only so many bytes of its turn. -1 if its connection was
        broken.

        :param frames: The turn's events.
        :param packed: The same, as they are written.
        :param size: The bytes of all.
        """
        last = _last_begun(packed, written)
        self._sends -= sum(number > last for number, _ in frames)
        self._bytes -= size - max(0, written)

    def replay(
        self, frames: list[Frame], packed: list[Frame], written: int, is_stored: bool
    ) -> None:
        """Count what a reader that is behind was sent.

        :param frames: As for :meth:`send_less`.
        :param packed: The same.
        :param is_stored: Whether some of it came from the store, and not from the log.
        """
        last = _last_begun(packed, written)
        count = sum(1 for number, frame in frames if frame and number <= last)
        self._sends += count
        self._bytes += written
        if is_stored:
            self._from_store += count
        else:
            self._from_log += count

    def figures(self) -> Figures:
        """All that was counted so far."""
        return Figures(
            {
                **self._seldom,
                **self._ended,
                "events": self._events,
                "sends": self._sends,
                "sent_bytes": self._bytes,
                "replayed_events:log": self._from_log,
                "replayed_events:store": self._from_store,
                **self._lag.to_json(),
                **self._written.to_json(),
            }
        )


def _last_begun(packed: list[Frame], written: int) -> int:
    """The number of the last event of which at least one of the first `written` bytes is.
    -1 if there is none."""
    last = -1
    for number, frame in packed:
        if written <= 0:
            break
        last = number
        written -= len(frame)
    return last
