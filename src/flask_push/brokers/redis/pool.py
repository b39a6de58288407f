"""Connections to a Redis, opened by redis-py, which knows its addresses, TLS and users.

Nothing that is asked of them takes longer than until a deadline: it is the same for all
that a call does, connecting and saying who one is included.
"""

from __future__ import annotations

import collections.abc as cabc
import os
import socket
import threading
import time
import typing as t
from collections import deque
from concurrent.futures import Future

from redis.backoff import NoBackoff
from redis.connection import Connection
from redis.connection import parse_url
from redis.exceptions import AskError
from redis.exceptions import BusyLoadingError
from redis.exceptions import ClusterDownError
from redis.exceptions import MovedError
from redis.exceptions import RedisError
from redis.exceptions import ResponseError
from redis.exceptions import TryAgainError
from redis.retry import Retry
from redis.sentinel import Sentinel

from .calls import Names
from .cluster import Address
from .cluster import Nodes
from .scripts import Arg
from .url import RedisUrl

_NO_RETRY = Retry(NoBackoff(), 0)
# Connections kept for the next call.
_IDLE = 16

#: What a server that was asked may say no with.
Refused = (ResponseError, BusyLoadingError)
#: What can go wrong with a connection, but for what the server says itself.
FAILED = (RedisError, OSError)
# A node of a Cluster that was asked for what it has not got, or not all of, did nothing.
_ELSEWHERE = (AskError, TryAgainError, ClusterDownError)


class Moving(ResponseError):
    """Nobody has the slot, for now."""


class Place:
    """A store in a Redis, by its URL.

    :raises ValueError: If it is none.
    """

    def __init__(self, url: str) -> None:
        given = RedisUrl.read(url)
        parse: t.Any = parse_url
        try:
            self._options: dict[str, t.Any] = parse(given.plain)
            self._connect = self._options.pop("connection_class", Connection)
            # This opens nothing, and checks what redis-py is told.
            self._connect(**self._options)
        except (RedisError, TypeError, ValueError) as error:
            raise ValueError(f"redis-py can't use the URL of the store: {error}") from None
        self._sentinels, self._service = given.sentinels, given.service
        #: Where else to ask, if it is a Cluster.
        self.nodes = None if given.nodes is None else Nodes(given.nodes, given.prefix)
        self.names = Names(given.prefix, int(self._options.get("db") or 0))
        #: Without user and password, for the log.
        self.name = given.name
        self.secure = given.name.startswith("rediss")

    def connect(self, seconds: float) -> t.Any:
        """A connection that has said who it is. Each step of it may take so long."""
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
        """Whether a node of a Cluster did nothing, for it has not got all it needs. The
        next connection is to the one that it names."""
        if self.nodes is None:
            return False
        code, _, rest = str(error).partition(" ")
        if isinstance(error, MovedError):
            self.nodes.moved(f"{error.host}:{error.port}")
        elif code == "MOVED":
            self.nodes.moved(rest.rpartition(" ")[2])
        elif isinstance(error, ClusterDownError) or code == "CLUSTERDOWN":
            self.nodes.doubt()
        return isinstance(error, _ELSEWHERE)

    def _master(self, seconds: float) -> tuple[str, int]:
        """Where the sentinels say that it is, asked anew for each connection."""
        sentinel: t.Any = Sentinel
        asked = sentinel(self._sentinels, socket_timeout=seconds / 2, retry=_NO_RETRY)
        try:
            found: tuple[str, int] = asked.discover_master(self._service)
            return found
        finally:
            for client in asked.sentinels:
                client.close()

    def _node(self, nodes: Nodes, seconds: float, options: dict[str, t.Any]) -> Address:
        """Where the slot is, as any node says, asked anew for each connection."""
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
    """The time is up."""


class Pool:
    """Connections of this process that are not in use. Any thread; after a fork, the
    child has none of its parent's."""

    def __init__(self, place: Place, greet: cabc.Callable[[t.Any, float], None]) -> None:
        self._place = place
        #: What is said first on each.
        self._greet = greet
        self._idle: deque[t.Any] = deque()
        self._pid = os.getpid()

    def take(self, deadline: float) -> t.Any:
        if self._pid != os.getpid():
            # redis-py closes them without a word to the server, which is the parent's.
            self._pid = os.getpid()
            self.close()
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                break
            try:
                if not connection.can_read(0):
                    return connection
            except FAILED:
                pass
            connection.disconnect()
        connection = self._connect(_left(deadline))
        try:
            self._greet(connection, deadline)
        except BaseException:
            connection.disconnect()
            raise
        return connection

    def _connect(self, seconds: float) -> t.Any:
        """On a thread: nothing ends the system's search for a name but its own patience,
        which is longer than ours."""
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
            # The interpreter is ending, or may have no more threads. A name may then take
            # longer to be found than we would wait.
            connect()
        try:
            return made.result(seconds)
        except TimeoutError as error:
            made.add_done_callback(_disconnect)
            raise Silence("The time is up.") from error

    def give_back(self, connection: t.Any) -> None:
        if len(self._idle) < _IDLE and self._pid == os.getpid():
            self._idle.append(connection)
        else:
            connection.disconnect()

    def ask(self, connection: t.Any, args: list[Arg], deadline: float) -> t.Any:
        """One command and its reply.

        :raises ResponseError: If the server says no.
        """
        connection._sock.settimeout(_left(deadline))
        connection.send_command(*args)
        return connection.read_response()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().disconnect()


def _disconnect(made: Future[t.Any]) -> None:
    if made.exception() is None:
        made.result().disconnect()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise Silence("The time is up.")
    return left
