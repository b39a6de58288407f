"""Three hubs whose users are present, on one store: a small world in which everything that
is late, lost or stopped happens when a test wants it.

The machines of the hubs and the store are real. A page that watches sees the users of all
rows in the store, after each change. No user who was away for less than the grace is shown
as gone, and in the end all that is shown is true.
"""

from __future__ import annotations

import collections.abc as cabc
import copy
import json
import typing as t
from collections import Counter

from flask_push import NotPublished
from flask_push import Position
from flask_push._delivery.hub_record import HubRecord
from flask_push._delivery.members import Members
from flask_push._delivery.presence_plan import BEAT_SECONDS
from flask_push._delivery.presence_plan import Failure
from flask_push._delivery.presence_plan import Found
from flask_push._delivery.presence_plan import HUBS
from flask_push._delivery.presence_plan import Plan
from flask_push._delivery.roster import PRESENT
from flask_push._delivery.stream_presence import StreamPresence
from flask_push._hub.presence_store import changes
from flask_push._hub.presence_store import failure
from flask_push._hub.presence_store import read
from flask_push.brokers import ItemRow
from flask_push.brokers import PublishUncertain
from flask_push.brokers.memory import MemoryBroker

Operation = tuple[t.Any, ...]

USERS, SITES = "uvwx", 3
#: All in ticks, of which each is the time between two beats.
GRACE, LEASE, SPREAD = 3, 6, 6
NEVER = -99

SHOWS = StreamPresence(present=(("room", "1"),))


class Broken(AssertionError):
    """A law was broken."""


class Store(MemoryBroker):
    """It may be down, and it may lose what was stored last."""

    def __init__(self, look: cabc.Callable[[set[str]], None]) -> None:
        super().__init__()
        self.is_down, self._epochs = False, 0
        #: Whether it remembers what it may lose.
        self.remembers = True
        self._look = look
        self._past: list[t.Any] = []

    def change(self, changes: cabc.Sequence[t.Any]) -> list[Position]:
        positions = super().change(changes)
        if self.remembers:
            self._past = [*self._past, copy.deepcopy(self._items)][-4:]
        self._look(self.users())
        return positions

    def users(self) -> set[str]:
        return {row.item.partition(".")[2] for row in self.rows(PRESENT, "room")}

    def rows(self, kind: str, channel: str) -> cabc.Sequence[ItemRow]:
        return self.read_items([channel], kind=kind, limit=2**30).rows

    def lose(self, count: int) -> None:
        """Begin another epoch, in which the last changes never were."""
        if self._past:
            self._items = self._past[max(0, len(self._past) - count)]
        self._past = []
        self._epochs += 1
        self._epoch = f"e{self._epochs:04}"


class Site:
    """One hub after another."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.is_paused, self.is_linked = False, True
        #: What becomes of its next change that is uncertain: stored, or not.
        self.uncertain: bool | None = None
        self.begin()

    def begin(self) -> None:
        self.members = Members(GRACE * BEAT_SECONDS)
        self.record = HubRecord(self.members, self.world.new_name)
        # Its feed tells it that the store may have records.
        self.record.look()

    def write(self) -> bool:
        """Do all that is to be done now. Whether the store was reached."""
        for _ in range(100):
            plan = self.record.plan(self.world.seconds)
            if plan is None:
                return True
            found, positions, error = self.carry_out(plan)
            failed = failure(error)
            self.record.answered(plan, found, positions, failed, self.world.seconds)
            if failed is Failure.FAILED:
                return False
        raise Broken(f"it never has nothing to do: {plan}")

    def carry_out(self, plan: Plan) -> tuple[Found, list[Position], Exception | None]:
        store, uncertain = self.world.store, self.uncertain
        if store.is_down or not self.is_linked:
            return Found(), [], OSError("the store can't be reached")
        found, positions = read(plan, store), list[Position]()
        try:
            if plan.changes and uncertain is not False:
                positions = store.change(changes(plan))
        except NotPublished as error:
            return found, [], error
        if plan.changes and uncertain is not None:
            self.uncertain = None
            return found, [], PublishUncertain()
        return found, positions, None


class World:
    def __init__(self) -> None:
        self.now = self._names = 0
        self.shown: set[str] = set()
        self.store = Store(self._look)
        self.sites: list[Site] = []
        self.sites += [Site(self) for _ in range(SITES)]
        #: Of each user: the streams at each site.
        self.place: dict[str, Counter[int]] = {user: Counter() for user in USERS}
        self._absent = dict.fromkeys(USERS, NEVER)
        self._before = dict.fromkeys(USERS, NEVER)
        self._came = dict.fromkeys(USERS, NEVER)
        self._told = dict.fromkeys(USERS, NEVER)
        self._last: dict[str, int] = {}
        self._arrived: dict[tuple[str, int], int] = {}
        # Of each site: for how many ticks it could not write, when that was too long, when
        # it could not write at all, and when it wrote.
        self._away: Counter[int] = Counter()
        self._troubled = dict.fromkeys(range(SITES), NEVER)
        self._cut = dict.fromkeys(range(SITES), NEVER)
        self._wrote = dict.fromkeys(range(SITES), NEVER)
        self._lost = NEVER

    @property
    def seconds(self) -> float:
        return self.now * BEAT_SECONDS

    def new_name(self) -> str:
        self._names += 1
        return f"h{self._names}"

    # What must not happen.

    def _look(self, users: set[str]) -> None:
        for user in self.shown - users:
            self._left(user)
        self.shown = users
        for site in self.sites:
            # The feeds of the hubs tell them that records may have changed.
            site.record.look()

    def _left(self, user: str) -> None:
        if self.now - self._lost <= 1:
            return
        sites = [site for site in range(SITES) if self.place[user][site]]
        if not sites:
            if self.now - max(self._absent[user], self._told[user]) >= GRACE - 1:
                return
            sites = [self._last[user]] if user in self._last else []
        # The user was away for long, and the row of before is gone only now.
        if self.now - self._came[user] <= LEASE + 2:
            return
        # A hub that could not write for long is dead for the others.
        if any(self.now - self._troubled[site] <= LEASE + 3 for site in sites):
            return
        for site in sites:
            # Nor does a hub that could not write since the user came.
            came = self._arrived.get((user, site), NEVER)
            if self._wrote[site] <= came <= self._cut[site]:
                return
        raise Broken(f"{user} is shown as gone, and was away only for a moment")

    # What happens.

    def play(self, story: cabc.Iterable[Operation]) -> None:
        story = [*story]
        self.store.remembers = any(name == "lose" for name, *_ in story)
        for name, *args in story:
            getattr(self, f"_{name}")(*args)
        self.store.is_down = False
        for site in self.sites:
            site.is_paused, site.is_linked = False, True
        self._tick(LEASE * 3 + GRACE + SPREAD * 2 + 12)
        there = {user for user in USERS if self.place[user].total()}
        if self.shown != there:
            raise Broken(f"in the end {self.shown} are shown, not {there}")
        records = [json.loads(row.data) for row in self.store.rows(HUBS, HUBS)]
        if not there and any(record.get("members") for record in records):
            raise Broken(f"in the end no user is there, and there are {records}")

    def _nop(self) -> None: ...

    def _tick(self, count: int) -> None:
        for _ in range(count):
            self.now += 1
            for number, site in enumerate(self.sites):
                is_away = site.is_paused or not site.is_linked
                self._away[number] = self._away[number] + 1 if is_away else 0
                if is_away:
                    self._cut[number] = self.now
                if self._away[number] >= LEASE - 1:
                    self._troubled[number] = self.now
            for number in range(SITES)[:: 1 if self.now % 2 else -1]:
                self._write(number)

    def _write(self, number: int) -> None:
        site = self.sites[number]
        if not site.is_paused and site.write():
            self._wrote[number] = self.now

    def _connect(self, user: str, number: int) -> None:
        site, place = self.sites[number], self.place[user]
        if site.is_paused or place[number] == 2:
            return
        self._told[user] = NEVER
        if not place.total():
            self._before[user] = self._absent[user]
            if self.now - self._absent[user] >= GRACE - 1:
                self._came[user] = self.now
        if not place[number]:
            self._arrived[user, number] = self.now
        place[number] += 1
        site.members.enter(user, SHOWS)

    def _leave(self, user: str, number: int, retry: int = 0) -> None:
        if self.place[user][number] and not self.sites[number].is_paused:
            since = self.seconds + retry * BEAT_SECONDS
            self.sites[number].members.leave(user, SHOWS, since)
            self._forget(user, number)

    def _forget(self, user: str, number: int) -> None:
        self.place[user][number] -= 1
        self._last[user] = number
        if not self.place[user].total():
            self._absent[user] = self.now

    def _move(self, user: str, number: int) -> None:
        for old in range(SITES):
            while self.place[user][old] and not self.sites[old].is_paused:
                self._leave(user, old)
        self._connect(user, number)

    def _crash(self, number: int) -> None:
        if self.sites[number].is_paused:
            return
        for user, place in self.place.items():
            had = place[number]
            while place[number]:
                self._forget(user, number)
            if had and self._arrived[user, number] == self.now and not place.total():
                # The hub could not store yet that the user had come.
                self._absent[user] = self._before[user]
        self.sites[number].begin()

    def _stop(self, number: int) -> None:
        site = self.sites[number]
        if not site.is_paused:
            site.record.will_leave(self.seconds + SPREAD * BEAT_SECONDS)
            self._write(number)
            self._crash(number)

    def _back(self, number: int) -> None:
        """The hub sends all of its streams away for a while, and may then die."""
        site = self.sites[number]
        if site.is_paused:
            return
        site.record.will_leave(self.seconds + SPREAD * BEAT_SECONDS)
        wrote = site.write() and not self.store.is_down and site.is_linked
        for user in USERS:
            while self.place[user][number]:
                self._leave(user, number, SPREAD)
                if wrote:
                    self._told[user] = self.now + SPREAD

    def _takeover(self, number: int, is_on_its_way: bool) -> None:
        """
        :param is_on_its_way: Whether the old hub has sent something to the store, and the
            answer arrives nowhere.
        """
        old = self.sites[number]
        if old.is_paused:
            return
        plan = old.record.plan(self.seconds) if is_on_its_way else None
        state, rows = old.record.state(self.seconds), old.members.to_rows(self.seconds)
        if plan is not None:
            old.carry_out(plan)
        old.begin()
        old.members.restore(rows, self.seconds)
        for user, place in self.place.items():
            for _ in range(place[number]):
                old.members.enter(user, SHOWS)
        old.record.take_over(state, self.seconds)

    def _pause(self, number: int) -> None:
        self.sites[number].is_paused = True

    def _resume(self, number: int) -> None:
        self.sites[number].is_paused = False

    def _link(self, number: int, is_linked: bool) -> None:
        self.sites[number].is_linked = is_linked

    def _outage(self, is_down: bool) -> None:
        self.store.is_down = is_down

    def _doubt(self, number: int, is_stored: bool) -> None:
        self.sites[number].uncertain = is_stored

    def _lose(self, count: int) -> None:
        if not self.store.is_down:
            self.store.lose(count)
            self.shown, self._lost = self.store.users(), self.now
