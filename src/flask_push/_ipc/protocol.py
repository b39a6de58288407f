"""The messages that workers, the hub and the hub's successor send each other.

A message is a JSON object, sent with file descriptors. One of its keys names its kind;
:data:`KINDS` has the kinds that each process receives. The page :doc:`/protocol` of the
documentation describes all of them.

The rule for versions: the two ends may run different versions, because a worker keeps the
code that it started with, and a hub outlives its workers.

- A key never gets another meaning, and no key is used a second time.
- A field that is added has a default, which stands for what older versions do.
- A process ignores a field that it does not know (:func:`.known`).
- A process ignores a message of a kind that it does not know, and counts it. So a new kind
  must be one that may be lost.
"""

from __future__ import annotations

import secrets
import typing as t
from dataclasses import dataclass

from .._delivery.known import known
from .._delivery.snapshot import stream_from_json
from .._delivery.snapshot import stream_to_json
from .._delivery.stream import check_stream
from .._delivery.stream import Stream
from .kind import Message
from .listing_protocol import ChannelPage
from .listing_protocol import ListChannels
from .listing_protocol import ListStreams
from .listing_protocol import StreamPage
from .takeover_protocol import Begin
from .takeover_protocol import Commit
from .takeover_protocol import Complete
from .takeover_protocol import Counted
from .takeover_protocol import Drains
from .takeover_protocol import Followers
from .takeover_protocol import Frames
from .takeover_protocol import PeerState
from .takeover_protocol import Presence
from .takeover_protocol import Readers
from .takeover_protocol import Ready
from .takeover_protocol import Rosters
from .takeover_protocol import Taken

# What the hub receives.


@dataclass(frozen=True)
class Hello(Message):
    """The first message of a worker. :class:`.Agreement` checks its values."""

    key = "hello"
    values: t.Any
    version: str = "0"


@dataclass(frozen=True)
class Adopt(Message):
    """A browser's socket, which the hub holds from now on. With it may come the socket
    from which the hub drains what the server writes.

    :raises ValueError: If a field of the stream is of a wrong type.
    """

    key = "adopt"
    stream: Stream

    def to_json(self) -> dict[str, t.Any]:
        return {self.key: stream_to_json(self.stream)}

    @classmethod
    def from_json(cls, message: dict[str, t.Any]) -> Adopt:
        return cls(check_stream(stream_from_json(message[cls.key])))


@dataclass(frozen=True)
class Expect(Message):
    """A stream whose socket nginx brings, with this token."""

    key = "expect"
    stream: Stream
    token: str

    def to_json(self) -> dict[str, t.Any]:
        return {self.key: stream_to_json(self.stream), "ticket": self.token}

    @classmethod
    def from_json(cls, message: dict[str, t.Any]) -> Expect:
        stream = check_stream(stream_from_json(message[cls.key]))
        return cls(stream, str(message["ticket"]))


class Follow(Adopt):
    """A stream that follows a run. It has a kind of its own because a hub of an older
    version would send other bytes than the client expects; so it ignores this kind, and
    closes the socket."""

    key = "follow"


class ExpectFollow(Expect):
    """The same for a stream whose socket nginx brings."""

    key = "expect_follow"


class StatusRequest(Message):
    """A command asks for the hub's :class:`Status`."""

    key = "status"


class Stop(Message):
    """The hub has to end."""

    key = "stop"


@dataclass(frozen=True)
class ContainerEnds(Message):
    """The hub has to end if it is in this PID namespace. If it is not, it refuses."""

    key = "container_ends"
    namespace: int


@dataclass(frozen=True)
class Replace(Message):
    """Another process wants to take the hub's place.

    :param forced: Whether also if its version is not newer.
    """

    key = "replace"
    version: str
    forced: bool

    def to_json(self) -> dict[str, t.Any]:
        return {self.key: dict(vars(self))}

    @classmethod
    def from_json(cls, message: dict[str, t.Any]) -> Replace:
        return cls(**known(cls, message[cls.key]))


# What a worker receives, or a command.


@dataclass(frozen=True)
class Welcome(Message):
    """The hub accepts a worker's hello.

    :param no_accel: Why the hub can't listen for nginx; empty if it can.
    :param follows: Whether the hub knows streams that follow a run.
    """

    key = "welcome"
    version: str
    no_accel: str = ""
    follows: bool = False

    def to_json(self) -> dict[str, t.Any]:
        values = dict(vars(self))
        # As an older version has sent it, which does not know this field.
        if not self.follows:
            del values["follows"]
        return {self.key: 1, **values}

    @classmethod
    def from_json(cls, message: dict[str, t.Any]) -> Welcome:
        return cls(**known(cls, message))


@dataclass(frozen=True)
class Refused(Message):
    """The hub refuses a worker, or a successor."""

    key = "refused"
    reason: str


@dataclass(frozen=True)
class Bye(Message):
    """The hub ends on purpose, so the worker need not start another one at once."""

    key = "bye"
    reason: str


@dataclass(frozen=True)
class LogLine(Message):
    """A line of the hub's log, which one worker writes into its own log too."""

    key = "log"
    level: int
    text: str

    def to_json(self) -> dict[str, t.Any]:
        return {self.key: [self.level, self.text]}

    @classmethod
    def from_json(cls, message: dict[str, t.Any]) -> LogLine:
        level, text, *_ = message[cls.key]
        return cls(level, text)


@dataclass(frozen=True)
class Status(Message):
    """What ``flask push status`` shows."""

    key = "status"
    values: t.Any


def _table(*kinds: type[Message]) -> dict[str, type[Message]]:
    return {kind.key: kind for kind in kinds}


#: By receiver, the kinds of messages that it knows.
KINDS: dict[str, dict[str, type[Message]]] = {
    "hub": _table(
        *(Hello, Adopt, Expect, Follow, ExpectFollow, StatusRequest, Stop, Replace),
        *(ContainerEnds, ListStreams, ListChannels),
    ),
    "worker": _table(
        *(Welcome, Refused, Bye, LogLine, Status, StreamPage, ChannelPage),
    ),
    "successor": _table(
        *(Refused, Begin, PeerState, Frames, Readers, Followers, Drains, Rosters),
        *(Presence, Counted, Complete, Commit),
    ),
    "predecessor": _table(Ready, Taken),
}


class Reader:
    """Reads the messages for one kind of receiver."""

    def __init__(self, receiver: str) -> None:
        self._kinds = KINDS[receiver]
        self._receiver = receiver
        #: How many messages were ignored, because this version does not know their kind.
        self.unknown = 0

    def __repr__(self) -> str:
        return f"<Reader for the {self._receiver} [{self.unknown} unknown messages]>"

    def read(self, message: dict[str, t.Any]) -> Message | None:
        """The message; ``None`` if this version does not know its kind.

        :raises Exception: If a field is missing, or is of a wrong type.
        """
        for key in message:
            if (kind := self._kinds.get(key)) is not None:
                return kind.from_json(message)
        self.unknown += 1
        return None


# A hub that does not know a token knows from this that its client must not take the answer
# for an empty run.
_PLAIN = "plain-"


def new_token(plain: bool = False) -> str:
    """A random token, with which nginx brings the socket of one stream.

    :param plain: Whether it is a plain wire: see :attr:`.Stream.is_plain`.
    """
    return (_PLAIN if plain else "") + secrets.token_urlsafe(24)


def is_plain(token: str) -> bool:
    """Whether the token is that of a plain wire."""
    return token.startswith(_PLAIN)
