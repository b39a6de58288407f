"""What is said to the scripts, and what they say. No input or output."""

from __future__ import annotations

import collections.abc as cabc
import hashlib
import typing as t

from .._event import Entry
from .._event import Event
from .._event import Page
from .._event import Position
from .._event import Proof
from . import _lua
from .base import new_epoch
from .base import Retention

# Bytes of history that a subscribed connection is asked for. What it gets more than a
# megabyte of at once, the server may cut off, each time again (law 18).
_JOIN_BYTES = 512 * 1024

Arg = str | bytes | int


class Script(t.NamedTuple):
    text: str
    sha: str

    def by_sha(self, key: str, args: cabc.Sequence[Arg]) -> list[Arg]:
        return ["EVALSHA", self.sha, 1, key, *args]

    def by_text(self, key: str, args: cabc.Sequence[Arg]) -> list[Arg]:
        return ["EVAL", self.text, 1, key, *args]


def _script(text: str) -> Script:
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


PUBLISH = _script(_lua.PUBLISH)
READ = _script(_lua.READ)
BRIDGE = _script(_lua.BRIDGE)


class Names(t.NamedTuple):
    """Where a store is, within a server."""

    prefix: str
    database: int

    @property
    def store(self) -> str:
        return f"{{{self.prefix}}}:store"

    def bridge(self, name: str) -> bytes:
        return f"{{{self.prefix}}}:bridge:{name}".encode()

    def channel(self, name: str) -> bytes:
        return f"{{{self.prefix}}}:{self.database}:{name}".encode()


class Head(t.NamedTuple):
    """Where the store is."""

    epoch: str
    end: int
    #: How far behind the end a position can be resumed.
    retention: int

    @classmethod
    def of(cls, reply: list[t.Any]) -> Head:
        epoch, end, floor, birth, age = reply[0].decode(), *map(int, reply[1:5])
        retention = age if floor == birth else min(age, end - floor)
        return cls(epoch, end, retention)


def opening(
    retention: Retention | None, at: tuple[str, int] = ("", 0), thorough: bool = False
) -> list[Arg]:
    """What each script is told first."""
    default = Retention()
    kept: list[Arg] = ["", "", ""]
    if retention is not None:
        kept = [round(retention.age * 1_000_000), retention.count, retention.bytes]
    spare = [round(default.age * 1_000_000), default.count, default.bytes]
    return [new_epoch(), *at, int(thorough), *kept, *spare]


def publish_args(
    events: cabc.Sequence[Event], names: Names, call: str, seconds: int
) -> list[Arg]:
    args: list[Arg] = [call, seconds, names.channel("")]
    for channel, data, type, key, store in map(_parts, events):
        args += [channel, key, store, type, data]
    return args


def _parts(event: Event) -> tuple[bytes, bytes, bytes, bytes, int]:
    key = b"" if event.key is None else b"=" + event.key.encode()
    data, type = event.data.encode(), event.type.encode()
    return event.channel.encode(), data, type, key, int(event.store)


def positions(reply: list[bytes]) -> list[Position]:
    epoch, numbers = reply[0].decode(), reply[1].decode()
    return [Position(epoch, int(number)) for number in numbers.split(",") if number]


def read_args(
    channels: cabc.Collection[str], after: int | None, last: int, limit: int
) -> list[Arg]:
    start: Arg = "" if after is None else after
    return [start, last, limit, 0, *channels]


def join_args(channels: cabc.Collection[str], after: int) -> list[Arg]:
    return [after, 0, _JOIN_BYTES, 1, *channels]


def record(channel: str, data: bytes) -> Entry:
    number, prev, size, rest = data.split(b":", 3)
    length = int(size)
    type, body = rest[:length].decode(), rest[length:]
    return Entry(int(number), int(prev) if prev else None, channel, type, body)


def news(channel: str, data: bytes) -> tuple[str, Entry]:
    """What is published: the epoch and an entry."""
    epoch, _, rest = data.partition(b":")
    return epoch.decode(), record(channel, rest)


def number_of(data: bytes) -> int:
    return int(data.split(b":", 2)[1])


def page(reply: list[t.Any], channels: cabc.Sequence[str], after: int | None) -> Page:
    epoch, end, _ = Head.of(reply)
    if after is None:
        after = int(reply[5])
    proofs = {
        name: Proof(int(since), reason.decode())
        for name, since, reason in zip(channels, *_turns(reply[7]), strict=True)
    }
    return Page(epoch, after, int(reply[6]), end, _entries(reply, channels), proofs)


def joined(reply: list[t.Any], channels: cabc.Sequence[str]) -> list[Entry] | None:
    """All that a feed has not heard; nothing if this is not all of it."""
    return _entries(reply, channels) if int(reply[6]) else None


def _entries(reply: list[t.Any], channels: cabc.Sequence[str]) -> list[Entry]:
    indices, records = _turns(reply[8])
    return [record(channels[i - 1], data) for i, data in zip(indices, records, strict=True)]


def _turns(values: list[t.Any]) -> tuple[list[t.Any], list[t.Any]]:
    return values[::2], values[1::2]
