"""The horizons of items: which readers need all items again.

The store removes old unsets. A channel's *horizon* is the number up to which it may have
done so. A reader from before the horizon may have missed an unset, so it gets all items.

A horizon can be beyond the log's end. It also rises when rows were lost. Then the live
readers, too, get all items, as soon as the end has reached it (law 27).
"""

from __future__ import annotations

import collections.abc as cabc

from .channel import Channel
from .item_log import ItemBudget
from .item_log import ItemLog
from .subscription import ReaderGroup

_Channel = Channel[ReaderGroup]


class Horizons:
    """
    :param budget: Of all items.
    """

    def __init__(self, budget: ItemBudget) -> None:
        #: Whether the store keeps items.
        self.known = False
        #: Channels that were taken over from a version that knew no items.
        self.doubtful: set[str] = set()
        self._budget = budget
        # The epoch that is about to begin, its horizons, and the channels without rows.
        self._epoch = ""
        self._numbers: dict[str, int] = {}
        self._without: set[str] = set()
        # Channels whose horizon was beyond the end.
        self._risen: list[_Channel] = []

    def announce(
        self, epoch: str, numbers: cabc.Mapping[str, int], without: cabc.Collection[str]
    ) -> None:
        """Keep the horizons of an epoch until the epoch begins."""
        if epoch != self._epoch:
            self._epoch, self._numbers, self._without = epoch, {}, set()
        self._numbers.update(numbers)
        self._without = (self._without - numbers.keys()) | {*without}

    def begin(self, epoch: str, channels: cabc.Iterable[_Channel], end: int) -> None:
        """Begin an epoch, with the horizons that were announced."""
        self._risen.clear()
        self.doubtful.clear()
        self._budget.clear()
        numbers = self._numbers if self._epoch == epoch else {}
        for channel in channels:
            name = channel.name
            channel.horizon = numbers.get(name, 0)
            empty = name in self._without or name not in numbers
            # If its readers had items, they get to know that there are none.
            if channel.items is not None or not empty:
                channel.items = ItemLog(end, whole=empty)

    def take(
        self,
        channels: cabc.Mapping[str, _Channel],
        numbers: cabc.Mapping[str, int],
        without: cabc.Collection[str],
        end: int,
    ) -> None:
        """Take horizons of this epoch."""
        for name, number in numbers.items():
            channel = channels.get(name)
            if channel is None:
                continue
            if channel.items is None and name not in without:
                if not channel.held:
                    channel.items = ItemLog(end)
                elif name in self.doubtful:
                    # Its readers have none of them. They get all with the next event.
                    number = max(number, end + 1)
            self.doubtful.discard(name)
            self.rise(channel, number, end)

    def rise(self, channel: _Channel, number: int, end: int) -> None:
        """Raise a channel's horizon. If the end has not reached it, what the log has of its
        items is dropped."""
        if number <= channel.horizon:
            return
        channel.horizon = number
        if number <= end:
            return
        if channel.items is None:
            channel.items = ItemLog(number)
        self._budget.drop(channel.items, number)
        self._risen.append(channel)

    def touch(self, touched: list[ReaderGroup], end: int) -> None:
        """Let live readers read on by themselves, if the end has reached a horizon."""
        if not self._risen:
            return
        for channel in self._risen:
            if channel.horizon <= end:
                for group in channel.groups:
                    if not group.turn and (group.every or not group.gaps):
                        touched.append(group)
                    group.gaps = True
        self._risen = [channel for channel in self._risen if channel.horizon > end]
