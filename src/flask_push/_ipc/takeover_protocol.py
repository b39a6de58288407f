"""The messages between a hub and its successor. See :mod:`.protocol`."""

from __future__ import annotations

import base64
import typing as t
from dataclasses import dataclass

from .._delivery.figure_record import FigureState
from .._delivery.known import known
from .._delivery.presence_plan import RecordState
from .._delivery.snapshot import LogState
from .kind import Message

# What the successor receives from the hub that it replaces, in this order.


@dataclass(frozen=True)
class Begin(Message):
    """The last hello, and the state of the log. With it come the descriptors of the
    listening socket, the lock, and the socket for nginx if there is one."""

    key = "chains"
    hello: dict[str, t.Any]
    log: LogState

    def to_json(self) -> dict[str, t.Any]:
        return {"hello": self.hello, self.key: self.log.to_json()}

    @classmethod
    def from_json(cls, message: dict[str, t.Any]) -> Begin:
        return cls(message["hello"], LogState.from_json(message[cls.key]))


@dataclass(frozen=True)
class PeerState(Message):
    """A process that is connected to the hub. With it come its connection, and the
    descriptors of a message of which a part has arrived.

    :param unread: The part of that message that has arrived.
    :param welcome: Whether the hub has accepted its hello.
    """

    key = "visitor"
    unread: bytes
    welcome: bool

    def to_json(self) -> dict[str, t.Any]:
        return {self.key: self.unread.decode("latin-1"), "welcome": self.welcome}

    @classmethod
    def from_json(cls, message: dict[str, t.Any]) -> PeerState:
        return cls(message[cls.key].encode("latin-1"), message["welcome"])


@dataclass(frozen=True)
class Frames(Message):
    """Parts of frames of which slow readers have received the beginning, each with the
    number of its frame."""

    key = "frames"
    parts: list[tuple[int, bytes]]

    def to_json(self) -> dict[str, t.Any]:
        encoded = [(n, base64.b64encode(part).decode()) for n, part in self.parts]
        return {self.key: encoded}

    @classmethod
    def from_json(cls, message: dict[str, t.Any]) -> Frames:
        return cls([(n, base64.b64decode(part)) for n, part, *_ in message[cls.key]])


@dataclass(frozen=True)
class Readers(Message):
    """The state of some readers, each as :meth:`.ReaderState.to_json` returns it. With it
    come their sockets."""

    key = "places"
    states: list[list[t.Any]]


class Followers(Readers):
    """The same for readers that follow a run. An older version ignores them, and closes
    their sockets, because it would send other bytes than their clients expect."""

    key = "followers"


@dataclass(frozen=True)
class Rosters(Message):
    """Rosters that the hub has whole, or parts of them, each as a
    :class:`.RosterState`. An older version ignores them."""

    key = "rosters"
    parts: list[list[t.Any]]


@dataclass(frozen=True)
class Presence(Message):
    """Some of the users who are present at the hub, and its record in the store.

    :param members: As :meth:`.Members.to_rows` returns them.
    """

    key = "present"
    record: RecordState
    members: list[list[t.Any]]

    def to_json(self) -> dict[str, t.Any]:
        return {self.key: self.members, **self.record._asdict()}

    @classmethod
    def from_json(cls, message: dict[str, t.Any]) -> Presence:
        return cls(RecordState(**known(RecordState, message)), message[cls.key])


@dataclass(frozen=True)
class Counted(Message):
    """What the hub has counted, and what of it is stored. An older version ignores it."""

    key = "figures"
    figures: FigureState

    def to_json(self) -> dict[str, t.Any]:
        return {self.key: self.figures._asdict()}

    @classmethod
    def from_json(cls, message: dict[str, t.Any]) -> Counted:
        return cls(FigureState(**known(FigureState, message[cls.key])))


class Drains(Message):
    """Sockets from which the hub drains what servers write."""

    key = "drains"


class Complete(Message):
    """The successor has received everything."""

    key = "all"


class Commit(Message):
    """From now on the successor may write, and the old hub never writes again."""

    key = "commit"


# What the old hub receives from its successor.


class Ready(Message):
    """The successor has everything, and waits for :class:`Commit`."""

    key = "ready"


class Taken(Message):
    """The successor has received :class:`Commit`."""

    key = "taken"
