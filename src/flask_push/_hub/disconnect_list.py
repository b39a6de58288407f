"""The disconnects that a hub knows of, and whether it knows all of them.

The list is complete from one number, ``since``, to another, ``end``, of one epoch. A stream
whose request came before ``since`` may have been disconnected without the hub knowing.
"""

from __future__ import annotations

import typing as t
from collections import Counter

from .._delivery.disconnect import Disconnect
from .._delivery.stream import Stream
from .._delivery.stream_presence import NOTHING
from .._event import Position
from ..brokers import MAX_OWN_BYTES
from ..brokers import MAX_OWN_ENTRIES
from ..brokers import OwnPage

# Of a disconnect: user, session and channel.
_Selectors = tuple[str | None, str | None, str | None]


class Found(t.NamedTuple):
    """The number of a disconnect, and its reason."""

    number: int
    reason: str


class DisconnectIndex:
    """Disconnects by what they select. Of those that select the same, the newest counts."""

    def __init__(self) -> None:
        # The oldest first.
        self._found: dict[_Selectors, Found] = {}
        # The newest that has a session, whatever session, by user and channel.
        self._sessions: dict[tuple[str | None, str | None], Found] = {}
        # Which selectors are given, and in how many.
        self._kinds: Counter[tuple[bool, bool, bool]] = Counter()
        self._bytes = 0
        #: The number of the newest.
        self.newest = 0

    def __len__(self) -> int:
        return len(self._found)

    def add(self, number: int, said: Disconnect) -> None:
        """Add one whose number is greater than all others."""
        key, found = said[:3], Found(number, said.reason)
        self._remove(key)
        self._found[key] = found
        self._kinds[_kind(key)] += 1
        self._bytes += _size(key, found)
        if said.session:
            self._sessions[said.user, said.channel] = found
        self.newest = number

    def bound(self) -> int:
        """Remove the oldest, if there are more than a store keeps, or more text.

        :return: The number of the last one that was removed; 0 if none was.
        """
        last = 0
        while len(self) > MAX_OWN_ENTRIES or self._bytes > MAX_OWN_BYTES:
            key = next(iter(self._found))
            last = self._found[key].number
            self._remove(key)
        return last

    def find(self, stream: Stream, after: int = 0) -> Found | None:
        """The newest disconnect that names the stream, if its number is greater."""
        if self.newest <= after:
            return None
        newest = Found(after, "")
        for by_user, by_session, by_channel in self._kinds:
            user = stream.user if by_user else None
            session = stream.session if by_session else None
            if (by_user and user is None) or (by_session and session == ""):
                continue
            for channel in _channels(stream) if by_channel else (None,):
                if by_session and session is None:
                    found = self._sessions.get((user, channel))
                else:
                    found = self._found.get((user, session, channel))
                if found is not None:
                    newest = max(newest, found)
        return newest if newest.number > after else None

    def session_of(self, stream: Stream) -> Found | None:
        """The disconnect of the stream's session as a whole."""
        session = stream.session
        if not session or not self._sessions:
            return None
        found = self._found.get((None, session, None))
        return found or self._found.get((stream.user, session, None))

    def _remove(self, key: _Selectors) -> None:
        found = self._found.pop(key, None)
        if found is None:
            return
        self._bytes -= _size(key, found)
        kind = _kind(key)
        self._kinds[kind] -= 1
        if not self._kinds[kind]:
            del self._kinds[kind]
        user, session, channel = key
        if session and self._sessions[user, channel] is found:
            del self._sessions[user, channel]


def _channels(stream: Stream) -> tuple[str, ...]:
    """All channels of which a page may get something."""
    if stream.presence is NOTHING:
        return stream.channels
    return stream.channels + stream.presence.channels


def _kind(key: _Selectors) -> tuple[bool, bool, bool]:
    user, session, channel = key
    return user is not None, session is not None, channel is not None


def _size(key: _Selectors, found: Found) -> int:
    return sum(map(len, filter(None, key))) + len(found.reason)


class Change(t.NamedTuple):
    """What a page says about the streams that have begun."""

    #: Streams that these name have to end.
    new: DisconnectIndex
    #: Why any other stream may have been disconnected too; empty if none was.
    doubt: str = ""


class DisconnectList:
    """
    :param position: Where another hub ended, whose streams this one has. The disconnects up
        to here have been applied to them.
    """

    def __init__(self, position: Position | None = None) -> None:
        self.epoch, self.end = position or Position("", 0)
        self.since = 0
        #: Whether it has had a page.
        self.known = False
        self.index = DisconnectIndex()

    def __repr__(self) -> str:
        if not self.known:
            return "<DisconnectList, not read yet>"
        since, end = (Position(self.epoch, number) for number in (self.since, self.end))
        return f"<DisconnectList from {since} to {end} [{len(self.index)} disconnects]>"

    def is_late(self, stream: Stream) -> bool:
        """Whether the stream may have been disconnected after its request came, or after
        its address was signed."""
        if not stream.seen:
            return self.index.find(stream) is not None
        epoch, number = Position.parse(stream.seen)
        if epoch != self.epoch or number < self.since:
            return True
        return self.index.find(stream, number) is not None

    def take(self, page: OwnPage) -> Change:
        """Take a page of the store's log."""
        doubt = ""
        if page.epoch != self.epoch:
            doubt = "the store began another epoch"
            self.epoch, self.end, self.known = page.epoch, 0, False
            self.index = DisconnectIndex()
        elif page.since > self.end:
            doubt = "disconnects have expired that were not read"
        if not self.known or doubt:
            self.since = page.since
        new = DisconnectIndex()
        for number, data in page.entries:
            if self.known and number <= self.end:
                continue
            try:
                said = Disconnect.from_bytes(data)
            except ValueError as error:
                self.since = max(self.since, number)
                doubt = f"disconnect {Position(page.epoch, number)} can't be read: {error}"
                continue
            self.index.add(number, said)
            if number > self.end:
                new.add(number, said)
        self.since = max(self.since, self.index.bound())
        self.end, self.known = max(self.end, page.end), True
        return Change(new, doubt)
