"""A stream that a view has granted, as the hub gets it."""

from __future__ import annotations

import math
import typing as t
from itertools import repeat

from .. import sse
from .._event import OwnChannel
from . import wire
from .chunks import chunk
from .follow import check_follow
from .follow import Follow
from .follow import NOT_FOLLOWING
from .gzip import first_block
from .roster import PRESENT
from .run_wires import WIRES
from .stream_presence import NOTHING
from .stream_presence import StreamPresence

#: A stream may wait for so many seconds before it is written to again. Browsers and proxies
#: would notice a longer pause.
MAX_EVERY = 60
#: A stream that is still sent all items when its lifetime is over may go on for so many
#: seconds. A reader that never gets them must not listen for longer (law 34).
MAX_ITEMS_SECONDS = 600.0
#: The session of streams that the app's own code reads. It can't be encoded, so no app can
#: have a session of this name. A field of its own would be kept of each stream, and hubs of
#: older versions would drop it when they are replaced.
LISTENER = "\udcfflistener"


class Stream(t.NamedTuple):
    """One stream: what a browser asked for, and a view granted."""

    channels: tuple[str, ...]
    #: The connection's id with its secret, which only this browser gets.
    connection: str
    #: The head of the response; empty if the server writes it.
    head: bytes = b""
    #: The position that the browser sent. Empty if it sent none.
    position: str = ""
    #: How many events back it begins, if there is no position.
    last: int = 0
    #: The user whose stream it is.
    user: str | None = None
    #: The browser's address, if streams are limited by address.
    address: str | None = None
    #: Seconds after which it ends, about; 0 for never.
    lifetime: float = 0
    #: Whether it ends as soon as it has all events that are there.
    poll: bool = False
    #: Whether heartbeats and ``retry`` are sent as events too. ``EventSource`` hides both
    #: from scripts, and push.js needs them.
    visible: bool = False
    #: Whether the stream is compressed.
    gzip: bool = False
    #: The session of the user whose stream it is; empty if the view named none. ``None`` if
    #: an older version took the stream: then it may be any.
    session: str | None = None
    #: The store's position that the app's process knew of when the request arrived: what
    #: was disconnected up to here, the view has taken into account. Empty from an older
    #: version, and if :attr:`.Options.disconnect` is off. Any other text that is not a
    #: position means that the process could not find out.
    seen: str = ""
    #: Whether its page has to know the items also of channels without any.
    items: bool = False
    #: The word of the last ``push:whole`` that its page has got, with which the page says
    #: that it still has the items.
    holds: str = ""
    #: Seconds between two writes to it, in which items are collected; 0 for none.
    every: float = 0
    #: Where its user is shown as present, and whose presence its page receives.
    presence: StreamPresence = NOTHING
    #: The run that it follows.
    follow: Follow = NOT_FOLLOWING
    #: When the signed address expires by which it was asked for, in seconds since 1970; 0
    #: if a view has granted it. It ends then.
    expires: float = 0

    @property
    def is_listener(self) -> bool:
        """Whether the app's own code reads it, and no browser. No view has granted it, so
        no limit counts it, and no disconnect ends it (law 59). An older version treats it
        like any other, and may disconnect it."""
        return self.session == LISTENER

    @property
    def group(self) -> tuple[tuple[str, ...], bool, float]:
        """What the readers of one group have in common: see :meth:`.Readers.join`."""
        names = self.channels
        if self.presence.watch:
            names += tuple(OwnChannel(PRESENT, name) for name in self.presence.watch)
        return names, self.gzip, self.every

    @property
    def is_plain(self) -> bool:
        """Whether it has nothing but the events of a run, and neither ids nor ``retry``."""
        follow = self.follow
        return follow is not NOT_FOLLOWING and WIRES[follow.wire].is_plain

    def first_bytes(self, retry: int) -> bytes:
        """The first bytes of the response: the head, and the browser's ``retry``. A plain
        wire has none (law R62)."""
        if self.is_plain:
            chunked = self.follow.framing == "chunked"
            return self.head + (chunk(sse.HEARTBEAT) if chunked else sse.HEARTBEAT)
        first = wire.first_bytes(retry, self.visible)
        return self.head + (first_block(first) if self.gzip else first)

    def refusal(self, retry: int) -> bytes:
        """The whole response if no hub takes the stream now, so that its client asks again
        later. That of a plain wire has the status 503, because its client would take any
        other for an empty run (law R65). Others have the status 200, because
        ``EventSource`` gives up after any other."""
        if self.is_plain:
            seconds = min(max(1, round(retry / 1000)), 5)
            return wire.unavailable(self.head, seconds) if self.head else b""
        return self.first_bytes(retry)


# The type of each field of a stream that comes from another process.
_KINDS: dict[str, tuple[type, ...]] = {
    **{"channels": (tuple,), "connection": (str,), "head": (bytes,), "position": (str,)},
    **{"last": (int,), "user": (str, type(None)), "address": (str, type(None))},
    **{"lifetime": (int, float), "poll": (bool,), "visible": (bool,), "gzip": (bool,)},
    **{"session": (str, type(None)), "seen": (str,), "items": (bool,), "holds": (str,)},
    **{"every": (int, float), "presence": (StreamPresence,), "follow": (Follow,)},
    "expires": (int, float),
}
_KINDS_IN_ORDER = tuple(_KINDS[name] for name in Stream._fields)


def check_stream(stream: Stream) -> Stream:
    """The stream, if its fields are of the right types.

    :raises ValueError: If one is not. Later, in the hub, it could harm other streams.
    """
    if not all(map(isinstance, stream, _KINDS_IN_ORDER)):
        values = stream._asdict().items()
        wrong = next(pair for pair in values if not isinstance(pair[1], _KINDS[pair[0]]))
        raise ValueError("{!r} of a stream is {!r}".format(*wrong))
    if not 0 <= stream.every <= MAX_EVERY:
        raise ValueError(f"'every' of a stream is {stream.every!r}")
    if not 0 <= stream.expires < math.inf:
        raise ValueError(f"'expires' of a stream is {stream.expires!r}")
    if not stream.channels or not all(map(isinstance, stream.channels, repeat(str))):
        raise ValueError(f"'channels' of a stream is {stream.channels!r}")
    if stream.follow is not NOT_FOLLOWING:
        check_follow(stream.follow)
        if stream.channels != (stream.follow.channel,):
            raise ValueError(f"'channels' of a follow is {stream.channels!r}")
    return stream
