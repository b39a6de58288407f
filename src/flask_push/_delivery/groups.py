"""The groups of a log: one for all readers of the same channels and rosters."""

from __future__ import annotations

import collections.abc as cabc

from .._event import OwnChannel
from .channel import Channel
from .follow import Follow
from .follow import NOT_FOLLOWING
from .followed import RunGroup
from .gzip import GzipGroup
from .log import Log
from .paced import PacedGroup
from .paced import PacedGzipGroup
from .subscription import ReaderGroup


def join_group(
    log: Log,
    names: cabc.Iterable[str],
    gzip: bool,
    every: float,
    follow: Follow = NOT_FOLLOWING,
) -> tuple[ReaderGroup, list[str]]:
    """The group that reads these channels and rosters, or follows a run.

    :return: The group, and those that the feed does not watch yet.
    """
    if follow is not NOT_FOLLOWING:
        return log.runs.join(follow, log.end)
    names = sorted({*names})
    key = (GzipGroup if gzip else ReaderGroup).key(names)
    if every:
        key = every, key
    new = [name for name in names if name not in log.channels]
    rosters = [name for name in new if isinstance(name, OwnChannel)]
    if rosters:
        new = [name for name in new if name not in log.rosters.by_name]
        names = [name for name in names if type(name) is str]
    for name in new:
        if isinstance(name, OwnChannel):
            log.rosters.add(name)
        else:
            log.channels[name] = Channel(name)
    if key not in log.groups:
        log.groups[key] = _new_group(log, names, rosters, gzip, every)
    return log.groups[key], new


def _new_group(
    log: Log,
    names: cabc.Iterable[str],
    watch: cabc.Iterable[str],
    gzip: bool,
    every: float,
) -> ReaderGroup:
    channels = tuple(log.channels[name] for name in names)
    rosters = tuple(log.rosters.by_name[name] for name in watch)
    group: ReaderGroup
    if every:
        group = (PacedGzipGroup if gzip else PacedGroup)(channels, rosters, every, log)
    else:
        group = (GzipGroup if gzip else ReaderGroup)(channels, rosters)
    for channel in group.with_items:
        channel.groups.add(group)
    return group


def drop_group(log: Log, group: ReaderGroup) -> list[str]:
    """Drop a group without members.

    :return: Channels that have no reader now, and whose events were dropped (law 8); and
        rosters.
    """
    if isinstance(group, RunGroup):
        return log.runs.drop(group)
    key = group.key(channel.name for channel in group.with_items)
    del log.groups[(group.every, key) if group.every else key]
    unread: list[str] = []
    for channel in group.channels:
        channel.groups.remove(group)
        if not channel.groups:
            del log.channels[channel.name]
            log.budget.forget(channel)
            if channel.items is not None:
                log.item_budget.forget(channel.items)
            unread.append(channel.name)
    for roster in group.rosters:
        roster.groups.remove(group)
        if not roster.groups:
            log.rosters.forget(roster)
            unread.append(roster.name)
    return unread
