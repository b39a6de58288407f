"""What a hub refuses, and how it says so."""

from __future__ import annotations

import logging

from . import _wire
from ._event import Entry
from ._event import Position
from ._stream import Options

logger = logging.getLogger("flask_push")

# Seconds between two lines of log that say the same.
_QUIET = 60


class Limits:
    def __init__(self, options: Options) -> None:
        self.options = options
        self._refused = 0
        self._warned = -_QUIET * 1.0

    def admit(self, streams: int, now: float) -> bool:
        """Whether there may be another stream beside so many."""
        if streams < self.options.max_streams:
            return True
        self._refused += 1
        if now >= self._warned + _QUIET:
            logger.warning(
                "%d streams are the most that PUSH_MAX_STREAMS allows; %d were told to"
                " come back later.",
                self.options.max_streams,
                self._refused,
            )
            self._warned, self._refused = now, 0
        return False

    def encode(self, entry: Entry, epoch: str, number: int) -> bytes | None:
        """The frame of an event, or ``None``. Whoever stored it should have known."""
        try:
            if len(entry.data) > self.options.max_event:
                raise ValueError(
                    f"{len(entry.data)} bytes of data are more than PUSH_MAX_EVENT_BYTES"
                )
            return _wire.event(entry, epoch, number)
        except Exception as error:
            logger.error(
                "Event %s of %r can't be sent, and its readers are told of a gap: %s",
                Position(epoch, number),
                entry.channel,
                error,
            )
            return None
