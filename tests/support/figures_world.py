"""Some hubs that store their figures in one store: a small world in which everything that
is late, lost or stopped happens when a test wants it.

The machines of the hubs and the store are real. The sum over all rows is read after each
change. It never falls, and is never more than what was counted. In the end it is all that
was counted, but for what a hub that was killed had not stored.
"""

from __future__ import annotations

import collections.abc as cabc
import json
import typing as t

from flask_push import Position
from flask_push._delivery.figure_record import BEAT_SECONDS
from flask_push._delivery.figure_record import FigurePlan
from flask_push._delivery.figure_record import FigureRecord
from flask_push._delivery.figure_record import FigureState
from flask_push._delivery.figure_record import FigureStep
from flask_push._delivery.figure_rows import FIGURES_IN_TOTAL
from flask_push._delivery.figure_rows import HubFigures
from flask_push._delivery.figures import Figures
from flask_push._delivery.presence_plan import Failure
from flask_push._hub.figure_store import changes
from flask_push._hub.presence_store import failure
from flask_push._ipc.stored_figures import read_figures
from flask_push._ipc.stored_figures import read_rows
from flask_push.brokers import ItemRow
from flask_push.brokers import NotPublished
from flask_push.brokers import PublishUncertain
from flask_push.brokers.memory import MemoryBroker

Operation = tuple[t.Any, ...]

SITES = 3
#: All of what is counted has this name. A newer version has counted the other.
COUNTED, NEWER = "events", "newer"


BEATS: tuple[FigureStep, ...] = (FigureStep.BEAT, FigureStep.LAST)


class Broken(AssertionError):
    """A law was broken."""


class Clock:
    """The store's, which a test moves."""

    def __init__(self, birth: int) -> None:
        self.micros = birth

    def now(self, last: int) -> int:
        return self.micros


class Store(MemoryBroker):
    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock(self._birth)
        vars(self)["_clock"] = self.clock


class Account:
    """What a hub and its successors have counted, and how much of it the store has."""

    def __init__(self) -> None:
        self.counted = self.stored = 0


class Plan(t.NamedTuple):
    plan: FigurePlan
    counted: int


class Site:
    """One hub after another."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        self.is_paused = False
        #: What becomes of its next change that is uncertain: stored, not stored, or stored
        #: later.
        self.uncertain, self.of = "", BEATS
        self.begin()

    def begin(self, state: FigureState | None = None) -> None:
        spread = self.number / SITES
        self.record = FigureRecord(self.world.new_name, lambda: spread)
        self.record.start(self.world.seconds)
        if state is not None:
            state = FigureState(*json.loads(json.dumps(list(state))))
            self.record.take_over(state)
        else:
            self.account = Account()
            self.world.accounts.append(self.account)
        self.answer: tuple[t.Any, ...] | None = None

    @property
    def hub(self) -> HubFigures:
        counted = self.account.counted
        return HubFigures("", Figures({COUNTED: counted, NEWER: counted, "streams": 1}))

    def write(self) -> bool:
        """Do all that is to be done now. Whether the store was reached."""
        for _ in range(100):
            self.hear()
            if not self.ask():
                return True
            assert self.answer is not None
            if self.answer[-1] is Failure.FAILED:
                self.hear()
                return False
        raise Broken(f"it never has nothing to do: {self.record!r}")

    def ask(self) -> bool:
        """Carry out the next plan. Its answer comes later. Whether there is a plan."""
        if self.answer is not None:
            return True
        plan = self.record.plan(self.world.seconds, lambda: self.hub)
        if plan is None:
            return False
        rows, positions, error = self.carry_out(Plan(plan, self.account.counted))
        self.answer = plan, rows, positions, failure(error)
        return True

    def hear(self) -> None:
        if self.answer is not None:
            answer, self.answer = self.answer, None
            self.record.answered(*answer)

    def carry_out(
        self, made: Plan
    ) -> tuple[cabc.Sequence[ItemRow], list[Position], Exception | None]:
        plan, world = made.plan, self.world
        if world.is_down:
            return [], [], OSError("the store can't be reached")
        if plan.step is FigureStep.LOOK:
            return read_rows(world.store), [], None
        uncertain = ""
        if plan.step in self.of:
            uncertain, self.uncertain = self.uncertain, ""
        if uncertain == "later":
            world.on_their_way.append((self.account, made))
        try:
            if uncertain in ("", "stored"):
                positions = world.store_now(self.account, made)
        except NotPublished as error:
            return [], [], error
        if uncertain:
            return [], [], PublishUncertain()
        return [], positions, None


class World:
    def __init__(self) -> None:
        self.seconds = 0.0
        self.is_down = False
        self.store = Store()
        self.accounts: list[Account] = []
        self.on_their_way: list[tuple[Account, Plan]] = []
        self._names = self._sum = 0
        self.sites = [Site(self, number) for number in range(SITES)]

    def new_name(self) -> str:
        self._names += 1
        return f"hub{self._names}"

    def store_now(self, account: Account, made: Plan) -> list[Position]:
        positions = self.store.change(changes(made.plan))
        if made.plan.step is not FigureStep.ADD:
            account.stored = max(account.stored, made.counted)
        self.check()
        return positions

    @property
    def sum(self) -> int:
        figures = read_figures(self.store).figures
        if figures.get(COUNTED) != figures.get(NEWER):
            raise Broken("a family of a newer version was lost")
        return figures.get(COUNTED, 0)

    def check(self) -> None:
        before, self._sum = self._sum, self.sum
        if self._sum < before:
            raise Broken(f"the sum fell from {before} to {self._sum}")
        counted = sum(account.counted for account in self.accounts)
        if self._sum > counted:
            raise Broken(f"the sum is {self._sum}, and {counted} were counted")

    def play(self, story: cabc.Iterable[Operation]) -> None:
        for name, *arguments in story:
            getattr(self, f"do_{name}")(*arguments)
            self.check()
        self.settle()

    def settle(self) -> None:
        """When nothing fails any more, the sum is right, and all dead hubs are in it."""
        self.is_down = False
        for site in self.sites:
            site.is_paused, site.uncertain = False, ""
        self.do_tick(18)
        if self.on_their_way:
            self.do_land()
            self.do_tick(18)
        living = [site.account for site in self.sites]
        dead = [account for account in self.accounts if account not in living]
        expected = sum(a.counted for a in living) + sum(a.stored for a in dead)
        if self.sum != expected:
            raise Broken(f"the sum is {self.sum}, and should be {expected}")
        rows = self.store.read_items([FIGURES_IN_TOTAL], limit=2**30).rows
        if len(rows) > SITES + 1:
            raise Broken(f"rows of dead hubs stay: {rows}")
        if len(read_figures(self.store).hubs) != SITES:
            raise Broken("not each hub has its row")

    # What happens.

    def do_tick(self, count: int) -> None:
        """Let time pass, between two beats each."""
        for _ in range(count):
            self.seconds += BEAT_SECONDS
            self.store.clock.micros += int(BEAT_SECONDS * 1_000_000)
            for site in self.sites:
                if not site.is_paused:
                    site.write()

    def do_count(self, site: int, count: int) -> None:
        self.sites[site].account.counted += count

    def do_write(self, site: int) -> None:
        self.sites[site].write()

    def do_ask(self, site: int) -> None:
        """Carry out one plan, without its answer."""
        self.sites[site].ask()

    def do_pause(self, site: int) -> None:
        self.sites[site].is_paused = True

    def do_resume(self, site: int) -> None:
        self.sites[site].is_paused = False
        self.sites[site].write()

    def do_kill(self, site: int) -> None:
        self.sites[site].begin()

    def do_end(self, site: int) -> None:
        here = self.sites[site]
        here.record.end()
        here.write()
        if not self.is_down and not here.record.has_ended:
            raise Broken("it has not ended")
        here.begin()

    def do_take_over(self, site: int) -> None:
        here = self.sites[site]
        here.begin(here.record.state(here.hub.figures))

    def do_turn_off_and_on(self, site: int) -> None:
        here = self.sites[site]
        here.record.end()
        here.write()
        here.record.start(self.seconds)

    def do_outage(self, is_down: bool) -> None:
        self.is_down = is_down

    def do_doubt(self, site: int, uncertain: str, *of: FigureStep) -> None:
        """Leave one of its next changes uncertain, which is a beat unless it says more."""
        here = self.sites[site]
        here.uncertain, here.of = uncertain, of or BEATS

    def do_land(self) -> None:
        """The changes that were on their way reach the store, or are refused."""
        landing, self.on_their_way = self.on_their_way, []
        for account, made in landing:
            try:
                self.store_now(account, made)
            except NotPublished:
                continue
