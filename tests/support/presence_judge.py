"""Judges who was shown as present, by the streams that there were.

A user is there from the first stream that shows it until its last one was closed for
longer than the grace. Each such *stay* has to be shown with one ``joined`` and one
``left``, and no shorter absence may be shown at all.

The judge knows when the browser opened and closed a stream, and not when the hub noticed
that. So of each stream it takes the shortest time for which the store must have known it:

- It begins :attr:`Judge.write` seconds after ``push:open``, because a hub waits a quarter
  of a second between two writes. A hub that dies or is stopped before has written nothing,
  and neither has one whose store was away (law 53: "or not since he came"). If a stream was
  closed before, it is not certain that the user was shown.
- It ends when the browser closes it, or when the ``retry`` is over that the hub sent.
  If the hub was killed, others must store :data:`DEAD_BEATS` beats before they know that.
  So they do if it was stopped for so long, and it stores its users again afterwards. If
  the time was shorter, or its store was away, each grace begins again afterwards.

Between these times, a user was absent. For each absence of at least the grace, one ``left``
is allowed, and none before the grace is over. Of an absence that the user ended only when
each watcher had shown it, the ``left`` is required. One more is allowed

- for users who left a hub while it was stopped for so long that others found it dead: it
  shows them again, until it has noticed that they left;
- for all users, if the store has lost what was stored last.

That a ``left`` is late is no fault here. The watchers are waited for.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from collections import Counter
from collections import defaultdict
from dataclasses import dataclass
from dataclasses import field
from math import inf

#: After fewer beats, no hub finds another one dead.
DEAD_BEATS = 5
#: A hub that has stored no beat for so many has noticed that the last one is late.
_LATE_BEATS = 3
#: Two clocks of one machine, and a browser that is busy.
_EARLY_SECONDS = 0.3

#: A channel and a user.
Key = tuple[str, str]


@dataclass
class Shown:
    """One connection of a browser that shows a user."""

    user: str
    channels: tuple[str, ...]
    server: int
    requested: float
    opened: float = inf
    closed: float = inf
    #: The seconds of the ``retry`` that the hub sent when it ended it.
    retry: float = 0.0


class Trouble(t.NamedTuple):
    """
    :param kind: ``killed`` or ``stopped``, of a hub; ``away`` or ``lost``, of the store.
    :param server: Whose hub it was, or None for all.
    :param over: When the hub has stored again what it could not store meanwhile.
    """

    kind: str
    server: int | None
    start: float
    end: float
    over: float

    @property
    def seconds(self) -> float:
        return self.end - self.start

    def concerns(self, shown: Shown) -> bool:
        return self.server is None or self.server == shown.server


class Change(t.NamedTuple):
    """What a watcher received of a user."""

    time: float
    channel: str
    user: str
    joined: bool


class Reason(t.NamedTuple):
    """Why a user may be shown as left once, and when."""

    first: float
    last: float = inf

    def allows(self, time: float) -> bool:
        return self.first - _EARLY_SECONDS <= time <= self.last


@dataclass
class Judge:
    """
    :param grace: Seconds, as that between two beats.
    :param now: When the run ended.
    """

    grace: float
    beat: float
    now: float
    shown: cabc.Iterable[Shown]
    troubles: cabc.Sequence[Trouble] = ()
    #: How often each user left until all watchers had shown it.
    confirmed: cabc.Mapping[Key, int] = field(default_factory=Counter)
    #: How many seconds a hub that works may take to store that a user has joined.
    write: float = 1.0
    #: After how many beats without trouble the rows of a dead hub are gone.
    excused: float = 10.0

    def __post_init__(self) -> None:
        by_key: dict[Key, list[Shown]] = defaultdict(list)
        for each in self.shown:
            for channel in each.channels:
                by_key[channel, each.user].append(each)
        self.streams: cabc.Mapping[Key, list[Shown]] = by_key
        self.lefts = {key: self._lefts(found) for key, found in by_key.items()}

    def judge(self, name: str, changes: cabc.Iterable[Change]) -> list[str]:
        """What is wrong with the changes that a watcher received."""
        found: dict[Key, list[float]] = defaultdict(list)
        for change in changes:
            key = change.channel, change.user
            if key not in self.lefts:
                return [f"{name}: {change} of a user without a stream"]
            if not change.joined:
                found[key].append(change.time)
        wrong = []
        for key, allowed in self.lefts.items():
            times = found[key]
            wrong += [f"{name}: {line}" for line in self._compare(key, times, allowed)]
        return wrong

    def _compare(
        self, key: Key, times: list[float], reasons: list[Reason]
    ) -> cabc.Iterator[str]:
        left = sorted(reasons, key=lambda reason: reason.last)
        for time in times:
            fitting = (reason for reason in left if reason.allows(time))
            if reason := next(fitting, None):
                left.remove(reason)
            else:
                print(f"{key} and its streams:", *self.streams[key], sep="\n    ")
                yield f"{key} left at {time:.3f}, and the only reasons are {reasons}"
        if len(times) < self.confirmed.get(key, 0):
            yield f"{key} left {self.confirmed[key]} times, and was shown so at {times}"

    def _lefts(self, shown: list[Shown]) -> list[Reason]:
        """Why a user may be shown as left."""
        times = (each for one in shown for each in self._times(one))
        known = sorted((stored, end) for stored, end in times if stored <= end)
        found, covered = [], inf
        for stored, end in known:
            if stored - covered >= self.grace:
                found.append(Reason(covered + self.grace))
            covered = end if covered == inf else max(covered, end)
        if known and self.now - covered >= self.grace:
            found.append(Reason(covered + self.grace))
        for each in shown:
            if self._is_brief(each, known):
                found.append(Reason(each.requested, self._gone(self._latest(each))))
        for trouble in self.troubles:
            if self._excuses(trouble, shown):
                found.append(Reason(trouble.start, self._gone(trouble.over)))
        return sorted(found)

    def _times(self, shown: Shown) -> cabc.Iterator[tuple[float, float]]:
        """From when to when the store had it for certain. Hubs that were dead in between
        have stored it again."""
        at, end = self._stored(shown), self._kept(shown)
        for trouble in sorted(self.troubles, key=lambda trouble: trouble.start):
            if self._is_deadly(trouble) and trouble.concerns(shown):
                if at < trouble.start < end + self.grace:
                    yield at, trouble.start + DEAD_BEATS * self.beat - self.grace
                    at = trouble.over
        yield at, end

    def _is_deadly(self, trouble: Trouble) -> bool:
        """Whether other hubs may find this one dead, which goes on later."""
        return trouble.kind == "stopped" and trouble.seconds >= DEAD_BEATS * self.beat

    def _stored(self, shown: Shown) -> float:
        """From when on the store had it, if it was open for so long."""
        at = shown.opened + self.write
        for trouble in self.troubles:
            if trouble.concerns(shown) and trouble.start <= at:
                if shown.opened <= trouble.over:
                    at = inf if trouble.kind == "killed" else max(at, trouble.over)
        return at

    def _kept(self, shown: Shown) -> float:
        """When the grace began after which a hub could unset the user."""
        end, some = shown.closed + shown.retry, _LATE_BEATS * self.beat
        for trouble in self.troubles:
            left = end + self.grace - trouble.start
            if not trouble.concerns(shown) or shown.opened > trouble.start:
                continue
            # Until it has ended, a hub that is asked to end unsets users as ever.
            if trouble.kind == "killed" and left > trouble.seconds:
                end = max(end, trouble.start + DEAD_BEATS * self.beat - self.grace)
            elif trouble.kind in ("stopped", "away") and left > some < trouble.seconds:
                end = end if self._is_deadly(trouble) else max(end, trouble.end)
        return end

    def _gone(self, time: float) -> float:
        """When at last no hub has a row of a user that was not wanted from then on."""
        some = 2 * self.grace + self.excused * self.beat
        time += some
        for trouble in sorted(self.troubles, key=lambda trouble: trouble.start):
            if trouble.start <= time:
                time = max(time, trouble.over + some)
        return time

    def _latest(self, shown: Shown) -> float:
        """When the grace began at the latest: each trouble lets it begin again."""
        end = shown.closed + shown.retry
        for trouble in sorted(self.troubles, key=lambda trouble: trouble.start):
            if trouble.concerns(shown) and shown.requested <= trouble.over:
                if end + self.grace + _LATE_BEATS * self.beat >= trouble.start:
                    end = max(end, trouble.over)
        return end

    def _is_brief(self, shown: Shown, known: list[tuple[float, float]]) -> bool:
        """Whether a user has perhaps joined by this stream alone, which was too short to be
        certain. Perhaps the browser has closed it before it was open."""
        end = self._kept(shown)
        if self._stored(shown) <= end:
            return False
        last = max(self._latest(shown), shown.requested + self.write)
        return not any(
            last < other_end + self.grace and stored < end + self.grace
            for stored, other_end in known
        )

    def _excuses(self, trouble: Trouble, shown: list[Shown]) -> bool:
        """Whether a user may be shown as left once more because of this."""
        dead = self._is_deadly(trouble)
        if not dead and trouble.kind != "lost":
            return False
        return any(
            trouble.concerns(each)
            and each.requested <= trouble.over
            and self._latest(each) + self.grace >= trouble.start
            and not (dead and each.closed > trouble.over)
            for each in shown
        )
