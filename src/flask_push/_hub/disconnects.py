"""Ends the streams that the app has disconnected, in every hub.

The store has a log of disconnects. Its feed gives a disconnect to the hub before any event
that was published later. The hub ends each stream that matches at once, before it writes
one more byte to it. The stream's browser reconnects, and its view decides again.

A view may be late: it decides, the user is disconnected, and then its stream reaches the
hub. So a stream carries ``seen``, a position that its process knew when the request came,
and the hub looks for a disconnect after it. No clocks are compared.

If the hub can't be certain that it knows of all disconnects, it sends its streams *back*:
it ends them without a reason, and their views decide. That is so if the store begins
another epoch, or if disconnects have expired that the hub had not read. A stream is also
sent back when it begins, if its ``seen`` is of another epoch, or older than the hub's list.
A stream that an older version hands over has none: the list alone decides.

What the app's own code reads, no view has granted, and nothing here ends it.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import logging
import typing as t

from .._delivery import wire
from .._delivery.log import Log
from .._delivery.stream import Stream
from .._event import Position
from .._system.logs import QuietLogger
from ..brokers import OwnPage
from .connection import Connection
from .disconnect_list import DisconnectList
from .disconnect_list import Found
from .hub_presence import HubPresence
from .limits import Limits

logger = logging.getLogger("flask_push")

# Streams that are sent back when they begin are spread over time together, if they come
# within so many seconds.
_TOGETHER_SECONDS = 1.0


class Ending(t.Protocol):
    """All streams of a hub."""

    limits: Limits
    presence: HubPresence
    connections: dict[int, Connection]

    def end(self, connection: Connection, streams: int, own: bytes, why: str) -> None: ...

    def wait_for_turn(self, connection: Connection) -> None: ...


class Disconnects:
    """
    :param kept: Whether the store keeps disconnects. If it does not, no stream is ended.
    :param note: Writes the hub's position where processes of the app read it. May raise an
        ``OSError``.
    """

    def __init__(
        self,
        streams: Ending,
        loop: asyncio.AbstractEventLoop,
        kept: bool,
        note: cabc.Callable[[Position], None],
    ) -> None:
        #: How many streams were disconnected, and how many were sent back.
        self.disconnected = self.sent_back = 0
        self._streams = streams
        self._loop = loop
        self._kept = kept
        self._note = note
        self._noted = Position("", 0)
        self._failing = ""
        self._quiet = QuietLogger()
        self._late, self._late_since = 0, -_TOGETHER_SECONDS

    def begin(self, log: Log, position: Position | None = None) -> None:
        """Know of no disconnect yet.

        :param position: Where the hub ended whose streams this hub takes over.
        """
        self._log = log
        self._list = DisconnectList(position)
        # Streams whose process was ahead of this hub, with the number that it had seen.
        self._ahead: dict[Connection, int] = {}
        # A text in ``seen`` that is after all disconnects. Most streams have the same.
        self._recent: str | None = None

    def __repr__(self) -> str:
        return f"<Disconnects {self._list}, {len(self._ahead)} streams ahead of it>"

    @property
    def on(self) -> bool:
        """Whether streams are disconnected at all."""
        return self._kept and self._streams.limits.options.disconnect

    @property
    def position(self) -> Position:
        """The greatest position of the store that is known here."""
        epoch, end = self._list.epoch, self._list.end
        return Position(epoch, max(end, self._log.end) if epoch == self._log.epoch else end)

    def take(self, page: OwnPage) -> None:
        """Apply a page of the store's log, before anything else of this turn."""
        first = not self._list.known
        change, self._recent = self._list.take(page), None
        if not self.on:
            return
        # Before any stream begins or ends: the next request of its browser reads it.
        self.note()
        if change.doubt:
            self._send_all_back(change.doubt)
        elif first or len(change.new):
            matching = []
            for connection in self._begun():
                stream = connection.stream
                found = change.new.find(stream, self._ahead.get(connection, 0))
                # A session stays disconnected, even if the stream's process knew of that.
                found = found or change.new.session_of(stream)
                if found is None and first and stream.session is None:
                    # A hub of an older version, which disconnects none, had this stream.
                    found = self._list.index.find(stream)
                if found is not None:
                    matching.append((connection, found))
            self._will_leave(len(matching))
            for connection, found in matching:
                self._disconnect(connection, found, len(matching))

    def turn_on(self) -> None:
        """Send all streams back, because no disconnect was applied to them before."""
        if self.on and self._list.known:
            self.note()
            self._send_all_back("PUSH_DISCONNECT is true now")

    def admits(self, connection: Connection) -> bool:
        """Whether a stream may begin now. If it may not, it waits, or was ended here."""
        stream = connection.stream
        if not self.on or stream.is_listener:
            return True
        if stream.seen == self._recent and not self._list.index.session_of(stream):
            return True
        if not self._list.known:
            self._streams.wait_for_turn(connection)
            return False
        if found := self._list.index.session_of(stream):
            self._disconnect(connection, found, self._count_late())
            return False
        if self._list.is_late(stream):
            self.sent_back += 1
            # A signed address does not become valid again.
            own = wire.expired() if stream.expires else b""
            self._streams.end(connection, self._count_late(), own, "sent_back")
            return False
        seen = Position.parse(stream.seen).number
        if seen > self.position.number:
            self._ahead[connection] = seen
        elif stream.seen and seen >= self._list.index.newest:
            self._recent = stream.seen
        return True

    def refuses(self, stream: Stream) -> bool:
        """Whether the view has to be asked, instead of a return ticket."""
        if not self.on:
            return False
        if not self._list.known or not stream.seen:
            return True
        return bool(self._list.index.session_of(stream)) or self._list.is_late(stream)

    def tick(self) -> None:
        """Once a second: forget what no longer matters, and note the position."""
        if self._ahead:
            end = self.position.number
            self._ahead = {c: n for c, n in self._ahead.items() if n > end and c.fd >= 0}
        self.note()

    def note(self) -> None:
        """Note the position, if it is another one than before."""
        position = self.position
        if not self.on or not self._list.known or position == self._noted:
            return
        try:
            self._note(position)
        except OSError as error:
            if self._failing != str(error):
                self._failing = str(error)
                logger.error(
                    "Could not write the hub's position; new streams may be sent back"
                    " until it can: %s",
                    error,
                )
        else:
            self._noted, self._failing = position, ""

    def _begun(self) -> list[Connection]:
        """Those that have not begun are checked when they begin."""
        connections = self._streams.connections.values()
        return [c for c in connections if c.begun and not c.stream.is_listener]

    def _disconnect(self, connection: Connection, found: Found, streams: int) -> None:
        self.disconnected += 1
        word = wire.disconnect(found.reason)
        self._streams.end(connection, streams, word, "disconnected")

    def _send_all_back(self, why: str) -> None:
        begun = self._begun()
        self._will_leave(len(begun))
        for connection in begun:
            self._streams.end(connection, len(begun), b"", "sent_back")
        self.sent_back += len(begun)
        if begun:
            self._quiet.warning(
                "Sent all %d streams back to their views, because %s; browsers reconnect.",
                *(len(begun), why),
            )

    def _will_leave(self, streams: int) -> None:
        """Let the store know that so many browsers will be away."""
        if streams > 1:
            longest = self._streams.limits.options.longest_retry(streams)
            self._streams.presence.will_leave(longest)

    def _count_late(self) -> int:
        """How many streams were ended lately when they began."""
        now = self._loop.time()
        if now >= self._late_since + _TOGETHER_SECONDS:
            self._late, self._late_since = 0, now
        self._late += 1
        return self._late
