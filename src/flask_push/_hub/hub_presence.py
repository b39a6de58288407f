"""Stores which users are present at this hub, and looks after the other hubs of the store.

:class:`.Members` knows who is present, and :class:`.HubRecord` what the store needs for it.
Each plan is made on the loop and carried out by the writer's thread, and the next one needs
its answer. A hub without members only watches the records of the others: it neither reads
nor writes, unless one of them has members or is dead.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc

from .._delivery.hub_record import HubRecord
from .._delivery.members import MAX_LISTED
from .._delivery.members import Members
from .._delivery.presence_plan import Found
from .._delivery.presence_plan import HUBS
from .._delivery.presence_plan import Plan
from .._delivery.presence_plan import PresenceState
from .._system.names import new_name
from ..brokers import Broker
from ..brokers import ItemChange
from ..brokers import KeepsItems
from ..brokers import OwnChannel
from .connection import Connection
from .planned import Planned
from .presence_store import changes
from .presence_store import failure
from .presence_store import read
from .writer import Answer
from .writer import Writer

#: The channel with the records of all hubs.
RECORDS = OwnChannel(HUBS, HUBS)

# Seconds between two plans, at least, however many users enter and leave.
_PAUSE_SECONDS = 0.1
# Push.js waits for 30 seconds at most between two polls, and one may fail (law 55).
_POLL_SECONDS = 2 * 30.0
# Seconds for which a hub that ends waits until its record has that.
_END_SECONDS = 1.0


class HubPresence(Planned):
    """All but :meth:`missing` is called on the loop.

    :param guard: As for :class:`Planned`.
    """

    def __init__(
        self,
        broker: Broker,
        writer: Writer,
        loop: asyncio.AbstractEventLoop,
        guard: cabc.Callable[..., None],
        grace: float,
    ) -> None:
        watches = [RECORDS] if isinstance(broker, KeepsItems) else []
        super().__init__(watches, writer, loop, guard)
        self._members = Members(grace, self._report)
        self._record = HubRecord(self._members, new_name)
        self._entered: dict[Connection, None] = {}
        # What is being carried out, and what was read for it.
        self._plan: Plan | None = None
        self._found = Found()
        self._planned = -_PAUSE_SECONDS

    def __repr__(self) -> str:
        return f"<HubPresence {self._record!r}, {self._members!r}>"

    @property
    def users(self) -> int:
        """How many users are present here, on each channel."""
        return self._members.users

    @property
    def grace(self) -> float:
        return self._members.grace

    @grace.setter
    def grace(self, grace: float) -> None:
        self._members.grace = grace

    @property
    def is_stored(self) -> bool:
        """Whether the store has what the streams show."""
        now = self._loop.time()
        return not self.watches or (self._plan is None and self._record.is_stored(now))

    # What changes.

    def enter(self, connection: Connection) -> None:
        """Note a stream that has begun, if it shows its user anywhere."""
        stream = connection.stream
        if not (self.watches and stream.user and stream.presence.shown):
            return
        if connection in self._entered:
            return
        self._entered[connection] = None
        self._members.enter(stream.user, stream.presence)
        self._soon()

    def leave(self, connection: Connection, retry: float) -> None:
        """Note the end of a stream.

        :param retry: After how many seconds its browser reconnects. 0 if it has left.
        """
        if connection not in self._entered:
            return
        del self._entered[connection]
        stream = connection.stream
        since = self._loop.time() + (max(retry, _POLL_SECONDS) if stream.poll else retry)
        self._members.leave(stream.user or "", stream.presence, since)
        self._soon()

    def leave_all(self, longest: float) -> None:
        """Note that all streams end.

        :param longest: After how many seconds all browsers have reconnected.
        """
        self.will_leave(longest)
        for connection in list(self._entered):
            self.leave(connection, longest)

    def will_leave(self, longest: float) -> None:
        """Store soon that many browsers will be away, in case this hub dies (law 51).

        :param longest: After how many seconds all browsers have reconnected.
        """
        self._record.will_leave(self._loop.time() + longest + self.grace)
        self._soon()

    def look(self) -> None:
        """Read the records of the other hubs, because they may have changed."""
        self._record.look()
        self._soon()

    def horizons(
        self, horizons: cabc.Mapping[str, int], without: cabc.Collection[str] = ()
    ) -> None:
        """As :meth:`.ItemSink.horizons`."""
        if RECORDS in horizons and RECORDS not in without:
            self.look()

    def _report(self, channel: str) -> None:
        self._quiet.warning(
            "Did not list a user on %r, because %d users are present there; use"
            " stream(counted=...) for channels with more.",
            *(channel, MAX_LISTED),
        )

    # What is stored.

    def _soon(self) -> None:
        """Make a plan soon, unless one is being carried out."""
        if self._plan is None:
            self._plan_at(max(self._loop.time(), self._planned + _PAUSE_SECONDS))

    def _ask(self) -> None:
        """Ask the writer for the next plan, if there is something to do."""
        self._timer = None
        if self._closed or self._plan is not None:
            return
        now = self._planned = self._loop.time()
        self._plan = self._record.plan(now)
        if self._plan is not None:
            self._writer.want(self)
        elif (when := self._record.next(now)) is not None:
            self._plan_at(max(when, now + _PAUSE_SECONDS))

    def missing(self, broker: KeepsItems) -> list[ItemChange]:
        plan = self._plan
        assert plan is not None
        self._found = Found()
        self._found = read(plan, broker)
        return changes(plan)

    def answered(self, answer: Answer) -> None:
        plan, self._plan = self._plan, None
        assert plan is not None
        # The writer may have stored the changes in another order.
        stored = zip(answer.changes, answer.positions, strict=False)
        positions = {each[:3] + (each.kind,): position for each, position in stored}
        ordered = [
            positions[each.channel, each.item, each.data, each.kind]
            for each in plan.changes
            if positions
        ]
        error, now = failure(answer.error), self._loop.time()
        self._record.answered(plan, self._found, ordered, error, now)
        self._ask()

    def finish(self) -> None:
        """Store at the end of the hub what is wanted, and wait a moment for it."""
        if self.watches and self._members.users:
            self._ask()
            self._writer.finish(self._is_finished, _END_SECONDS)

    def _is_finished(self) -> bool:
        return self.is_stored and self._record.has_stored_leaving

    # For a successor.

    def state(self) -> PresenceState:
        now = self._loop.time()
        return PresenceState(self._record.state(now), self._members.to_rows(now))

    def take_over(self, state: PresenceState | None) -> None:
        """Go on where a predecessor ended, before its streams enter."""
        if state is not None:
            now = self._loop.time()
            self._members.restore(state.members, now)
            self._record.take_over(state.record, now)
            self._soon()
