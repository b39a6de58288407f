"""Stores what a hub measures, every five seconds, if the app wants metrics.

:class:`.FigureRecord` knows what the store needs. Each plan is made on the loop and carried
out by the writer's thread, and the next one needs its answer.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import os
import random
import socket
import time

from .._delivery.figure_record import FigurePlan
from .._delivery.figure_record import FigureRecord
from .._delivery.figure_record import FigureState
from .._delivery.figure_record import FigureStep
from .._delivery.figure_rows import HubFigures
from .._delivery.figures import Figures
from .._delivery.figures import START
from .._delivery.log import Log
from .._ipc.stored_figures import read_rows
from .._ipc.version import version
from .._system.names import new_name
from ..brokers import Broker
from ..brokers import ItemChange
from ..brokers import ItemRow
from ..brokers import KeepsItems
from .figure_store import changes
from .planned import Planned
from .presence_store import failure
from .streams import Streams
from .writer import Answer
from .writer import Writer

#: What processes of the app have counted since the last call, and their gauges.
Take = cabc.Callable[[], tuple[Figures, Figures]]

# Seconds for which a hub that ends waits until its last figures are stored.
_END_SECONDS = 1.0


class FigureKeeper(Planned):
    """All but :meth:`missing` is called on the loop.

    :param guard: As for :class:`Planned`.
    :param measure: Returns what the hub measures now, and has counted since it began.
    """

    def __init__(
        self,
        broker: Broker,
        writer: Writer,
        loop: asyncio.AbstractEventLoop,
        guard: cabc.Callable[..., None],
        measure: cabc.Callable[[], Figures],
    ) -> None:
        super().__init__([], writer, loop, guard)
        self._measure = measure
        self._record = FigureRecord(new_name, random.random)
        # Whether figures are stored, and whether the store can keep them.
        self._on, self._can = False, isinstance(broker, KeepsItems)
        # What the predecessors of this hub have counted.
        self._carried = Figures()
        # What is being carried out, and the rows that were read for it.
        self._plan: FigurePlan | None = None
        self._rows: cabc.Sequence[ItemRow] = ()

    def __repr__(self) -> str:
        return f"<FigureKeeper {'on' if self._on else 'off'}, {self._record!r}>"

    @property
    def _plans(self) -> bool:
        return self._can

    def turn(self, on: bool) -> None:
        """Store figures from now on, or no longer."""
        if on == self._on or not self._can:
            return
        self._on = on
        if on:
            self._record.start(self._loop.time())
        else:
            self._record.end()
        self._plan_next()

    def _plan_next(self) -> None:
        when = self._record.next(self._loop.time())
        if when is not None and self._plan is None:
            self._plan_at(when)

    def _ask(self) -> None:
        self._timer = None
        if self._closed or self._plan is not None:
            return
        self._plan = self._record.plan(self._loop.time(), self._hub)
        if self._plan is not None:
            self._writer.want(self)
        else:
            self._plan_next()

    def _hub(self) -> HubFigures:
        figures = self._measure() + self._carried
        about = version(), socket.gethostname(), os.getpid()
        return HubFigures(self._record.name, figures, *about)

    def missing(self, broker: KeepsItems) -> list[ItemChange]:
        plan = self._plan
        assert plan is not None
        if plan.step is FigureStep.LOOK:
            self._rows = read_rows(broker)
        return changes(plan)

    def answered(self, answer: Answer) -> None:
        plan, self._plan = self._plan, None
        rows, self._rows = self._rows, ()
        assert plan is not None
        # They are in the plan's order: its sets come first.
        self._record.answered(plan, rows, answer.positions, failure(answer.error))
        self._ask()

    def finish(self) -> None:
        """Store at the end of the hub all that it has counted, and wait a moment for it."""
        if self._on:
            self._record.end()
            self._ask()
            self._writer.finish(lambda: self._record.has_ended, _END_SECONDS)

    # For a successor.

    def state(self) -> FigureState | None:
        """``None`` if nothing was stored."""
        if not self._on:
            return None
        return self._record.state(self._measure() + self._carried)

    def take_over(self, state: FigureState | None) -> None:
        """Go on where a predecessor ended."""
        if state is not None:
            self._carried = Figures.from_json(state.counted)
            self._record.take_over(state)


class Measure:
    """Measures a hub for metrics. It is made, and called, on the hub's thread.

    :param log: Returns the hub's log.
    :param take: Returns what processes of the app have counted.
    """

    def __init__(
        self, streams: Streams, log: cabc.Callable[[], Log], take: Take | None = None
    ) -> None:
        self._streams = streams
        self._log = log
        self._take, self._taken = take, Figures()
        self._cpu, self._began = time.thread_time_ns(), time.time_ns()

    def __call__(self) -> Figures:
        """What there is now, and what the hub has counted since it began."""
        streams, log = self._streams, self._log()
        count, limits = len(streams.connections), streams.limits
        groups = *log.groups.values(), *log.runs.groups()
        refused, gauges = limits.refused.items(), Figures()
        if self._take is not None:
            since, gauges = self._take()
            self._taken += since
        return (
            streams.counts.figures()
            + self._taken
            + gauges
            + Figures(
                {
                    "hubs": 1,
                    START.name: self._began // 1000,
                    "streams": count,
                    "streams_behind": count - sum(group.up_to_date() for group in groups),
                    "users": limits.different_users,
                    "channels": len(log.channels),
                    "present": streams.presence.users,
                    "log_bytes": log.budget.size + log.item_budget.size + log.passing.size,
                    "hub_cpu_seconds": (time.thread_time_ns() - self._cpu) // 1000,
                    "hub_failures": streams.failstop.failures,
                    **{f"streams_refused:{limit}": number for limit, number in refused},
                }
            )
        )
