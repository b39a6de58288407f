"""What a view's answer means to the hub, and what the hub is allowed to do."""

from __future__ import annotations

import random
import typing as t
from dataclasses import dataclass
from dataclasses import fields

from . import wire


class Stream(t.NamedTuple):
    """One browser's wish, granted by a view."""

    channels: tuple[str, ...]
    #: Names the connection, to the browser alone.
    connection: str
    #: What is to be written before the stream; nothing if a server writes it.
    head: bytes = b""
    #: Where the browser was, in its words. Empty if it was nowhere.
    position: str = ""
    #: How many events back it begins, if it was nowhere.
    last: int = 0
    #: Whose stream it is.
    user: str | None = None
    #: Where it comes from, if that matters.
    address: str | None = None
    #: Seconds after which it ends, about; 0 for never.
    lifetime: float = 0
    #: Whether it ends as soon as it has all that there is.
    poll: bool = False
    #: Whether it is shown, as events, what browsers keep to themselves.
    visible: bool = False
    #: Whether what is written is compressed.
    gzip: bool = False

    def first_bytes(self, retry: int) -> bytes:
        """What is written before all else: the head, and when to come back."""
        return self.head + wire.first_bytes(retry, self.visible, self.gzip)


# What each field of a stream that comes from another process has to be.
_KINDS: dict[str, tuple[type, ...]] = {
    **{"channels": (tuple,), "connection": (str,), "head": (bytes,), "position": (str,)},
    **{"last": (int,), "user": (str, type(None)), "address": (str, type(None))},
    **{"lifetime": (int, float), "poll": (bool,), "visible": (bool,), "gzip": (bool,)},
}


def check_stream(stream: Stream) -> Stream:
    """The stream, if its fields are of the right types.

    :raises ValueError: If one is not: later, in the hub, it might disturb other streams.
    """
    for name, value in zip(stream._fields, stream, strict=True):
        if not isinstance(value, _KINDS[name]):
            raise ValueError(f"{name!r} of a stream is {value!r}")
    if not stream.channels or not all(isinstance(name, str) for name in stream.channels):
        raise ValueError(f"'channels' of a stream is {stream.channels!r}")
    return stream


# Seconds over which all come back, however many they are.
_MOST_SPREAD = 300


@dataclass(frozen=True)
class Options:
    """How a hub treats its streams. The configuration's defaults are these."""

    #: Seconds without a byte after which a comment is sent.
    heartbeat: float = 15
    #: Seconds after which a browser comes back, about.
    retry: float = 3
    #: Browsers that come back in a second, about, when all have to; 0 for any number.
    return_rate: float = 250
    #: Streams at once.
    max_streams: int = 10_000
    #: Streams at once of one user, and of one address; 0 for any number.
    max_per_user: int = 100
    max_per_address: int = 0
    #: Events and bytes after which a stream ends, and begins anew; 0 for never.
    stream_events: int = 0
    stream_bytes: int = 0
    #: Bytes of one event's data.
    max_event: int = 2**20
    #: Bytes of frames kept for readers that are slow, or just come back.
    log_bytes: int = 32 * 2**20

    @classmethod
    def from_json(cls, values: dict[str, t.Any]) -> Options:
        """Those that another version does not know, or has no more, are left out.

        :raises ValueError: If one is not a number, or too small.
        """
        known = {field.name for field in fields(cls)}
        given = {name: value for name, value in values.items() if name in known}
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"{name!r} is {value!r}")
            if not (value > 0 if name in ("heartbeat", "retry") else value >= 0):
                raise ValueError(f"{name!r} is {value!r}")
        return cls(**given)

    def jittered_retry(self, others: int = 0) -> int:
        """Milliseconds after which one browser comes back, so that not all do at once.

        :param others: How many want to come back as well.
        """
        spread = min(others / self.return_rate, _MOST_SPREAD) if self.return_rate else 0
        wait = self.retry * random.uniform(0.667, 1.333) + random.uniform(0, spread)
        return round(1000 * max(0.5, wait))
