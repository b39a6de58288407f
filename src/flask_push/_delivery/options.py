"""How a hub treats its streams."""

from __future__ import annotations

import random
import typing as t
from dataclasses import dataclass

from .known import known

# Seconds over which the reconnects are spread, however many browsers there are.
_MAX_SPREAD_SECONDS = 300
# A stream without a byte for three heartbeats has lost its hub, but is given this long.
_SILENCE_SECONDS = 10.0
# Otherwise hubs would never rest.
_ABOVE_0 = "heartbeat", "retry", "lost_after"


@dataclass(frozen=True)
class Options:
    """How a hub treats its streams. The configuration's defaults are these."""

    #: Seconds without a byte after which a comment is sent.
    heartbeat: float = 15
    #: Seconds after which a browser reconnects, about.
    retry: float = 3
    #: About how many browsers reconnect per second when all have to; 0 for no limit.
    return_rate: float = 250
    #: Streams at once.
    max_streams: int = 10_000
    #: Streams at once of one user, and of one address; 0 for no limit.
    max_per_user: int = 100
    max_per_address: int = 0
    #: Bytes of one event's data.
    max_event: int = 2**20
    #: Bytes of frames kept for readers that are slow, or have just reconnected.
    log_bytes: int = 32 * 2**20
    #: Whether apps disconnect users, so that no stream goes on if something about this is
    #: not certain.
    disconnect: bool = True
    #: Seconds for which a user stays present without a stream.
    grace: float = 10
    #: Seconds without a sign of life after which a process that holds runs is dead.
    lost_after: float = 30
    #: Whether the hub stores what it measures.
    metrics: bool = False

    @classmethod
    def from_json(cls, values: dict[str, t.Any]) -> Options:
        """Read options that another version may have sent. Ignores unknown ones.

        :raises ValueError: If one is of another type, or too small.
        """
        given = known(cls, values)
        for name, value in given.items():
            flag = isinstance(getattr(cls, name), bool)
            if isinstance(value, bool) != flag or not isinstance(value, (int, float)):
                raise ValueError(f"{name!r} is {value!r}")
            if flag:
                continue
            if not (value > 0 if name in _ABOVE_0 else value >= 0):
                raise ValueError(f"{name!r} is {value!r}")
        return cls(**given)

    def jittered_retry(self, others: int = 0) -> int:
        """Milliseconds after which one browser reconnects, so that not all do at once.

        :param others: How many other browsers have to reconnect as well.
        """
        rate = self.return_rate
        spread = min(others / rate, _MAX_SPREAD_SECONDS) if rate else 0
        wait = self.retry * random.uniform(0.667, 1.333)
        if spread:
            wait += random.uniform(0, spread)
        return round(1000 * max(0.5, wait))

    def longest_retry(self, others: int = 0) -> float:
        """Seconds after which each browser has reconnected: :meth:`jittered_retry` is never
        longer."""
        rate = self.return_rate
        spread = min(others / rate, _MAX_SPREAD_SECONDS) if rate else 0
        return max(0.5, self.retry * 1.333 + spread)


def silence(heartbeat: float) -> float:
    """Seconds without a byte after which a stream has lost its hub."""
    return max(3 * heartbeat, _SILENCE_SECONDS)
