"""What the brokers of this package share that keep items: refusals, and what feeds say."""

from __future__ import annotations

import collections.abc as cabc

from .._event import OwnChannel
from .base import Retention
from .base import Sink
from .items import bounds
from .items import Conflict
from .items import ItemChange
from .items import ItemsFull
from .items import ItemSink
from .items import ItemsPage
from .items import TimedSink


def check_bounds(
    kind: str,
    channel: str,
    retention: Retention,
    before: tuple[int, int],
    after: tuple[int, int],
) -> None:
    """Refuse a call after which a channel would have too many items, or too large ones.

    :param before: Its living rows before the call, and their bytes.
    :raises ItemsFull: With the reason.
    """
    count, size = bounds(kind, retention)
    if after[0] > count and after[0] > before[0]:
        raise ItemsFull(
            f"The channel {channel!r} would have {after[0]:,} items, more than {count:,}"
            " (PUSH_MAX_ITEMS). Unset items, or raise the bound."
        )
    if after[1] > size and after[1] > before[1]:
        raise ItemsFull(
            f"The items of the channel {channel!r} would have {after[1]:,} bytes, more than"
            f" {size:,} (PUSH_ITEMS_BYTES). Unset items, or raise the bound."
        )


def check_expectation(change: ItemChange, found: str) -> None:
    """Refuse a change that expects another row.

    :param found: The id of the living row. Empty if there is none.
    :raises Conflict: With the reason.
    """
    if change.expect is not None and change.expect != found:
        raise Conflict(
            f"The item {change.item!r} of the channel {change.channel!r} has the id"
            f" {found!r}, and the change expects {change.expect!r}. Read the item again."
        )


def one_kind(channels: cabc.Iterable[str]) -> tuple[str, list[str]]:
    """The kind of the channels of which a sink reads the items, and their names.

    :raises ValueError: If they are of several kinds.
    """
    pairs = [OwnChannel.parts(name) for name in channels]
    kinds = {kind for kind, _ in pairs} or {""}
    if len(kinds) > 1:
        raise ValueError(f"Channels of one kind are read together, not of {kinds}.")
    return kinds.pop(), [channel for _, channel in pairs]


def as_watched(page: ItemsPage, kind: str) -> ItemsPage:
    """A page of items with the names of channels by which a sink watches them."""
    if not kind:
        return page
    names = {channel: OwnChannel(kind, channel) for channel in page.horizons}
    return page._replace(
        rows=[row._replace(channel=names[row.channel]) for row in page.rows],
        horizons={names[channel]: number for channel, number in page.horizons.items()},
    )


class Horizons:
    """Gives the horizons of channels to a sink: all in each epoch, and then those that have
    grown.

    It is false if the sink is no :class:`ItemSink`. Then there is nothing to read.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink if isinstance(sink, ItemSink) else None
        self._epoch = ""
        self._given: dict[str, int] = {}

    def __bool__(self) -> bool:
        return self._sink is not None

    def give(
        self, epoch: str, horizons: cabc.Mapping[str, int], without: cabc.Collection[str]
    ) -> None:
        """Call the sink with those that it does not have."""
        if self._sink is None:
            return
        if epoch != self._epoch:
            self._epoch, self._given = epoch, {}
        new = {
            name: number
            for name, number in horizons.items()
            if number > self._given.get(name, -1)
        }
        if new:
            self._given.update(new)
            self._sink.horizons(epoch, new, new.keys() & without)

    def unwatch(self, channels: cabc.Iterable[str]) -> None:
        """They are given again when they are watched again."""
        for name in channels:
            self._given.pop(name, None)


class Timed:
    """Says to a sink whether rows have a time to live, whenever that has changed.

    It is false if the sink is no :class:`TimedSink`. Then there is nothing to read.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink if isinstance(sink, TimedSink) else None
        self._some = False

    def __bool__(self) -> bool:
        return self._sink is not None

    def give(self, some: bool) -> None:
        if self._sink is not None and some != self._some:
            self._some = some
            self._sink.timed(some)
