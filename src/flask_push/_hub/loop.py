"""A hub, its bridges, and its socket for nginx, on one loop, in a process or in a thread.

They are opened and closed together: first nginx and the bridges bring nothing new, and then
the streams end.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import socket
from functools import partial
from pathlib import Path

from .._delivery.options import Options
from .._delivery.snapshot import HubState
from .._delivery.stream import Stream
from .._delivery.tickets import ReturnTickets
from .._event import Position
from .._ipc.protocol import Welcome
from .._ipc.version import version
from .._system import sockets
from ..brokers import Bridge
from ..brokers import Broker
from .arrivals import Arrivals
from .bridges import Bridges
from .figure_keeper import Take
from .hub import Hub
from .nginx import NginxListener


class HubLoop:
    """
    :param state: The state of another hub, with which this one goes on.
    :param note: Writes the hub's position for other processes (:class:`.Hub`).
    :param take: Returns what processes of the app have counted (:class:`.Measure`).
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        broker: Broker,
        options: Options,
        bridges: cabc.Collection[Bridge] = (),
        state: HubState | None = None,
        note: cabc.Callable[[Position], None] | None = None,
        take: Take | None = None,
    ) -> None:
        self.loop = loop
        self.broker = broker
        #: The hub's position in the store, for a hub in a thread. From any thread.
        self.known: Position | None = None
        self.hub = Hub(broker, options, loop, state, note or self._note, take)
        #: For a hub in a thread.
        self.arrivals = Arrivals(loop, self.hub.adopt)
        self.nginx: NginxListener | None = None
        #: Why the hub can't listen for nginx; empty if it can, or need not.
        self.no_nginx = ""
        self._bridges = Bridges(broker, loop)
        try:
            self._bridges.run(bridges, options.max_event)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return repr(self.hub)

    def _note(self, position: Position) -> None:
        self.known = position

    def change(self, options: Options, bridges: cabc.Collection[Bridge]) -> None:
        """Treat streams by these options, and run these bridges and no others."""
        self.hub.options = options
        self._bridges.run(bridges, options.max_event)

    @property
    def is_settled(self) -> bool:
        """Whether all streams have begun, and the store has whom they show."""
        streams = self.hub._streams.connections.values()
        return self.hub.presence.is_stored and all(stream.begun for stream in streams)

    def listen(self, path: Path, sock: socket.socket | None = None) -> NginxListener:
        """Listen for nginx.

        :param sock: The socket, if another process has listened on it before.
        :raises RuntimeError: If that is not possible.
        """
        if self.nginx is None:
            hub = self.hub
            self.nginx = NginxListener(self.loop, path, hub.adopt, hub.options, sock)
            self.nginx.refuses = hub.disconnects.refuses
            self.nginx.adopt_returned = partial(hub.adopt, kind="ticket")
        return self.nginx

    def try_to_listen(self, path: Path, sock: socket.socket | None = None) -> None:
        """Listen for nginx, or keep the reason why that is not possible."""
        try:
            self.listen(path, sock)
            self.no_nginx = ""
        except RuntimeError as error:
            self.no_nginx = str(error)

    def accept_keys(self, keys: cabc.Sequence[bytes]) -> None:
        """Accept the return tickets that were signed with these keys, and no others."""
        if self.nginx is not None:
            self.nginx.returns = ReturnTickets(keys)

    def freeze(self) -> HubState:
        """Give away all streams (:meth:`.Hub.freeze`). Only :meth:`release_nginx` may
        follow."""
        self._bridges.close()
        return self.hub.freeze()

    def release_nginx(self) -> list[socket.socket]:
        """Give away the socket for nginx, if there is one."""
        return [] if self.nginx is None else [self.nginx.release()]

    def descriptors(self) -> list[int]:
        """All that a forked child has to close, because it would keep them open."""
        nginx = [] if self.nginx is None else self.nginx.descriptors()
        return [*self.hub.descriptors(), *self.arrivals.descriptors(), *nginx]

    def close(self) -> None:
        # Each of them, even if closing one of the others fails.
        with contextlib.ExitStack() as stack:
            stack.callback(self.hub.stop)
            stack.callback(self.arrivals.end)
            stack.callback(self._bridges.close)
            if self.nginx is not None:
                stack.callback(self.nginx.close)


def welcome(hub: HubLoop | None) -> Welcome:
    """The answer to a worker's hello."""
    return Welcome(version(), "" if hub is None else hub.no_nginx, follows=True)


def refuse(stream: Stream, fd: int) -> None:
    """Tell the browser at this socket when to reconnect."""
    with contextlib.suppress(OSError):
        sockets.set_blocking(fd, False)
        sockets.write(fd, stream.refusal(Options().jittered_retry()))
