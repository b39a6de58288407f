"""The arguments of the scripts that change and read items. No input or output."""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from itertools import groupby

from ..._event import Event
from ..._event import OwnChannel
from ..._event import Position
from ..base import Retention
from ..items import BOUNDS_OF_KINDS
from ..items import check_change
from ..items import ItemChange
from ..items import MIN_TOMBSTONES
from ..items import OWN_BOUNDS
from ..items import PLAIN
from .calls import Caller
from .calls import JOIN_BYTES
from .calls import MAX_KEEP_SECONDS
from .calls import RUN_BYTES
from .calls import RUN_EVENTS
from .calls import Runs
from .calls import Store
from .scripts import Arg


class Sets:
    """Sets of several items of an app's channel that have the same type, and no other field
    but their data."""

    def __init__(self, channel: str, type: str) -> None:
        self.channel = channel
        self.type = type
        self.items: dict[str, bytes] = {}
        self._lengths: list[bytes] = []
        self._data: list[bytes] = []
        self._size = 0

    def add(self, change: ItemChange) -> bool:
        """
        :return: False if the set has to be in another step.
        """
        channel, name, text, type, *_ = change
        if (
            (channel, type) != (self.channel, self.type)
            or name in self.items
            or self._size > RUN_BYTES
            or len(self.items) == RUN_EVENTS
        ):
            return False
        assert text is not None
        data, item = text.encode(), name.encode()
        self.items[name] = item
        self._lengths.append(b"%d %d" % (len(item), len(data)))
        self._data.append(data)
        self._size += len(data)
        return True

    def args(self, channel: int) -> list[Arg]:
        """
        :param channel: Its index.
        """
        items, lengths = self.items.values(), b",".join(self._lengths)
        return ["sets", channel, len(items), self.type, lengths, *items, *self._data]


class Changes:
    """The changes of one call, in steps: runs of events, sets of several items, and other
    changes of single items.

    :raises ValueError: If a change is not as :class:`.ItemChange` says.
    """

    def __init__(self, changes: cabc.Sequence[Event | ItemChange]) -> None:
        self._changes = changes
        #: Each kind with the name of a channel whose items are changed.
        self.channels: dict[tuple[str, str], int] = {}
        self.steps: list[Runs | Sets | ItemChange] = []
        for is_item, group in groupby(changes, lambda one: isinstance(one, ItemChange)):
            if is_item:
                self._add(t.cast("cabc.Iterable[ItemChange]", group))
            else:
                self.steps.append(Runs(t.cast("cabc.Iterable[Event]", group)))

    def _add(self, changes: cabc.Iterable[ItemChange]) -> None:
        sets: Sets | None = None
        for change in changes:
            if change[4:] == PLAIN and change.data is not None and change.item:
                if sets is not None and sets.add(change):
                    continue
                sets = Sets(change.channel, change.type)
                sets.add(change)
                self._step("", sets)
            else:
                check_change(change)
                sets = None
                self._step(change.kind, change)

    def _step(self, kind: str, step: Sets | ItemChange) -> None:
        self.steps.append(step)
        self.channels.setdefault((kind, step.channel), len(self.channels) + 1)

    @property
    def items(self) -> list[ItemChange]:
        return [change for change in self._changes if isinstance(change, ItemChange)]

    def args(self) -> tuple[list[Arg], list[Arg]]:
        """The steps, and their runs."""
        steps: list[Arg] = []
        runs: list[Arg] = []
        for step in self.steps:
            if isinstance(step, Runs):
                steps += ["runs", len(step.args)]
                runs += step.args
            elif isinstance(step, Sets):
                steps += step.args(self.channels["", step.channel])
            else:
                steps += self._change(step)
        return steps, runs

    def _change(self, change: ItemChange) -> list[Arg]:
        channel, item, data, type, ttl, version, kind, owner, expect, due = change
        word = "set" if data is not None else "due" if due else "unset"
        return [
            *(word, self.channels[kind, channel], item, data or "", type),
            "" if ttl is None else max(1, round(min(ttl, MAX_KEEP_SECONDS) * 1_000_000)),
            "" if version is None else version,
            *(owner, "-" if expect is None else _expected(expect)),
        ]

    def positions(self, reply: list[t.Any]) -> list[Position]:
        """The position of each change."""
        if reply[1].startswith(b"+"):
            epoch, first = reply[1][1:].decode().split(":")
            number = int(first)
            return [Position(epoch, number + n) for n in range(len(self._changes))]
        numbers = iter(reply[1].split(b","))
        positions: list[Position] = []
        for step in self.steps:
            if isinstance(step, Runs):
                its = [next(numbers) for _ in range(step.count)]
                positions += step.positions([reply[0], b",".join(its)])
                continue
            for _ in range(len(step.items) if isinstance(step, Sets) else 1):
                epoch, first = next(numbers)[1:].decode().split(":")
                positions.append(Position(epoch, int(first)))
        return positions


def _as_bytes(text: str) -> bytes:
    """As :meth:`.Names.channel`."""
    return text.encode(errors="surrogateescape")


def _expected(id: str) -> str:
    epoch, number = Position.parse(id)
    return f"={number}:{epoch}" if id else "="


class ItemCalls:
    """The arguments, of a store that a feed or a broker uses."""

    def __init__(self, store: Store, retention: Retention | None) -> None:
        self.store = store
        new = Retention()
        given = f"{retention.items} {retention.item_bytes}" if retention else "- -"
        bounds = new.items, new.item_bytes, MIN_TOMBSTONES, *OWN_BOUNDS
        kinds = [f"{kind} {n} {size}" for kind, (n, size) in BOUNDS_OF_KINDS.items()]
        self._kept = " ".join([given, *map(str, bounds), *kinds])

    def change(self, changes: Changes, caller: Caller) -> list[Arg]:
        keys: list[Arg] = [self.store.key("call", caller.name), *self._common()]
        args: list[Arg] = [caller.count, self._kept, len(changes.channels)]
        steps, runs = changes.args()
        args.append(7 + 2 * len(changes.channels) + len(steps))
        for kind, channel in changes.channels:
            keys += self._channel(kind, channel)
            keys.append(self.store.names.channel(OwnChannel.of(kind, channel)))
            args += [kind, channel]
        for step in changes.steps:
            if isinstance(step, Runs):
                keys += self.store.keys_of(step)
        return self.store.args(keys, [*args, *steps, *runs])

    def read(
        self,
        channels: cabc.Sequence[str],
        after: int,
        upto: int | None,
        limit: int,
        kind: str,
        due: bool,
    ) -> list[Arg]:
        keys = [*self._common(), *self._channels(kind, channels)]
        until = "+inf" if upto is None else upto
        args: list[Arg] = [self._kept, kind, after, until, limit, int(due)]
        return self.store.args(keys, [*args, *channels])

    def read_page(
        self, channels: cabc.Sequence[str], after: int | None, last: int, limit: int
    ) -> list[Arg]:
        """As :meth:`.Store.read`, with items."""
        start: Arg = "" if after is None else after
        args: list[Arg] = [start, last, limit, 0, len(channels), self._kept]
        return self.store.args(self._with_logs(channels), args)

    def join(
        self,
        channels: cabc.Sequence[str],
        others: cabc.Sequence[str],
        epoch: str,
        end: int,
    ) -> list[Arg]:
        """As :meth:`.Store.join`, with items.

        :param others: Channels of which only the horizon is wanted.
        """
        # Rows and events get half of the bytes each.
        args: list[Arg] = [end, 0, JOIN_BYTES // 2, 1, len(channels), self._kept]
        args += map(_as_bytes, others)
        seen = f"{epoch or '-'} {end} 1"
        return self.store.args(self._with_logs(channels), args, seen)

    def due(self, limit: int) -> list[Arg]:
        return self.store.args(self._common(), [self._kept, limit])

    def owned(self, beginning: str, limit: int) -> list[Arg]:
        return self.store.args(self._common(), [self._kept, beginning, limit])

    def forget(
        self, kind: str, channel: str, upto: int, limit: int, caller: Caller
    ) -> list[Arg]:
        publishes_on = self.store.names.channel(OwnChannel.of(kind, channel))
        keys = [*self._common(), *self._channel(kind, channel), publishes_on]
        return self.store.args(keys, [self._kept, kind, channel, upto, limit])

    def rows(self, kind: str, found: cabc.Sequence[tuple[str, str]]) -> list[Arg]:
        """
        :param found: Channels and items.
        """
        channels = {channel: 0 for channel, _ in found}
        channels = {channel: index for index, channel in enumerate(channels, 1)}
        keys = [*self._common(), *self._channels(kind, channels)]
        args: list[Arg] = [self._kept, kind, len(channels), *channels]
        for channel, item in found:
            args += [channels[channel], item]
        return self.store.args(keys, args)

    def _with_logs(self, channels: cabc.Sequence[str]) -> list[Arg]:
        # That of an own channel is never there.
        logs = [_as_bytes(self.store.key("log", name)) for name in channels]
        rows = [key for name in channels for key in self._channel(*OwnChannel.parts(name))]
        return [*logs, *self._common(), *rows]

    def _common(self) -> list[Arg]:
        return [self.store.key(name) for name in ("items", "deadlines", "owners")]

    def _channels(self, kind: str, channels: cabc.Iterable[str]) -> list[Arg]:
        return [key for name in channels for key in self._channel(kind, name)]

    def _channel(self, kind: str, channel: str) -> list[Arg]:
        key = self.store.key
        return [key(name, kind, channel) for name in ("rows", "order", "unset")]
