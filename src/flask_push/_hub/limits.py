"""What a hub refuses, and how it says so."""

from __future__ import annotations

import logging
from collections import Counter

from .. import sse
from .._delivery import wire
from .._delivery.options import Options
from .._delivery.stream import Stream
from .._event import Entry
from .._event import GAP
from .._event import Position
from .._system.descriptors import is_scarce
from .._system.descriptors import limit
from .._system.logs import QuietLogger

logger = logging.getLogger("flask_push")

# Seconds between two lines of log that say the same.
_QUIET = 60


class Limits:
    def __init__(self, options: Options) -> None:
        self.options = options
        self._quiet = QuietLogger()
        # How many streams each has, of those who have any.
        self._users: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()
        # By key: how many were refused since it was last said, and when that was.
        self._refused: dict[str, tuple[int, float]] = {}

    def admit(self, stream: Stream, streams: int, now: float, fd: int) -> bool:
        """Whether there may be another stream beside so many.

        :param fd: The stream's descriptor.
        """
        options, user, address = self.options, stream.user, stream.address
        if is_scarce(fd):
            self._quiet.warning(
                "Refused a stream beside %d, since this process may have only %d file"
                " descriptors (ulimit -n); its browser will reconnect later.",
                *(streams, limit()),
            )
            return False
        if streams >= options.max_streams:
            return self._refuse("PUSH_MAX_STREAMS", options.max_streams, now)
        if user and 0 < options.max_per_user <= self._users[user]:
            return self._refuse("PUSH_MAX_STREAMS_PER_USER", options.max_per_user, now)
        if address and 0 < options.max_per_address <= self._addresses[address]:
            most = options.max_per_address
            return self._refuse("PUSH_MAX_STREAMS_PER_ADDRESS", most, now)
        return True

    def enter(self, stream: Stream) -> None:
        self._count(stream, 1)

    def leave(self, stream: Stream) -> None:
        self._count(stream, -1)

    def forget(self) -> None:
        """Nobody has any stream."""
        self._users.clear()
        self._addresses.clear()

    def _count(self, stream: Stream, change: int) -> None:
        for counter, key in (
            (self._users, stream.user),
            (self._addresses, stream.address),
        ):
            if key:
                counter[key] += change
                if not counter[key]:
                    del counter[key]

    def _refuse(self, key: str, most: int, now: float) -> bool:
        count, said = self._refused.get(key, (0, -_QUIET * 1.0))
        count += 1
        if now >= said + _QUIET:
            logger.warning(
                "%d streams are the most that %s allows; %d were told to come back later.",
                *(most, key, count),
            )
            count, said = 0, now
        self._refused[key] = count, said
        return False

    def encode(self, entry: Entry, epoch: str, number: int) -> bytes | None:
        """The frame of an event, or ``None``. Whoever stored it should have known."""
        if entry.type == GAP:
            return None
        try:
            most = self.options.max_event
            if len(entry.data) * 7 > most and sse.sent_size(entry.data) > most:
                raise ValueError(
                    f"{sse.sent_size(entry.data)} bytes of data are more than"
                    " PUSH_MAX_EVENT_BYTES"
                )
            return wire.event(entry, epoch, number)
        except MemoryError:
            # The event is right, and its readers resume before it.
            raise
        except Exception as error:
            self._quiet.error(
                "Event %s of %r can't be sent, and its readers are told of a gap: %s",
                Position(epoch, number),
                entry.channel,
                error,
            )
            return None
