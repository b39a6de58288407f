"""Which users are present at a hub, and for how long after their streams have ended.

A user is present while a stream shows the user, and for the *grace* after that. The grace
begins when the browser may reconnect: if the hub has sent a ``retry``, when that time is
over (law 49). So a user who reconnects, here or at another hub, does not leave in between.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from itertools import islice
from math import inf

from .stream_presence import StreamPresence

#: How many users of one channel a hub lists at most (law 54).
MAX_LISTED = 1000

#: A channel and a user; or a channel and an empty text, for the number of its users.
Key: t.TypeAlias = tuple[str, str]


class _Member:
    """One user on one channel."""

    __slots__ = ("streams", "info", "since")

    def __init__(self) -> None:
        self.info = ""
        self.streams = 0
        #: When the grace begins: the latest time, of the streams that have ended since one
        #: has begun.
        self.since = -inf


# By channel and user, in the order in which the users entered.
_Channels: t.TypeAlias = dict[str, dict[str, _Member]]


class Members:
    """
    :param grace: Seconds. May be changed at any time.
    :param report: Is called with a channel that has more users than are listed.
    """

    def __init__(
        self, grace: float, report: cabc.Callable[[str], None] = lambda channel: None
    ) -> None:
        self.grace = grace
        self._report = report
        self._listed: _Channels = {}
        self._counted: _Channels = {}
        # Those without streams.
        self._gone: dict[tuple[bool, str, str], _Member] = {}

    def __repr__(self) -> str:
        return f"<Members [{self.users} users, {len(self._gone)} without streams]>"

    @property
    def users(self) -> int:
        """How many are present, on each channel."""
        channels = *self._listed.values(), *self._counted.values()
        return sum(map(len, channels))

    def enter(self, user: str, presence: StreamPresence) -> None:
        """Note a stream. Its info is the newest."""
        for channel, info in presence.present:
            self._enter(False, channel, user, info).streams += 1
        for channel in presence.counted:
            self._enter(True, channel, user).streams += 1

    def leave(self, user: str, presence: StreamPresence, since: float) -> None:
        """Note the end of a stream that has entered.

        :param since: When the grace begins.
        """
        for channel, _ in presence.present:
            self._leave(False, channel, user, since)
        for channel in presence.counted:
            self._leave(True, channel, user, since)

    def patient(self, now: float) -> None:
        """Let each grace that has begun begin again."""
        for member in self._gone.values():
            member.since = max(member.since, now)

    def wanted(self, now: float) -> dict[Key, str]:
        """What the store has to have of this hub: of each user the info, and of each
        channel with users who are only counted their number."""
        self._forget(now)
        found = {
            (channel, user): member.info
            for channel, users in self._listed.items()
            for user, member in islice(users.items(), MAX_LISTED)
        }
        for channel, users in self._counted.items():
            # A user whom another stream lists is there once.
            listed = islice(self._listed.get(channel, ()), MAX_LISTED)
            found[channel, ""] = str(len(users) - sum(user in users for user in listed))
        return found

    @property
    def next_end(self) -> float | None:
        """When the first grace is over, if one has begun or will."""
        since = min((member.since for member in self._gone.values()), default=None)
        return None if since is None else since + self.grace

    def _enter(self, counted: bool, channel: str, user: str, info: str = "") -> _Member:
        users = (self._counted if counted else self._listed).setdefault(channel, {})
        member = users.get(user)
        if member is None:
            member = users[user] = _Member()
            if not counted and len(users) == MAX_LISTED + 1:
                self._report(channel)
        self._gone.pop((counted, channel, user), None)
        member.info, member.since = info, -inf
        return member

    def _leave(self, counted: bool, channel: str, user: str, since: float) -> None:
        member = (self._counted if counted else self._listed)[channel][user]
        member.since = max(member.since, since)
        member.streams -= 1
        if not member.streams:
            self._gone[counted, channel, user] = member

    def _forget(self, now: float) -> None:
        """Forget users whose grace is over."""
        oldest = now - self.grace
        over = [key for key, member in self._gone.items() if member.since <= oldest]
        for key in over:
            counted, channel, user = key
            channels = self._counted if counted else self._listed
            del self._gone[key], channels[channel][user]
            if not channels[channel]:
                del channels[channel]

    # For a successor.

    def to_rows(self, now: float) -> list[list[t.Any]]:
        """Each user: the channel, the name, the info, whether the user is counted, and
        after how many seconds the grace begins if the user has no streams."""
        return [
            [
                *(channel, user, member.info, counted),
                0 if member.streams else round(member.since - now, 3),
            ]
            for counted, channels in ((False, self._listed), (True, self._counted))
            for channel, users in channels.items()
            for user, member in users.items()
        ]

    def restore(self, rows: cabc.Iterable[cabc.Sequence[t.Any]], now: float) -> None:
        """Note users of a predecessor, before their streams enter. If no stream of a user
        does, the grace begins now."""
        for channel, user, info, counted, seconds, *_ in rows:
            member = self._enter(bool(counted), channel, user, info)
            member.since = now + seconds
            self._gone[bool(counted), channel, user] = member
