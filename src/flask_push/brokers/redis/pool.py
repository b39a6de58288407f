"""Connections to a Redis, opened by redis-py, which handles addresses, TLS and users.

All that a call does, connecting and authentication included, has one deadline.
"""

from __future__ import annotations

import collections.abc as cabc
import os
import socket
import threading
import time
import typing as t
from concurrent.futures import Future
from concurrent.futures import wait
from functools import partial

from redis.backoff import NoBackoff
from redis.connection import Connection
from redis.connection import parse_url
from redis.exceptions import BusyLoadingError
from redis.exceptions import RedisError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeout
from redis.retry import Retry
from redis.sentinel import Sentinel

from ..._system.polling import is_quiet
from ..._system.sockets import look_again
from ..._system.turns import Places
from ..._system.turns import wait_again
from .calls import Names
from .cluster import Address
from .cluster import Nodes
from .errors import code_of
from .scripts import Arg
from .url import RedisUrl

_NO_RETRY = Retry(NoBackoff(), 0)
# Calls that have a connection at the same time, and so the most connections of a process.
# The other calls wait in turn. More would not be faster, because a process can't compute so
# many calls while Redis answers one. If each of a thousand calls at once opened a
# connection, all of them would be late.
MAX_CONNECTIONS = 32

#: Errors by which a server refuses a command.
Refused = (ResponseError, BusyLoadingError)
#: Errors of a connection.
FAILED = (RedisError, OSError)
# Errors of a Cluster's node that has not all keys of the command, and so did nothing.
_ELSEWHERE = {"ASK", "CLUSTERDOWN", "MASTERDOWN", "MOVED", "TRYAGAIN"}


class Moving(ResponseError):
    """No node has the slot at the moment."""


class Place:
    """A store in a Redis, by its URL.

    :raises ValueError: If the URL is invalid.
    """

    def __init__(self, url: str) -> None:
        given = RedisUrl.read(url)
        parse: t.Any = parse_url
        try:
            self._options: dict[str, t.Any] = parse(given.plain)
            self._connect = self._options.pop("connection_class", Connection)
            # Checks the options, and opens nothing.
            self._connect(**self._options)
        except (RedisError, TypeError, ValueError) as error:
            raise ValueError(f"redis-py can't use the URL of the store: {error}") from None
        self._sentinels, self._service = given.sentinels, given.service
        #: The nodes, if it is a Cluster.
        self.nodes = None if given.nodes is None else Nodes(given.nodes, given.prefix)
        self.names = Names(given.prefix, int(self._options.get("db") or 0))
        #: Without user and password, for the log.
        self.name = given.name
        self.secure = given.name.startswith("rediss")

    def connect(self, seconds: float) -> t.Any:
        """An authenticated connection. Each step may take so many seconds."""
        options = {"retry": _NO_RETRY, **self._options}
        options |= {"protocol": 2, "decode_responses": False}
        options |= {"socket_timeout": seconds, "socket_connect_timeout": seconds}
        if self._sentinels:
            options["host"], options["port"] = self._master(seconds)
        elif self.nodes is not None:
            options["host"], options["port"] = self._node(self.nodes, seconds, options)
        connection = self._connect(**options)
        try:
            connection.connect()
        except FAILED:
            if self.nodes is not None:
                self.nodes.doubt()
            raise
        return connection

    def elsewhere(self, error: Exception) -> bool:
        """Whether a node of a Cluster did nothing, because it has not all keys. The next
        connection goes to the node that it names."""
        if self.nodes is None:
            return False
        # redis-py has a class for each of these since 6.0, and the code in its text before.
        code = code_of(error)
        if code == "MOVED":
            self.nodes.moved(str(error).rpartition(" ")[2])
        elif code in ("CLUSTERDOWN", "MASTERDOWN"):
            self.nodes.doubt()
        return code in _ELSEWHERE

    def _master(self, seconds: float) -> tuple[str, int]:
        """The master's address. The Sentinels are asked for each connection."""
        sentinel: t.Any = Sentinel
        asked = sentinel(self._sentinels, socket_timeout=seconds / 2, retry=_NO_RETRY)
        try:
            found: tuple[str, int] = asked.discover_master(self._service)
            return found
        finally:
            for client in asked.sentinels:
                client.close()

    def _node(self, nodes: Nodes, seconds: float, options: dict[str, t.Any]) -> Address:
        """The address of the node that has the slot. Asked for each connection."""
        if (named := nodes.named()) is not None:
            return named
        known = nodes.known
        each = seconds / (len(known) + 1)
        options = options | {"socket_timeout": each, "socket_connect_timeout": each}
        failed: Exception | None = None
        for host, port in known:
            connection = self._connect(**{**options, "host": host, "port": port})
            try:
                connection.connect()
                connection.send_command("CLUSTER", "SLOTS")
                master = nodes.learn(connection.read_response(), (host, port))
            except FAILED as error:
                failed = error
            else:
                if master is not None:
                    return master
            finally:
                connection.disconnect()
        raise failed or Moving(f"No node of the Cluster has the slot {nodes.slot}.")

    def dial(self, seconds: float) -> socket.socket:
        """As :meth:`connect`, but the bare socket."""
        connection = self.connect(seconds)
        sock: socket.socket = connection._sock
        connection._sock = None
        connection.disconnect()
        sock.setblocking(False)
        return sock


class Silence(Exception):
    """There was no answer in time."""


class Pool:
    """Connections of this process, each in the place of one call. Any thread; after a fork,
    the child does not use those of its parent."""

    def __init__(self, place: Place, greet: cabc.Callable[[t.Any, float], None]) -> None:
        self._place = place
        #: Called first with each new connection.
        self._greet = greet
        self._places: Places[t.Any] = Places(MAX_CONNECTIONS)
        self._pid = os.getpid()

    @property
    def places(self) -> Places[t.Any]:
        """A call takes one, with an idle connection or without, and leaves a connection in
        it only if that may be used again."""
        if self._pid != os.getpid():
            # redis-py closes them without telling the server: they are the parent's. Then
            # other threads may take what is there.
            self.close()
            self._places = Places(MAX_CONNECTIONS)
            self._pid = os.getpid()
        return self._places

    def idle(self, place: list[t.Any]) -> t.Any:
        """The connection from a place that was taken, if it is as it was left."""
        connection, place[0] = place[0], None
        if connection is None:
            return None
        sock = connection._sock
        if sock is not None and is_quiet(sock):
            return connection
        connection.disconnect()
        return None

    def connect(self, seconds: float) -> t.Any:
        """
        :param seconds: How long it may take.
        """
        deadline = time.monotonic() + seconds
        connection = self._connect(seconds)
        try:
            self._greet(connection, deadline)
        except BaseException:
            connection.disconnect()
            raise
        return connection

    def _connect(self, seconds: float) -> t.Any:
        """Connect in a thread, because looking up a host name has no time-out of its own
        that is short enough."""
        made: Future[t.Any] = Future()

        def connect() -> None:
            try:
                connection = self._place.connect(seconds)
            except BaseException as error:
                made.set_exception(error)
            else:
                made.set_result(connection)

        thread = threading.Thread(target=connect, name="flask-push connect", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The interpreter is ending, or may start no more threads. Looking up the name
            # may then take longer than the deadline.
            connect()
        if wait_again(lambda left: wait([made], left).done, seconds):
            return made.result()
        made.add_done_callback(_disconnect)
        raise Silence("The time is up.")

    def ask(self, connection: t.Any, args: list[Arg], seconds: float) -> t.Any:
        """One command and its reply.

        :raises ResponseError: If the server refuses it.
        """
        sock = connection._sock
        sock.settimeout(seconds)
        # hiredis crashes the process if the handler of a signal raises an exception while
        # it makes text of a number.
        connection.send_command(*[str(arg) if type(arg) is int else arg for arg in args])
        read = connection.read_response
        try:
            return read(disconnect_on_error=False)
        except RedisTimeout:
            return look_again(sock, partial(read, disconnect_on_error=False))

    def close(self) -> None:
        """Close the idle connections. Other threads may take connections meanwhile."""
        self._places.empty(lambda connection: connection.disconnect())


def _disconnect(made: Future[t.Any]) -> None:
    if made.exception() is None:
        made.result().disconnect()
