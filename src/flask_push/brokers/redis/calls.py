"""The arguments of the scripts. No input or output."""

from __future__ import annotations

import collections.abc as cabc
import os
import secrets
import time
import typing as t
from collections import deque

from ..._event import Event
from ..._event import OwnChannel
from ..._event import Position
from ..._system.clock import since_boot
from .._common import new_epoch
from .._common import stored_type
from ..base import Retention
from ..own import MAX_OWN_BYTES
from ..own import MAX_OWN_ENTRIES
from .scripts import Arg

# Bytes of history that are asked for on the connection that subscribes. If it gets more
# than a megabyte at once, the server may close it, again and again (law 18).
JOIN_BYTES = 512 * 1024

#: For so many seconds, a caller calls; for as many more, it may repeat its last call. The
#: store remembers a caller for both.
CALLER_SECONDS = 30
# Idle callers that are kept for the next call.
_MAX_IDLE_CALLERS = 64
#: Bytes and events that are published together. A script may not pass more than about
#: 8,000 values to a function at once.
RUN_BYTES, RUN_EVENTS = 64 * 1024, 1000

# A longer time is as good as this one, and a double can't count its microseconds.
MAX_KEEP_SECONDS = 1e9

# Microseconds after which a clock that goes on is believed.
_MINUTE = 60_000_000
# Lengths of the replies that end with the store's time.
_TIMED = {4, 5, 6, 10, 13}


class Names(t.NamedTuple):
    """The names of a store's keys and channels."""

    prefix: str
    database: int

    def key(self, *parts: str) -> str:
        return f"{{{self.prefix}}}:{':'.join(parts)}"

    def channel(self, name: str) -> bytes:
        """On which events and items of a channel arrive. Those of an own channel have a
        byte that no text has."""
        return self.key(str(self.database), name).encode(errors="surrogateescape")

    def own_channel(self, log: str) -> bytes:
        """On which entries of an own log arrive. It is no channel of events, because a
        number stands before their names."""
        return self.key("own", str(self.database), log).encode()


def own_name(part: bytes) -> str:
    """The own channel that the last part of :meth:`Names.channel` names."""
    return OwnChannel.parse(part.decode(errors="surrogateescape"))


class Caller:
    """Makes one call after the other, so that the store knows a repeated call."""

    def __init__(self, now: float) -> None:
        self.name = secrets.token_urlsafe(12)
        self.count = 0
        #: When it gets another name. The store forgets it after twice the time.
        self.ends = now + CALLER_SECONDS


class Callers:
    """Callers that no call uses now. Any thread; after a fork, the child has its own."""

    def __init__(self) -> None:
        self._idle: deque[Caller] = deque(maxlen=_MAX_IDLE_CALLERS)
        self._pid = os.getpid()

    def take(self) -> Caller:
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._idle.clear()
        now = time.monotonic()
        try:
            caller = self._idle.pop()
        except IndexError:
            caller = Caller(now)
        if caller.ends < now:
            caller = Caller(now)
        caller.count += 1
        return caller

    def give_back(self, caller: Caller) -> None:
        self._idle.append(caller)


class _Time:
    """The store's time, counted here since the store told it. Setting a clock does not
    change it."""

    def __init__(self) -> None:
        #: By how much it is ahead of the time since boot, if that is known.
        self._ahead: int | None = None
        # The same, while it is in doubt; and since when.
        self._doubtful = self._since = 0

    def learn(self, time: bytes, here: int) -> None:
        ahead = int(time.lstrip(b"?")) - here
        if time.startswith(b"?"):
            if abs(ahead - self._doubtful) > _MINUTE:
                self._doubtful, self._since = ahead, here
            if here - self._since < _MINUTE:
                return
            # The store's time has gone on as time does here, so it is right.
        self._ahead = ahead

    def at(self, here: int) -> int | str:
        return "-" if self._ahead is None else self._ahead + here


class Store:
    """What this process knows of a store, and the arguments of its scripts."""

    def __init__(self, names: Names, retention: Retention | None) -> None:
        self.names = names
        self._retention = retention
        # Part of the keys' names. A script that gets the wrong one returns the right one.
        self._life = ""
        # How the names of all keys of this life begin.
        self._start = names.key("", "")
        self._time = _Time()

    def is_another(self, reply: list[t.Any]) -> bool:
        """Whether the script did nothing, because the store has another life than it was
        called with. The life is now known: call again."""
        if reply[0]:
            if len(reply) in _TIMED:
                self._time.learn(reply[-1], since_boot())
            return False
        life = reply[2].decode()
        # This is the first to change: a script that gets an old life does nothing.
        self._start = self.names.key(life, "")
        self._life = life
        return True

    def in_one_life(self, args: cabc.Callable[[], list[Arg]]) -> list[Arg]:
        """Arguments whose keys are of the life that they name. Another thread may learn of
        another life while they are made."""
        while True:
            life, made = self._life, args()
            if life == self._life:
                return made

    def key(self, *parts: str) -> str:
        """A key of this life of the store."""
        return self._start + ":".join(parts)

    def args(
        self, keys: cabc.Sequence[Arg], args: cabc.Sequence[Arg], seen: str = "- 0 0"
    ) -> list[Arg]:
        """
        :param keys: Keys that a script uses besides those of the store.
        :param args: Arguments that it has besides those that all have.
        :param seen: The epoch and the end that the caller has seen, and whether to check
            the server.
        """
        return self._args(self._life, keys, args, seen)

    def keys_of(self, runs: Runs) -> list[Arg]:
        return runs.keys(self.names, self._life)

    def publish(self, runs: Runs, caller: Caller) -> list[Arg]:
        key = self.key("call", caller.name)
        return self.store(runs, [key], [caller.count])

    def store(
        self, runs: Runs, keys: cabc.Sequence[Arg], args: cabc.Sequence[Arg]
    ) -> list[Arg]:
        """
        :param keys: Keys that the script uses besides those of the runs.
        :param args: Arguments that the script has before the runs.
        """
        keys = [*keys, *runs.keys(self.names, self._life)]
        return self._args(self._life, keys, [*args, *runs.args])

    def prune(self, channels: cabc.Iterable[str]) -> list[Arg]:
        keys = [self.key("keys"), *self._logs(channels)]
        return self._args(self._life, keys, [])

    def read(
        self, channels: cabc.Iterable[str], after: int | None, last: int, limit: int
    ) -> list[Arg]:
        start: Arg = "" if after is None else after
        return self._args(self._life, self._logs(channels), [start, last, limit, 0])

    def join(
        self, channels: cabc.Iterable[str], epoch: str = "", end: int = 0
    ) -> list[Arg]:
        """Ask whether the store is still the same, and for events since `end`."""
        args: list[Arg] = [end, 0, JOIN_BYTES, 1]
        return self._args(self._life, self._logs(channels), args, f"{epoch or '-'} {end} 1")

    def append(self, log: str, data: bytes, keep: float, caller: Caller) -> list[Arg]:
        call = self.key("call", caller.name)
        own = self.key("own", log)
        keys: list[Arg] = [call, own, self.names.own_channel(log)]
        time = round(min(keep, MAX_KEEP_SECONDS) * 1_000_000)
        args: list[Arg] = [caller.count, log, time, data, MAX_OWN_ENTRIES, MAX_OWN_BYTES]
        return self._args(self._life, keys, args)

    def read_own(self, log: str, after: Position, limit: int) -> list[Arg]:
        """
        :param after: The epoch may be empty, if the caller knows none.
        """
        epoch, end = after
        keys = [self.key("own", log)]
        seen = f"{epoch} {end} 1" if epoch else "- 0 0"
        return self._args(self._life, keys, [log, epoch, end, limit], seen)

    def _logs(self, channels: cabc.Iterable[str]) -> list[Arg]:
        return [self.key("log", name) for name in channels]

    def _args(
        self,
        life: str,
        keys: cabc.Sequence[Arg],
        args: cabc.Sequence[Arg],
        seen: str = "- 0 0",
    ) -> list[Arg]:
        kept = _kept(self._retention) if self._retention else "- - -"
        time = self._time.at(since_boot())
        words = f"{new_epoch()} {seen} {kept} {_kept(Retention())} {time}"
        own = self.names.key("store"), self.names.key(life, "heads")
        return [2 + len(keys), *own, *keys, words, life, *args]


def _kept(retention: Retention) -> str:
    return f"{round(retention.age * 1_000_000)} {retention.count} {retention.bytes}"


class Runs:
    """Events, in runs of neighbours with the same channel and options."""

    def __init__(self, events: cabc.Iterable[Event]) -> None:
        #: The scripts' arguments: the size of each run, and its events.
        self.args: list[Arg] = []
        # Of each run, its channel, whether it has a key, how many numbers it gets, and the
        # distance between them.
        self._runs: list[tuple[str, bool, int, int]] = []
        alike: list[bytes] = []
        like: tuple[str, str | None, bool] | None = None
        size = 0
        for event in events:
            kind = event.channel, event.key, event.store
            body = _body(event)
            size += len(body)
            full = size > RUN_BYTES or len(alike) == RUN_EVENTS
            if like and (like != kind or event.key is not None or full):
                self._add(*like, alike)
                alike, size = [], len(body)
            like = kind
            alike.append(body)
        if like:
            self._add(*like, alike)

    def _add(self, channel: str, key: str | None, store: bool, bodies: list[bytes]) -> None:
        count = str(len(bodies) if key is None else 0)
        self.args.append(count if store else f"-{count}")
        if key is not None:
            self.args.append(f"{len(channel.encode())}:{channel}{key}")
        self.args += bodies
        self._runs.append((channel, key is not None, len(bodies), int(store)))

    def keys(self, names: Names, life: str) -> list[Arg]:
        keys: list[Arg] = []
        for channel, has_key, _, _ in self._runs:
            keys += [names.key(life, "log", channel), names.channel(channel)]
            if has_key:
                keys.append(names.key(life, "keys"))
        return keys

    @property
    def count(self) -> int:
        return len(self._runs)

    def positions(self, reply: list[bytes]) -> list[Position]:
        epoch, numbers = reply[0].decode(), reply[1].decode().split(",")
        positions, following = [], 0
        for number, (_, _, count, step) in zip(numbers, self._runs, strict=True):
            first = int(number) if number or not following else following
            following = first + count
            positions += [Position(epoch, first + n * step) for n in range(count)]
        return positions


def _body(event: Event) -> bytes:
    name = stored_type(event) if event.exclude else event.type
    type, data = name.encode(), event.data.encode()
    return b"%d:%d:%b%b" % (len(type), len(data), type, data)
