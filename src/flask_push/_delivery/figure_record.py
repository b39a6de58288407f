"""What a hub stores of its figures, and how the figures of dead hubs are kept.

Every five seconds, a hub stores a *beat*: its row among the hubs, which goes by itself
after 20 seconds, and its row in the totals, with what it has counted. Both are one
transaction, which expects the row in the totals to be as this hub has stored it.

- A row in the totals whose hub has no other row is that of a dead hub. Any hub adds it to
  the row of those that are gone, and unsets it: in one transaction, which expects both. So
  each value is always in one row, and the sum over all rows never falls.
- A hub that was only stopped finds its row gone. It takes another name, and stores from
  then on what it has counted since the row was added.
- If it is not certain what is stored, or if a row is not as expected, the hub reads all
  rows before it stores anything. A transaction that is still on its way expects a row that
  the next one changes. So only one of the two is stored, and the hub finds out which.
- The row of those that are gone has the last beat of each hub that was added to it lately.
  From this, a hub that was stopped knows whether its last beat is in the sum.
- A hub that ends stores its last beat, and unsets its row among the hubs. The next hub that
  looks adds it to those that are gone.

So a hub that is killed loses what it counted since its last beat, and nothing else is lost.

This is a machine without I/O: :meth:`FigureRecord.plan` says what is to be read and stored
next, and :meth:`FigureRecord.answered` takes what became of it.
"""

from __future__ import annotations

import collections.abc as cabc
import enum
import typing as t
from math import inf

from .._event import ItemRow
from .._event import MAX_NUMBER
from .._event import Position
from .figure_rows import FIGURES_IN_TOTAL
from .figure_rows import FIGURES_OF_HUBS
from .figure_rows import HubFigures
from .figure_rows import PAST
from .figure_rows import Total
from .figures import Figures
from .presence_plan import Failure

#: Seconds between two beats, and until the first one.
BEAT_SECONDS, FIRST_SECONDS = 5.0, 1.0
#: Seconds without a beat after which a hub's row among the hubs goes.
GONE_SECONDS = 20.0
#: Seconds between two looks for rows of dead hubs, about.
LOOK_SECONDS = 30.0
# So many rows are added to those that are gone together.
_MAX_ADDED = 100
# Of so many hubs that are gone, the last beat is kept.
_MAX_KEPT = 100
# So many beats are known that may be stored.
_MAX_SENT = 8


class FigureStep(enum.Enum):
    """What a plan is for."""

    #: Read all rows.
    LOOK = "look"
    #: Store a beat; or the last one.
    BEAT = "beat"
    LAST = "last"
    #: Add the rows of dead hubs to those that are gone.
    ADD = "add"


class FigureChange(t.NamedTuple):
    """An item of one of the two channels is set or unset."""

    channel: str
    item: str
    data: str | None
    ttl: float | None = None
    version: int | None = None
    #: The id of the living row that is expected; empty if there must be none.
    expect: str | None = None


class FigurePlan(t.NamedTuple):
    step: FigureStep
    #: What is stored, in this order.
    changes: cabc.Sequence[FigureChange] = ()


class FigureState(t.NamedTuple):
    """What a successor goes on with."""

    name: str
    #: Empty if there is no row.
    id: str
    #: What was counted under earlier names.
    base: dict[str, int]
    #: What was sent to the store, by beat, and may be stored.
    sent: list[list[t.Any]]
    #: All that was counted.
    counted: dict[str, int]
    #: How many beats were sent.
    beat: int


class FigureRecord:
    """
    :param new_name: Returns a name that no hub ever had.
    :param spread: Returns a number from 0 to 1, which differs from hub to hub.
    """

    def __init__(
        self, new_name: cabc.Callable[[], str], spread: cabc.Callable[[], float]
    ) -> None:
        self._new_name, self._spread = new_name, spread
        self._timed = self._look_at = -inf
        # What is to be added: the rows of dead hubs, and that of those that are gone.
        self._dead: list[ItemRow] = []
        self._past: ItemRow | None = None
        # Whether there are more dead hubs than were added. Each makes a scrape slower.
        self._more = False
        # Whether the hub stores its last beat; and whether it has.
        self._ends, self._ended = False, True
        self._begin(Figures())

    def _begin(self, base: Figures) -> None:
        """Begin without a row, under a new name."""
        self.name = self._new_name()
        # What was counted under earlier names.
        self._base = base
        # The id of the row, which is empty if there is none.
        self._id = ""
        # What was sent and may be stored, by beat; and the number of the last beat.
        self._sent: dict[int, Figures] = {}
        self._beat = 0
        self._unsure = False

    def __repr__(self) -> str:
        state = "unsure" if self._unsure else "certain"
        return f"<FigureRecord {self.name}: beat {self._beat}, {state}>"

    @property
    def has_ended(self) -> bool:
        """Whether the last beat is stored, or none was ever due."""
        return self._ended

    def end(self) -> None:
        """Store the last beat now."""
        self._ends = True

    def start(self, now: float) -> None:
        """Store a beat soon, and then one every five seconds."""
        self._ends = self._ended = False
        self._timed = now + FIRST_SECONDS - BEAT_SECONDS
        self._look_at = now + 2 * FIRST_SECONDS

    def next(self, now: float) -> float | None:
        """When there is something to do. ``None`` if there is nothing."""
        if self._ended:
            return None
        if self._unsure or self._dead or self._more or self._ends:
            return now
        return max(now, min(self._timed + BEAT_SECONDS, self._look_at))

    # What is to be done.

    def plan(self, now: float, measure: cabc.Callable[[], HubFigures]) -> FigurePlan | None:
        """What is to be read or stored next. ``None`` if there is nothing to do now.

        The answer to it comes before the next plan is made.

        :param measure: Returns what the hub measures now. Its name does not matter.
        """
        if self._ended:
            return None
        if self._unsure:
            return FigurePlan(FigureStep.LOOK)
        if self._ends:
            return self._store(FigureStep.LAST, measure())
        # Both come seldom, so they can't put a beat off for long.
        if self._dead:
            return self._add()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS * (0.5 + self._spread())
            return FigurePlan(FigureStep.LOOK)
        if now >= self._timed + BEAT_SECONDS:
            self._timed = now
            return self._store(FigureStep.BEAT, measure())
        # After a beat, so that thousands of dead hubs don't put it off.
        if self._more:
            self._more = False
            return FigurePlan(FigureStep.LOOK)
        return None

    def _store(self, step: FigureStep, hub: HubFigures) -> FigurePlan:
        self._beat += 1
        counted = self._sent[self._beat] = hub.figures.counted - self._base
        while len(self._sent) > _MAX_SENT:
            del self._sent[min(self._sent)]
        total = Total(counted, self._beat).to_json()
        row = FIGURES_IN_TOTAL, self.name, total
        changes = [FigureChange(*row, version=self._beat, expect=self._id)]
        if step is FigureStep.LAST:
            changes.append(FigureChange(FIGURES_OF_HUBS, self.name, None))
        else:
            about = FIGURES_OF_HUBS, self.name, hub.to_json()
            changes.append(FigureChange(*about, ttl=GONE_SECONDS))
        return FigurePlan(step, changes)

    def _add(self) -> FigurePlan:
        dead, past = self._dead[:_MAX_ADDED], self._past
        total = Total() if past is None else Total.of(past)
        for row in dead:
            total = total.with_dead(row, _MAX_KEPT)
        expected = "" if past is None else str(past.position)
        about = FIGURES_IN_TOTAL, PAST, total.to_json()
        # The version is above any beat, so no beat that is still on its way can bring the
        # row back.
        gone = [
            FigureChange(
                *(FIGURES_IN_TOTAL, row.item, None),
                version=MAX_NUMBER,
                expect=str(row.position),
            )
            for row in dead
        ]
        return FigurePlan(FigureStep.ADD, [FigureChange(*about, expect=expected), *gone])

    # What became of it.

    def answered(
        self,
        plan: FigurePlan,
        rows: cabc.Sequence[ItemRow],
        positions: cabc.Sequence[Position],
        failure: Failure | None,
    ) -> None:
        """
        :param rows: All living rows of both channels, if the plan was to read them.
        :param positions: Of each change of the plan. Empty if it failed.
        """
        step = plan.step
        if step is FigureStep.ADD:
            # If it failed, the next look finds them.
            self._more = failure is None and len(self._dead) > _MAX_ADDED
            self._dead = []
        elif failure is None and step is FigureStep.LOOK:
            self._look(rows)
        elif failure is None:
            self._id = str(positions[0])
            self._sent = {self._beat: self._sent[self._beat]}
            if step is FigureStep.LAST:
                # It may have been started again meanwhile.
                self._ended, self._dead = self._ends, []
        elif failure is Failure.FAILED:
            self._sent.pop(self._beat, None)
        elif step is not FigureStep.LOOK:
            self._unsure = True

    def _look(self, rows: cabc.Sequence[ItemRow]) -> None:
        totals = {row.item: row for row in rows if row.channel == FIGURES_IN_TOTAL}
        self._past = totals.pop(PAST, None)
        own = totals.pop(self.name, None)
        if self._unsure:
            self._unsure = False
            self._find_out(own)
        hubs = {row.item for row in rows if row.channel == FIGURES_OF_HUBS}
        self._dead = [row for name, row in totals.items() if name not in hubs]

    def _find_out(self, own: ItemRow | None) -> None:
        """Find out what of this hub is stored."""
        if own is not None:
            total = Total.of(own)
            self._id, self._sent = str(own.position), {total.beat: total.figures}
            self._beat = max(self._beat, total.beat)
            return
        added = Total() if self._past is None else Total.of(self._past)
        beat = added.kept.get(self.name)
        if beat is None and not self._id:
            # The first beat was not stored. It may be on its way.
            return
        # If nothing says which beat was added, it was the last: nothing counts twice.
        newest = self._sent.get(max(self._sent, default=0), Figures())
        self._begin(self._base + self._sent.get(-1 if beat is None else beat, newest))

    # For a successor.

    def state(self, counted: Figures) -> FigureState:
        sent = [[beat, figures.to_json()] for beat, figures in self._sent.items()]
        about = self.name, self._id, self._base.to_json()
        return FigureState(*about, sent, counted.counted.to_json(), self._beat)

    def take_over(self, state: FigureState) -> None:
        """Go on with the rows of a predecessor. If it has stored a beat since, without an
        answer, the next beat does not find the row that it expects."""
        self.name, self._id = state.name, state.id
        self._base = Figures.from_json(state.base)
        self._sent = {beat: Figures.from_json(values) for beat, values in state.sent}
        self._beat = state.beat
