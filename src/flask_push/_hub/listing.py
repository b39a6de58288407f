"""Lists a hub's streams and channels, for a command or the admin page.

It runs between two turns of the loop, so it looks at a limited number of streams at once,
however many the hub has. Whoever asks comes back for the next page.
"""

from __future__ import annotations

import collections.abc as cabc
import heapq
import json
import typing as t
from itertools import islice

from .._delivery.follow import NOT_FOLLOWING
from .._delivery.log import Log
from .._delivery.paced import PacedGroup
from .._delivery.stream import Stream
from .._ipc.listing_protocol import ChannelPage
from .._ipc.listing_protocol import ListChannels
from .._ipc.listing_protocol import ListStreams
from .._ipc.listing_protocol import StreamPage
from .._system.sockets import has_name
from .._system.sockets import is_unix_socket
from .connection import Connection
from .peer import Handlers
from .peer import Peer

Asked: t.TypeAlias = ListStreams | ListChannels
#: Descriptors, channels, and groups of readers that are looked at for one page.
LOOK = 2000
#: Bytes of a page, about. A socket that nobody reads takes more than that at once.
PAGE_BYTES = 48 * 1024
#: Characters of a name that are shown, and channels of a stream.
MAX_NAME, MAX_CHANNELS = 200, 10


class Listing:
    """
    :param connections: By descriptor.
    :param time: The loop's clock.
    """

    def __init__(
        self,
        connections: cabc.Mapping[int, Connection],
        log: Log,
        time: cabc.Callable[[], float],
    ) -> None:
        self._connections, self._log, self._time = connections, log, time

    def streams(self, asked: ListStreams) -> StreamPage:
        """A page of streams, in the order of their descriptors.

        Each is a dict with its public ``id``, ``user``, ``session`` and first ``channels``
        with how many ``more`` it has, for how many ``seconds`` it is open, its ``place``
        (``live``, ``behind`` or ``starting``), by what it is ``held`` (``socket``,
        ``nginx``, ``relay`` or ``app``), and whether it is a ``poll``, or ``follows`` a
        run. A name that is too long is cut off, and then ``cut`` is true.
        """
        rows: list[dict[str, t.Any]] = []
        matching, size, now = 0, 0, self._time()
        last = max(self._connections, default=-1)
        seen = max(asked.after, -1)
        for fd in range(seen + 1, min(seen + LOOK, last) + 1):
            seen = fd
            connection = self._connections.get(fd)
            if connection is None or not _matches(connection, asked):
                continue
            matching += 1
            if len(rows) < asked.most:
                rows.append(_row(connection, now))
                size += len(json.dumps(rows[-1]))
                if size > PAGE_BYTES:
                    break
        return StreamPage(rows, matching, seen if seen < last else None)

    def channels(self, asked: ListChannels) -> ChannelPage:
        """A page of channels with their readers."""
        channels, found, budget = self._log.channels, [], LOOK
        start = max(asked.after, 0)
        for channel in islice(channels.values(), start, start + LOOK):
            # A copy would take as long as to count them all.
            readers = [group.members for group in islice(channel.groups, LOOK)]
            count, groups = sum(readers), len(channel.groups)
            if groups > LOOK:
                # Near enough: most of such groups have one reader each.
                count = round(count * groups / LOOK)
            found.append((channel.name[:MAX_NAME], count))
            budget -= len(readers)
            if budget <= 0:
                break
        best = heapq.nlargest(min(asked.most, 100), found, key=lambda pair: pair[1])
        end = start + len(found)
        return ChannelPage(best, end if end < len(channels) else None)


def lists(found: cabc.Callable[[], Listing | None]) -> Handlers:
    """The handlers of messages that ask for a list.

    :param found: Returns ``None`` if the hub has had no hello, and so has no streams.
    """

    def send(asked: Asked, peer: Peer, _: list[int]) -> None:
        peer.send(answer(found(), asked))

    return {ListStreams: send, ListChannels: send}


def answer(listing: Listing | None, asked: Asked) -> StreamPage | ChannelPage:
    if isinstance(asked, ListStreams):
        return StreamPage([], 0, None) if listing is None else listing.streams(asked)
    return ChannelPage([], None) if listing is None else listing.channels(asked)


def _matches(connection: Connection, asked: ListStreams) -> bool:
    stream = connection.stream
    wanted = (asked.user, stream.user), (asked.session, stream.session)
    if any(name is not None and name != has for name, has in wanted):
        return False
    if asked.id is not None and asked.id != connection.public_id:
        return False
    return asked.channel is None or asked.channel in stream.channels


def _row(connection: Connection, now: float) -> dict[str, t.Any]:
    stream = connection.stream
    names = stream.user or "", stream.session or "", *stream.channels[:MAX_CHANNELS]
    return {
        "id": connection.public_id[:MAX_NAME],
        "user": _shown(stream.user),
        "session": None if stream.is_listener else _shown(stream.session or None),
        "channels": [_shown(name) for name in stream.channels[:MAX_CHANNELS]],
        "more": max(0, len(stream.channels) - MAX_CHANNELS),
        "cut": any(len(name) > MAX_NAME for name in names),
        "seconds": connection.age(now),
        "place": _place(connection),
        "held": _held(connection.fd, stream),
        "poll": stream.poll,
        "follows": stream.follow is not NOT_FOLLOWING,
    }


def _shown(name: str | None) -> str | None:
    return name if name is None or len(name) <= MAX_NAME else f"{name[:MAX_NAME]}…"


def _place(connection: Connection) -> str:
    if not connection.begun:
        return "starting"
    group = connection.group
    late = group.late if isinstance(group, PacedGroup) else ()
    return "live" if connection.fd in group.live or connection.fd in late else "behind"


def _held(fd: int, stream: Stream) -> str:
    if stream.is_listener:
        return "app"
    if not is_unix_socket(fd):
        return "socket"
    return "nginx" if has_name(fd) else "relay"
