"""What a hub gives to its successor, and how the successor begins with it (law 10).

Every stream keeps its place: the other hub sends what this one would have sent next.
:mod:`.takeover` brings the state from one process to the other.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import socket
from math import inf

from .._delivery.log import Log
from .._delivery.readers import Readers
from .._delivery.snapshot import HubState
from .._delivery.snapshot import LogState
from .._delivery.snapshot import RosterState
from .._system import sockets
from .connection import Connection
from .feeding import Feeding
from .streams import Streams


def freeze(
    streams: Streams, log: Log, now: float, close: cabc.Callable[[], None]
) -> HubState:
    """Give away all streams. Their hub no longer writes to any of them.

    :param close: Closes everything else that the hub has.
    """
    readers = []
    for fd, connection in streams.connections.items():
        readers.append((connection.freeze(now, log.end), fd))
    state, rosters = LogState.of(log), RosterState.all_of(log)
    try:
        close()
        for fd in streams.connections:
            # A closed descriptor is still polled while another process has it open.
            streams.poller.remove(fd)
        present = streams.presence.state()
        frozen = HubState(state, readers, streams.poller.release(), rosters, present)
        streams.poller.close()
    except BaseException as error:
        streams.failstop.fail(error)
        streams.failstop.give_up()
        raise
    streams.connections.clear()
    return frozen


def end_all(state: HubState) -> None:
    """Close all streams, even if another process has their descriptors too."""
    for _, fd in state.readers:
        with contextlib.suppress(OSError), socket.socket(fileno=fd) as sock:
            sock.shutdown(socket.SHUT_RDWR)


def restore(
    frozen: HubState, streams: Streams, readers: Readers, feed: Feeding, now: float
) -> None:
    """Go on with the streams of another hub. There are no others yet."""
    # All connections first: a failure after this ends all of them.
    try:
        for place, fd in frozen.readers:
            streams.connections[fd] = Connection(fd, place.stream, now, inf)
    except BaseException:
        for _, fd in frozen.readers:
            if fd not in streams.connections:
                sockets.close(fd)
        raise
    for place, fd in frozen.readers:
        connection = streams.connections[fd]
        streams.limits.enter(connection.stream)
        streams.poller.add(fd)
        readers.join(connection, *place.stream.group)
        connection.resume(place, now)
    for fd in frozen.drains:
        streams.poller.add_drain(fd)
    streams.presence.take_over(frozen.presence)
    feed.watch(frozen.restore(readers.log))
    for connection in list(streams.connections.values()):
        if connection.begun:
            streams.presence.enter(connection)
            readers.resume(connection)
            streams.pump(connection)
        else:
            streams.starts.start_if_whole(connection)
