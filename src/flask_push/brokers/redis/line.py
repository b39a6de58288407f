"""A hub's line to a Redis: a subscribed connection and a plain one, both or neither.

Dialled in a thread, for names and TLS and passwords may take their time; and again,
for as long as it takes. The log says that the line is lost once for each reason, and then
once that it is back; where it is lost over and over, once a minute at most.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import logging
import random
import socket
import threading
import typing as t
from contextvars import Context
from functools import partial

from ..._system import unpatched
from ..._system.logs import QuietLogger
from .errors import code_of
from .errors import ends_link
from .errors import explain
from .errors import passes
from .link import Link
from .link import News
from .link import PATIENCE
from .link import ReplyError
from .pool import Place
from .scripts import Arg
from .scripts import Script

logger = logging.getLogger("flask_push")

# Seconds before it is dialled again, twice as long each time, and half of it random.
_SHORTEST, _LONGEST = 0.1, 2.0
# Channels that one command subscribes to.
_BATCH = 512
# Seconds after which a connection is used that was not: servers and proxies close those on
# which nothing is sent, most of them after a minute or more.
_IDLE = 4.0

Answer = cabc.Callable[[t.Any], None]
Refused = cabc.Callable[[ReplyError], None]


class Listener(t.Protocol):
    def up(self) -> None:
        """It is there, and nothing has been said."""

    def down(self) -> None:
        """It is gone, and no question will be answered."""

    def pushed(self, news: News) -> None: ...


class Line:
    def __init__(
        self, place: Place, loop: asyncio.AbstractEventLoop, listener: Listener
    ) -> None:
        self.name = place.name
        #: Whether something can be said.
        self.ready = False
        self._place = place
        self._loop = loop
        self._listener = listener
        self._closed = False
        #: Why it is lost, as far as the log has said so and not that it is back.
        self._reasons: set[str] = set()
        self._quiet = QuietLogger()
        self._keeper: asyncio.TimerHandle | None = None
        self._pause = _SHORTEST
        self._timer: asyncio.TimerHandle | None = None
        self._links: list[Link] = []
        # Held by whoever has sockets that are not links yet.
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._dial()

    # What is said.

    def subscribe(self, channels: cabc.Iterable[bytes]) -> None:
        self._to_each("SUBSCRIBE", channels)

    def unsubscribe(self, channels: cabc.Iterable[bytes]) -> None:
        self._to_each("UNSUBSCRIBE", channels)

    def settle(self, then: cabc.Callable[[], None]) -> None:
        """Go on when whatever is subscribed to is."""
        self._links[0].call(["PING"], lambda _: then())

    def prove(
        self, script: Script, args: list[Arg], answer: Answer, refused: Refused
    ) -> None:
        """Ask, so that whatever was published before the answer has been handed on, and
        whatever is subscribed to will be after it.

        :param refused: Called in place of `answer` if the server refuses it, and the
            connection is none the worse for it.
        """
        answered = partial(self._answered, answer, refused)
        self._links[0].call(script.by_text(args), answered)

    def ask(
        self, script: Script, args: list[Arg], answer: Answer, refused: Refused
    ) -> None:
        """Ask, without regard to what is published meanwhile."""

        def replied(reply: t.Any) -> None:
            if isinstance(reply, ReplyError) and code_of(reply) == "NOSCRIPT":
                plain.call(script.by_text(args), answered)
            else:
                answered(reply)

        plain, answered = self._links[1], partial(self._answered, answer, refused)
        plain.call(script.by_sha(args), replied)

    def well(self) -> None:
        """What was asked was answered as it should be."""
        self._pause = _SHORTEST
        if self._reasons:
            self._reasons.clear()
            # No more often than a line that it is lost.
            logger.warning("%s is back.", self.name)

    def fail(self, error: Exception) -> None:
        """Hang up, and dial again."""
        if self._closed or self._timer is not None:
            return
        self._place.elsewhere(error)
        if (reason := code_of(error)) not in self._reasons:
            # A line that is left out is logged later, if the server is still away then.
            why = self.name, explain(error)
            if self._quiet.error("%s is lost, and streams wait: %s", *why, kind=reason):
                self._reasons.add(reason)
        self._hang_up()
        pause = self._pause * random.uniform(0.5, 1)
        self._pause = min(2 * self._pause, _LONGEST)
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
            answer(reply)
        elif ends_link(reply):
            self.fail(reply)
        else:
            self._log_refusal(reply)
            refused(reply)

    def _log_refusal(self, error: ReplyError) -> None:
        why = self.name, explain(error)
        if passes(error):
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
        for start in range(0, len(names), _BATCH):
            self._links[0].change(command, names[start : start + _BATCH])

    def _hang_up(self) -> None:
        links, self._links = self._links, []
        if self._keeper is not None:
            self._keeper.cancel()
        for link in links:
            link.close()
        if links:
            self.ready = False
            if not self._closed:
                self._listener.down()

    # How it comes about.

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
                socks.append(self._place.dial(PATIENCE))
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
                pass  # The loop has ended, and the line with it.
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
        self._links = [Link(self._loop, s, self._listener.pushed, self.fail) for s in socks]
        self._links[0].call(["HELLO", "3"], self._greeted)

    def _greeted(self, reply: t.Any) -> None:
        if isinstance(reply, ReplyError):
            self.fail(reply)
            return
        self.ready = True
        self._keep()
        self._listener.up()

    def _keep(self) -> None:
        """Use both connections, and so notice it if one is dead."""
        self._keeper = self._loop.call_later(_IDLE, self._keep)
        for link in self._links:
            if link.used <= self._loop.time() - _IDLE:
                link.call(["PING"], lambda _: None)
