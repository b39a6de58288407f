"""Ends the runs of processes that are dead, and forgets runs that ended long ago.

Each hub of a store does so. It notices a row of a process that holds runs, and from then on
looks at the rows of all such processes, until there are none. A hub of a store without runs
neither reads nor writes for this, and has no timer.

Everything is done in the writer's thread, one transaction for each run. :class:`.Deadlines`
ends the runs that have waited for too long.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import math

from .._delivery.holders import Holder
from .._delivery.holders import Holders
from .._delivery.run_rows import HOLDERS
from .._ipc.ended_runs import forget_ended
from .._ipc.ended_runs import free_space
from .._ipc.lost_runs import Count
from .._ipc.lost_runs import end_forgotten
from .._ipc.lost_runs import end_runs_of
from .._ipc.lost_runs import mark_dead
from .._ipc.lost_runs import read_holders
from ..brokers import Broker
from ..brokers import Conflict
from ..brokers import ItemChange
from ..brokers import KeepsItems
from ..brokers import KeepsRuns
from ..brokers import NotPublished
from ..brokers import OwnChannel
from .planned import Planned
from .writer import Answer
from .writer import Writer

#: The channel with the rows of all processes that hold runs.
PROCESSES = OwnChannel(HOLDERS, HOLDERS)

# Seconds between two looks for runs that ended long ago.
_SWEEP_SECONDS = 60.0


class RunKeeper(Planned):
    """All but :meth:`missing` is called on the loop.

    :param guard: As for :class:`Planned`.
    :param retention: For how many microseconds the store keeps events.
    :param count: Counts the runs that it ends. The thread calls it.
    """

    def __init__(
        self,
        broker: Broker,
        writer: Writer,
        loop: asyncio.AbstractEventLoop,
        guard: cabc.Callable[..., None],
        retention: cabc.Callable[[], int],
        lost_after: float,
        count: Count,
    ) -> None:
        watches = [PROCESSES] if isinstance(broker, KeepsRuns) else []
        super().__init__(watches, writer, loop, guard)
        self._retention, self._count = retention, count
        # Whether the thread is asked to look, or does; whether a row was noticed since.
        self._asked = self._noticed = False
        # For the thread. Whether it has to look for queued runs that nothing ends; whether
        # the store may have runs that have ended; and whether it has refused a change.
        self._holders = Holders(lost_after)
        self._checks = True
        self._some = self._refused = False
        self._swept = -math.inf
        # Whether there is more to do at once.
        self._again = False

    def __repr__(self) -> str:
        return f"<RunKeeper {self._holders!r}, asked={self._asked}>"

    @property
    def lost_after(self) -> float:
        """Seconds without a sign of life after which a process is dead."""
        return self._holders.lost_after

    @lost_after.setter
    def lost_after(self, seconds: float) -> None:
        self._holders.lost_after = seconds

    def look(self) -> None:
        """Look soon, because a row has changed, or may have."""
        self._noticed = True
        if not self._asked:
            self._plan_in(self._holders.pause)

    def horizons(
        self, horizons: cabc.Mapping[str, int], without: cabc.Collection[str] = ()
    ) -> None:
        """As :meth:`.ItemSink.horizons`. They are called at each epoch."""
        if PROCESSES in horizons and PROCESSES not in without:
            self._checks = True
            # If the hub has failed, there may be no answer, and its timer may have ended.
            self._asked = False
            self._drop_timer()
            self.look()

    def _plan_in(self, seconds: float) -> None:
        self._plan_at(self._loop.time() + seconds)

    def _ask(self) -> None:
        self._timer, self._noticed = None, False
        if not self._closed:
            self._writer.want(self)
            self._asked = True

    def answered(self, answer: Answer) -> None:
        self._asked = False
        if answer.error is not None:
            self._holders.count_again()
            # A store that is full still forgets runs.
            refused = isinstance(answer.error, NotPublished)
            self._refused = refused and not isinstance(answer.error, Conflict)
        if self._again:
            self._plan_in(0)
        elif self._noticed or len(self._holders) or answer.error is not None:
            self._plan_in(self._holders.pause)
        elif self._some:
            self._plan_in(_SWEEP_SECONDS)

    # In the thread.

    def missing(self, broker: KeepsItems) -> list[ItemChange]:
        """Change what has to be changed. Each change is a transaction of its own, so none
        of them keeps another from being stored."""
        assert isinstance(broker, KeepsRuns)
        self._again = False
        if self._refused:
            self._refused = False
            free_space(broker)
        now = self._loop.time()
        page = read_holders(broker)
        for silent in self._holders.take(page.rows, now):
            self._mark(broker, silent)
        for dead in self._holders.dead:
            self._end(broker, dead)
        if self._checks:
            end_forgotten(broker, self._count)
            self._checks = False
        if now >= self._swept + _SWEEP_SECONDS:
            old, self._some = forget_ended(broker, page.end, self._retention())
            self._again |= old
            self._swept = self._swept if old else now
        # Their runs will end.
        self._some |= bool(page.rows)
        return []

    def _mark(self, broker: KeepsRuns, silent: Holder) -> None:
        dead = mark_dead(broker, silent)
        if dead is None:
            # It has stored a beat since, or another hub has done this.
            self._holders.drop(silent)
            return
        self._holders.put(dead)
        self._quiet.warning(
            "Took process %s for dead, because it had shown no sign of life for %g"
            " seconds. Its runs are lost. If you did not end it, find out why it stood"
            " still, or raise PUSH_LOST_AFTER.",
            *(dead.process, self.lost_after),
        )

    def _end(self, broker: KeepsRuns, dead: Holder) -> None:
        count, forgotten = end_runs_of(broker, dead, count=self._count)
        if forgotten:
            self._holders.drop(dead)
        # Otherwise there is one that can't be ended now.
        self._again |= count > 0
