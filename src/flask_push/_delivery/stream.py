"""What a view's answer means to the hub, and what the hub is allowed to do."""

from __future__ import annotations

import typing as t

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
