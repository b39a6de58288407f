"""Judges who was shown as present, by the streams that there were.

A user is there from the first stream that shows it until its last one was closed for
longer than the grace. Each such *stay* has to be shown with one ``joined`` and one
``left``, and no shorter absence may be shown at all.

The judge knows when the browser opened and closed a stream, and not when the hub noticed
that. So of each stream it takes the shortest time for which the store must have known it:

- It begins :data:`WRITE_SECONDS` after ``push:open``, because a hub waits a quarter of a
  second between two writes. A hub that dies or is stopped before has written nothing, and
  neither has one whose store was away (law 53: "or not since he came").
- It ends when the browser closes it, or when the ``retry`` is over that the hub told it.

Between these times, a user was absent. For each absence of at least the grace, one ``left``
is allowed, and none before the grace is over. Of an absence that the user ended only when
each watcher had shown it, the ``left`` is required. One more is allowed for users of a hub
that was stopped for so long that others found it dead: they are shown as left, and join
when it goes on; or they left meanwhile, and it shows them again until it has noticed that.

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

#: How long a hub that works may take to store that a user has joined.
WRITE_SECONDS = 1.0
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
    #: For how many seconds the hub told it to stay away when it ended it.
    told: float = 0.0


class Trouble(t.NamedTuple):
    """
    :param kind: ``killed`` or ``stopped``, of a hub, or ``away``, of the store.
    :param server: Whose hub it was, or None for all.
    :param over: When the hub has stored again what it could not store meanwhile.
    """

    kind: str
    server: int | None
    start: float
    end: float
    over: float

    def concerns(self, shown: Shown) -> bool:
        return self.server is None or self.server == shown.server


class Change(t.NamedTuple):
    """What a watcher was told of a user."""

    time: float
    channel: str
    user: str
    joined: bool


@dataclass
class Judge:
    """
    :param dead_after: Seconds after which other hubs may find a hub dead, at the earliest.
    :param now: When the run ended.
    """

    grace: float
    dead_after: float
    now: float
    shown: cabc.Iterable[Shown]
    troubles: cabc.Sequence[Trouble] = ()
    #: How often each user left until all watchers had shown it.
    confirmed: cabc.Mapping[Key, int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        by_key: dict[Key, list[Shown]] = defaultdict(list)
        for each in self.shown:
            if each.opened < inf:
                for channel in each.channels:
                    by_key[channel, each.user].append(each)
        self.lefts = {key: self._lefts(found) for key, found in by_key.items()}

    def judge(self, name: str, changes: cabc.Iterable[Change]) -> list[str]:
        """What is wrong with the changes that a watcher was told."""
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
        self, key: Key, times: list[float], allowed: list[float]
    ) -> cabc.Iterator[str]:
        for n, time in enumerate(times):
            if n >= len(allowed):
                yield f"{key} left at {time:.3f}, without a reason: only {allowed} have one"
            elif time < allowed[n] - _EARLY_SECONDS:
                yield f"{key} left at {time:.3f}, and might at {allowed[n]:.3f}"
        if len(times) < self.confirmed.get(key, 0):
            yield f"{key} left {self.confirmed[key]} times, and was shown so at {times}"

    def _lefts(self, shown: list[Shown]) -> list[float]:
        """The first times at which a user may be shown as left, in order."""
        pairs = ((self._stored(each), each.closed + each.told) for each in shown)
        known = sorted((stored, end) for stored, end in pairs if stored <= end)
        found, covered = [], inf
        for stored, end in known:
            if stored - covered >= self.grace:
                found.append(covered + self.grace)
            covered = end if covered == inf else max(covered, end)
        if known and self.now - covered >= self.grace:
            found.append(covered + self.grace)
        found += [each.opened for each in shown if self._is_brief(each, known)]
        found += [each.start for each in self.troubles if self._is_dead(each, shown)]
        return sorted(found)

    def _stored(self, shown: Shown) -> float:
        """From when on the store had it, if it was open for so long."""
        at = shown.opened + WRITE_SECONDS
        for trouble in self.troubles:
            if trouble.concerns(shown) and trouble.start <= at:
                if shown.opened <= trouble.over:
                    at = inf if trouble.kind == "killed" else max(at, trouble.over)
        return at

    def _is_brief(self, shown: Shown, known: list[tuple[float, float]]) -> bool:
        """Whether a user has perhaps joined by this stream alone, which was too short to be
        certain."""
        at, end = self._stored(shown), shown.closed + shown.told
        if at <= end:
            return False
        last = shown.opened + WRITE_SECONDS if at == inf else at
        return not any(
            last < other_end + self.grace and stored < end + self.grace
            for stored, other_end in known
        )

    def _is_dead(self, trouble: Trouble, shown: list[Shown]) -> bool:
        """Whether other hubs may have removed the user of a hub that was stopped."""
        if trouble.kind != "stopped" or trouble.end - trouble.start < self.dead_after:
            return False
        return any(
            trouble.concerns(each)
            and each.opened <= trouble.over
            and each.closed + each.told + self.grace >= trouble.start
            for each in shown
        )
