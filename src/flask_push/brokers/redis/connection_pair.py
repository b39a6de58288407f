"""A pair of connections to a Redis: one that subscribes, and one that does not.

If either is lost, both are closed and opened again, until it succeeds. They are opened in a
thread, because name servers, TLS and passwords may take long. The log has one line for each
reason for which they were lost, and one when they work again; at most one a minute.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import logging
import random
import socket
import typing as t
from contextvars import Context
from functools import partial

from ..._system import unpatched
from ..._system.logs import QuietLogger
from .connection import Published
from .connection import RedisConnection
from .connection import ReplyError
from .connection import SILENCE_SECONDS
from .errors import code_of
from .errors import ends_link
from .errors import explain
from .errors import passes
from .pool import Place
from .scripts import Arg
from .scripts import Script

logger = logging.getLogger("flask_push")

# Seconds before the next attempt to connect: twice as long each time, half of it random.
_SHORTEST_RETRY, _LONGEST_RETRY = 0.1, 2.0
# Channels of one SUBSCRIBE.
_MAX_CHANNELS = 512
# Seconds after which an idle connection sends PING. Servers and proxies close idle
# connections, most of them after a minute or more.
_KEEPALIVE_SECONDS = 4.0

Answer = cabc.Callable[[t.Any], None]
Refused = cabc.Callable[[ReplyError], None]


class Listener(t.Protocol):
    def up(self) -> None:
        """Both connections are open, and nothing was sent on them yet."""

    def down(self) -> None:
        """Both connections are closed. No open question will be answered."""

    def pushed(self, published: Published) -> None: ...


class ConnectionPair:
    def __init__(
        self, place: Place, loop: asyncio.AbstractEventLoop, listener: Listener
    ) -> None:
        self.name = place.name
        #: Whether commands can be sent.
        self.ready = False
        #: Why the server can't be asked now; empty if it can, or was never asked.
        self.trouble = ""
        self._place = place
        self._loop = loop
        self._listener = listener
        self._closed = False
        #: The reasons for which it was lost that the log has named, until it works again.
        self._reasons: set[str] = set()
        self._quiet = QuietLogger()
        self._keeper: asyncio.TimerHandle | None = None
        self._pause = _SHORTEST_RETRY
        self._timer: asyncio.TimerHandle | None = None
        self._connections: list[RedisConnection] = []
        # Guards the sockets that have no RedisConnection yet.
        self._lock = unpatched.free_lock()
        self._sockets: list[socket.socket] = []
        self._dial()

    # Commands.

    def subscribe(self, channels: cabc.Iterable[bytes]) -> None:
        self._to_each("SUBSCRIBE", channels)

    def unsubscribe(self, channels: cabc.Iterable[bytes]) -> None:
        self._to_each("UNSUBSCRIBE", channels)

    def settle(self, then: cabc.Callable[[], None]) -> None:
        """Call back when all subscriptions so far are confirmed."""
        self._connections[0].call(["PING"], lambda _: then())

    def prove(
        self, script: Script, args: list[Arg], answer: Answer, refused: Refused
    ) -> None:
        """Ask on the connection that subscribes. Events that were published before the
        answer have then been handed on; subscriptions before it take effect after it.

        :param refused: Called in place of `answer` if the server refuses the command,
            and the connection can still be used.
        """
        answered = partial(self._answered, answer, refused)
        self._connections[0].call(script.by_text(args), answered)

    def ask(
        self, script: Script, args: list[Arg], answer: Answer, refused: Refused
    ) -> None:
        """Ask on the other connection, so that a long answer does not delay events."""

        def replied(reply: t.Any) -> None:
            if isinstance(reply, ReplyError) and code_of(reply) == "NOSCRIPT":
                plain.call(script.by_text(args), answered)
            else:
                answered(reply)

        plain, answered = self._connections[1], partial(self._answered, answer, refused)
        plain.call(script.by_sha(args), replied)

    def well(self) -> None:
        """Note that the server works again, as its answer has shown."""
        self._pause = _SHORTEST_RETRY
        if self._reasons:
            self._reasons.clear()
            # Once for each line that says it is lost.
            logger.warning("Reconnected to %s.", self.name)

    def fail(self, error: Exception) -> None:
        """Close both connections, and open them again later."""
        if self._closed or self._timer is not None:
            return
        self._place.elsewhere(error)
        self.trouble = explain(error)
        if (reason := code_of(error)) not in self._reasons:
            # A line that is suppressed is logged later, if the server is still away then.
            why = self.name, self.trouble
            if self._quiet.error(
                "Lost the connection to %s; streams wait: %s", *why, kind=reason
            ):
                self._reasons.add(reason)
        self._hang_up()
        pause = self._pause * random.uniform(0.5, 1)
        self._pause = min(2 * self._pause, _LONGEST_RETRY)
        self._timer = self._loop.call_later(pause, self._dial)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for sock in self._sockets:
                sock.close()
        if self._timer is not None:
            self._timer.cancel()
        self._hang_up()

    def _answered(self, answer: Answer, refused: Refused, reply: t.Any) -> None:
        if not isinstance(reply, ReplyError):
            self.trouble = ""
            answer(reply)
        elif ends_link(reply):
            self.fail(reply)
        else:
            self._log_refusal(reply)
            refused(reply)

    def _log_refusal(self, error: ReplyError) -> None:
        why = self.name, explain(error)
        if passes(error):
            self.trouble = explain(error)
            self._quiet.error(
                "Redis refused a command, and will be asked again (%s): %s", *why
            )
        else:
            self._quiet.error(
                "Redis could not run a script, and readers get a gap (%s): %s", *why
            )

    def _to_each(self, command: str, channels: cabc.Iterable[bytes]) -> None:
        names = list(channels)
        if self._place.nodes is not None:
            command = f"S{command}"
        for start in range(0, len(names), _MAX_CHANNELS):
            self._connections[0].change(command, names[start : start + _MAX_CHANNELS])

    def _hang_up(self) -> None:
        connections, self._connections = self._connections, []
        if self._keeper is not None:
            self._keeper.cancel()
        for connection in connections:
            connection.close()
        if connections:
            self.ready = False
            if not self._closed:
                self._listener.down()

    # Connecting.

    def _dial(self) -> None:
        self._timer = None
        try:
            unpatched.start_thread(self._dial_in_thread)
        except RuntimeError as error:
            self.fail(error)

    def _dial_in_thread(self) -> None:
        socks: list[socket.socket] = []
        failed: Exception | None = None
        try:
            for _ in range(2):
                socks.append(self._place.dial(SILENCE_SECONDS))
        except Exception as error:
            failed = error
        with self._lock:
            try:
                if not self._closed:
                    self._sockets = socks
                    self._loop.call_soon_threadsafe(
                        self._dialled, failed, context=Context()
                    )
                    return
            except RuntimeError:
                pass  # The loop has ended.
        for sock in socks:
            sock.close()

    def _dialled(self, failed: Exception | None) -> None:
        with self._lock:
            if self._closed:
                return
            socks, self._sockets = self._sockets, []
        if failed is not None:
            for sock in socks:
                sock.close()
            self.fail(failed)
            return
        self._connections = [
            RedisConnection(self._loop, s, self._listener.pushed, self.fail) for s in socks
        ]
        self._connections[0].call(["HELLO", "3"], self._greeted)

    def _greeted(self, reply: t.Any) -> None:
        if isinstance(reply, ReplyError):
            self.fail(reply)
            return
        self.ready = True
        self._keep()
        self._listener.up()

    def _keep(self) -> None:
        """Use both connections, to notice a dead one."""
        self._keeper = self._loop.call_later(_KEEPALIVE_SECONDS, self._keep)
        for connection in self._connections:
            if connection.used <= self._loop.time() - _KEEPALIVE_SECONDS:
                connection.call(["PING"], lambda _: None)
