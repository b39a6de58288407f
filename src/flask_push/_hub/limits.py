"""Which streams a hub refuses, and what it logs then."""

from __future__ import annotations

import logging
from collections import Counter

from .._delivery.options import Options
from .._delivery.stream import Stream
from .._system.descriptors import is_scarce
from .._system.descriptors import why_scarce
from .._system.logs import QuietLogger

logger = logging.getLogger("flask_push")

# Seconds between two log lines about one limit.
_LOG_PAUSE_SECONDS = 60


class Limits:
    def __init__(self, options: Options) -> None:
        self.options = options
        self._quiet = QuietLogger()
        # How many streams each user has, and each address.
        self._users: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()
        #: How many streams the app's own code reads. No limit counts them.
        self.listeners = 0
        # By configuration key: how many streams were refused since the last log line, and
        # when that was.
        self._refused: dict[str, tuple[int, float]] = {}
        #: How many streams were refused so far, as the metric ``streams_refused`` has it.
        self.refused: Counter[str] = Counter()

    def admit(self, stream: Stream, streams: int, now: float, fd: int, polled: int) -> bool:
        """Whether another stream is allowed beside so many.

        :param fd: The stream's descriptor.
        :param polled: How many sockets the hub polls.
        """
        options, user, address = self.options, stream.user, stream.address
        if is_scarce(fd, polled=polled):
            self._quiet.warning(
                "Refused a stream beside %d, because %s; its browser will reconnect later.",
                *(streams, why_scarce()),
            )
            self.refused["descriptors"] += 1
            return False
        if stream.is_listener:
            return True
        if streams - self.listeners >= options.max_streams:
            self.refused["streams"] += 1
            return self._refuse("PUSH_MAX_STREAMS", options.max_streams, now)
        if user and 0 < options.max_per_user <= self._users[user]:
            self.refused["user"] += 1
            return self._refuse("PUSH_MAX_STREAMS_PER_USER", options.max_per_user, now)
        if address and 0 < options.max_per_address <= self._addresses[address]:
            most = options.max_per_address
            self.refused["address"] += 1
            return self._refuse("PUSH_MAX_STREAMS_PER_ADDRESS", most, now)
        return True

    def enter(self, stream: Stream) -> None:
        self._count(stream, 1)

    def leave(self, stream: Stream) -> None:
        self._count(stream, -1)

    @property
    def users(self) -> int:
        """How many streams have a user."""
        return self._users.total()

    @property
    def different_users(self) -> int:
        """How many users have streams."""
        return len(self._users)

    def forget(self) -> None:
        """Note that there are no streams."""
        self._users.clear()
        self._addresses.clear()
        self.listeners = 0

    def _count(self, stream: Stream, change: int) -> None:
        self.listeners += change * stream.is_listener
        for counter, key in (
            (self._users, stream.user),
            (self._addresses, stream.address),
        ):
            if key:
                counter[key] += change
                if not counter[key]:
                    del counter[key]

    def _refuse(self, key: str, most: int, now: float) -> bool:
        count, said = self._refused.get(key, (0, -_LOG_PAUSE_SECONDS * 1.0))
        count += 1
        if now >= said + _LOG_PAUSE_SECONDS:
            logger.warning(
                "Refused %d streams, because %s allows %d; their browsers will reconnect"
                " later.",
                *(count, key, most),
            )
            count, said = 0, now
        self._refused[key] = count, said
        return False
