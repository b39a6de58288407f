"""The runs that readers follow here.

A run is rows of one of Flask-Push's own kinds, so they are beside the log's channels and
in no page of history. Each row names the row before it on its channel. If some may be
missing, the groups drop their frames, and each reader continues with rows of the store,
from the newest row that it has for certain. So no reader loses anything.
"""

from __future__ import annotations

import collections.abc as cabc
from functools import partial

from .._event import Entry
from .._event import OwnChannel
from .channel import Budget
from .channel import Gap
from .encoder import Encoder
from .follow import Follow
from .followed import LastFrame
from .followed import NotKnown
from .followed import number_to_read
from .followed import RunGroup
from .run_rows import PROGRESS
from .run_rows import RUN
from .run_rows import tag_in
from .subscription import ReaderGroup


class FollowedChannel:
    """An app's channel of which readers follow a run. To the feed, it is a channel that has
    nothing but items."""

    def __init__(self, name: OwnChannel) -> None:
        self.name = name
        #: Whether the feed watches it.
        self.held = False
        #: The number of its newest row, of any run. Or that of a horizon, behind it.
        self.last = 0
        #: Rows up to here may be forgotten.
        self.horizon = 0
        #: By tag, and then by wire and framing.
        self.by_tag: dict[str, dict[tuple[str, str], RunGroup]] = {}

    def __repr__(self) -> str:
        return f"<FollowedChannel {self.name.channel!r}: {len(self.groups)} groups>"

    @property
    def groups(self) -> list[RunGroup]:
        return [group for same in self.by_tag.values() for group in same.values()]

    def hold(self, number: int) -> None:
        """Have every row from the number on, or from the horizon if that is later."""
        self.held, self.last = True, max(number, self.horizon)
        for group in self.groups:
            group.hold(self.last)


class Runs:
    """All that readers follow.

    :param encoder: Reports what can't be sent.
    :param budget: Of the frames of all channels.
    """

    def __init__(self, encoder: Encoder, budget: Budget) -> None:
        self.by_name: dict[str, FollowedChannel] = {}
        #: The feed has handed over everything up to this number.
        self.proved = 0
        self._encoder, self._budget = encoder, budget
        # Channels of which rows were lost, and up to which number.
        self._lost: dict[FollowedChannel, int] = {}

    def __repr__(self) -> str:
        return f"<Runs [{len(self.by_name)} channels, {len(self.groups())} groups]>"

    def __iter__(self) -> cabc.Iterator[str]:
        """The names of the channels that the feed has to watch."""
        return iter(self.by_name)

    def groups(self) -> list[RunGroup]:
        return [group for each in self.by_name.values() for group in each.groups]

    def join(self, follow: Follow, end: int) -> tuple[RunGroup, list[str]]:
        """The group of a stream.

        :param end: The log's end.
        :return: The group, and the channel if the feed does not watch it yet.
        """
        name, new = OwnChannel(RUN, follow.channel), list[str]()
        if (channel := self.by_name.get(name)) is None:
            channel = self.by_name[name] = FollowedChannel(name)
            new.append(name)
        same = channel.by_tag.setdefault(follow.tag, {})
        key = follow.wire, follow.framing
        if (group := same.get(key)) is None:
            sure = partial(self._sure, channel)
            group = same[key] = RunGroup(name, follow, self._encoder, sure)
            group.missing = int(not channel.held)
            if channel.held:
                group.hold(max(end, channel.last))
        return group, new

    def _sure(self, channel: FollowedChannel) -> int:
        """The number up to which no row of a channel is missing: the feed has said so, or
        each row has named the row before it."""
        return max(channel.last, self.proved)

    def drop(self, group: RunGroup) -> list[str]:
        """Drop a group without members.

        :return: The channel if nothing of it is followed any more.
        """
        self._budget.forget(group.kept)
        channel = self.by_name[group.own]
        same = channel.by_tag[group.tag]
        del same[group.wire_name, group.framing]
        if not same:
            del channel.by_tag[group.tag]
        if channel.by_tag:
            return []
        del self.by_name[channel.name]
        self._lost.pop(channel, None)
        return [channel.name]

    def take(self, entry: Entry, epoch: str, touched: list[ReaderGroup]) -> None:
        """Take one row of the feed.

        :param touched: Gets the groups to which it brings something.
        """
        channel = self.by_name.get(entry.channel)
        if channel is None or not channel.held or entry.prev is None:
            return
        number = entry.number
        if entry.prev > (sure := self._sure(channel)):
            self._lose(channel, sure, number - 1)
        channel.last = max(channel.last, number)
        for group in channel.by_tag.get(tag_in(entry.item), {}).values():
            try:
                piece = group.piece(entry, epoch, group.before)
            except NotKnown:
                group.lose(sure, number, self._budget)
                self._lost[channel] = max(number, self._lost.get(channel, 0))
                continue
            if piece is None or number <= group.kept.floor:
                continue
            if entry.type == PROGRESS and not isinstance(piece[1], Gap):
                group.newest = piece
            else:
                self._budget.put(group.kept, piece)
            if isinstance(piece[1], LastFrame):
                group.end = number
            if not group.turn:
                touched.append(group)
            group.note((number_to_read(piece), piece[1]))

    def take_horizons(self, horizons: cabc.Mapping[str, int], end: int) -> None:
        """Take horizons of this epoch: rows up to a horizon may never arrive.

        :param end: The log's.
        """
        for name in self.by_name.keys() & horizons.keys():
            channel = self.by_name[name]
            channel.horizon = horizons[name]
            if channel.held and channel.horizon > (sure := self._sure(channel)):
                self._lose(channel, min(end, sure), channel.horizon)

    def lose_all(self, upto: int) -> None:
        """Note that rows up to this number may be missing."""
        for channel in self.by_name.values():
            if channel.held:
                self._lose(channel, self._sure(channel), upto)

    def _lose(self, channel: FollowedChannel, sure: int, upto: int) -> None:
        for group in channel.groups:
            group.lose(sure, upto, self._budget)
        channel.last = max(channel.last, upto)
        self._lost[channel] = max(upto, self._lost.get(channel, 0))

    def touch(self, touched: list[ReaderGroup], end: int, proved: int) -> None:
        """Let the live readers of runs that lost rows read on by themselves, as soon as the
        log's end has reached these rows.

        :param proved: The feed has handed over everything up to this number.
        """
        self.proved = proved
        if not self._lost:
            return
        for channel in [each for each, upto in self._lost.items() if upto <= end]:
            del self._lost[channel]
            touched += _touch(channel.groups)

    def restart(self, end: int) -> list[ReaderGroup]:
        """Begin another epoch. No run continues in it."""
        self._lost.clear()
        self.proved = end
        for channel in self.by_name.values():
            channel.horizon = 0
            if channel.held:
                channel.hold(end)
        for group in (groups := self.groups()):
            group.turn, group.gaps = [], False
        return _touch(groups)


def _touch(groups: cabc.Iterable[RunGroup]) -> list[ReaderGroup]:
    """Let their live members read on by themselves. Returns those that had nothing yet."""
    new: list[ReaderGroup] = []
    for group in groups:
        if not group.turn and not group.gaps:
            new.append(group)
        group.gaps = True
    return new
