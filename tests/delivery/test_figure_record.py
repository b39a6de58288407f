"""The sum of what hubs have counted never falls, and in the end it is right, whatever is
late, lost or stopped: random stories, and for each rule a story that breaks without it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st
from support.figures_world import Broken
from support.figures_world import Operation
from support.figures_world import SITES
from support.figures_world import World
from support.mutants import Mutant

from flask_push._delivery.figure_record import BEAT_SECONDS
from flask_push._delivery.figure_record import FigurePlan
from flask_push._delivery.figure_record import FigureRecord
from flask_push._delivery.figure_record import FigureStep
from flask_push._delivery.figure_record import FIRST_SECONDS
from flask_push._delivery.figure_record import GONE_SECONDS
from flask_push._delivery.figure_rows import FIGURES_IN_TOTAL
from flask_push._delivery.figure_rows import FIGURES_OF_HUBS
from flask_push._delivery.figure_rows import HubFigures
from flask_push._delivery.figure_rows import PAST
from flask_push._delivery.figures import Figures
from flask_push._delivery.presence_plan import Failure
from flask_push._event import ItemRow
from flask_push._event import Position

ADD = FigureStep.ADD

sites = st.integers(0, SITES - 1)
doubts = st.sampled_from(["stored", "not", "later"])

operations = st.one_of(
    *[st.tuples(st.just("count"), sites, st.integers(1, 9))] * 4,
    *[st.tuples(st.just("tick"), st.integers(1, 6))] * 4,
    st.tuples(st.just("doubt"), sites, doubts),
    st.tuples(st.just("doubt"), sites, doubts, st.just(ADD)),
    st.tuples(st.just("outage"), st.booleans()),
    st.just(("land",)),
    *(
        st.tuples(st.just(name), sites)
        for name in (
            *("write", "ask", "ask", "pause", "resume", "kill", "end"),
            *("take_over", "turn_off_and_on"),
        )
    ),
)


@settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
@given(st.lists(operations, min_size=4, max_size=40))
def test_the_sum_never_falls_and_in_the_end_it_is_right(story: list[Operation]) -> None:
    World().play(story)


#: A hub is stopped for so long that its row is added to those that are gone.
STOPPED: list[Operation] = [("pause", 0), ("tick", 20), ("resume", 0)]
#: It has stored a beat.
STORED: list[Operation] = [("count", 0, 5), ("tick", 1)]

#: For each rule, a story that ends badly without it.
MUTANTS: dict[str, tuple[Mutant, list[Operation]]] = {
    "a beat does not expect the hub's row": (
        Mutant(FigureRecord, "_store", "expect=self._id", "expect=None"),
        [*STORED, *STOPPED, ("count", 0, 4)],
    ),
    "a row that was added counts again": (
        Mutant(FigureRecord, "_find_out", "self._base + self._sent", "self._sent"),
        [*STORED, *STOPPED, ("count", 0, 4), ("tick", 1), *STOPPED],
    ),
    "a hub keeps its name": (
        Mutant(FigureRecord, "_begin", "self._new_name()", "vars(self).get('name', 'x')"),
        [*STORED, *STOPPED],
    ),
    "a hub that is stopped does not know which of its beats was added": (
        Mutant(FigureRecord, "_find_out", "added.kept.get(self.name)", "None"),
        [*STORED, ("count", 0, 4), ("doubt", 0, "not"), ("pause", 0), ("tick", 1)]
        + [("ask", 0), ("tick", 20), ("resume", 0)],
    ),
    "a hub forgets what it could not store": (
        Mutant(FigureRecord, "answered", "self._unsure = True", "self._begin(self._base)"),
        [*STORED, ("doubt", 0, "stored"), ("tick", 1)],
    ),
    "a hub takes another name while its first beat is on its way": (
        Mutant(FigureRecord, "_find_out", "not self._id", "False"),
        [("count", 0, 5), ("doubt", 0, "not"), ("tick", 2)],
    ),
    "a beat that was on its way for long brings a row back": (
        Mutant(FigureRecord, "_add", "version=MAX_NUMBER", "version=None"),
        [("count", 0, 5), ("doubt", 0, "later"), ("tick", 2), *STOPPED, ("land",)],
    ),
    "a beat has no version": (
        Mutant(FigureRecord, "_store", "version=self._beat", "version=None"),
        [("count", 0, 5), ("doubt", 0, "later"), ("tick", 2), *STOPPED, ("land",)],
    ),
    "a row of a dead hub is not expected": (
        Mutant(FigureRecord, "_add", "expect=str(row.position)", "expect=None"),
        [*STORED, ("doubt", 1, "later", ADD), ("doubt", 2, "not", ADD), ("pause", 0)]
        + [("tick", 7), ("count", 0, 4), ("resume", 0), ("land",)],
    ),
    "a successor does not know what its predecessor stored under other names": (
        Mutant(FigureRecord, "take_over", "Figures.from_json(state.base)", "Figures()"),
        [*STORED, *STOPPED, ("take_over", 0), ("tick", 1)],
    ),
    "a successor does not know what its predecessor has stored": (
        Mutant(FigureRecord, "take_over", "in state.sent", "in []"),
        [*STORED, ("take_over", 0), ("count", 0, 4), *STOPPED],
    ),
    "a hub keeps beats that were certainly not stored": (
        Mutant(FigureRecord, "answered", "self._sent.pop(self._beat, None)", "pass"),
        [*STORED, ("count", 0, 4), ("outage", True), ("tick", 10), ("pause", 0)]
        + [("outage", False), ("tick", 20), ("resume", 0)],
    ),
    "the last beat stores nothing": (
        Mutant(FigureRecord, "plan", "self._store(FigureStep.LAST, measure())", "None"),
        [*STORED, ("count", 0, 4), ("end", 0)],
    ),
    "nobody looks for dead hubs": (
        Mutant(FigureRecord, "_look", "name not in hubs", "False"),
        [*STORED, ("kill", 0), ("kill", 1), ("kill", 2)],
    ),
}


@pytest.mark.parametrize("rule", MUTANTS)
def test_each_rule_of_the_totals_is_needed(
    rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant, story = MUTANTS[rule]
    World().play(story)
    mutant.install(monkeypatch)
    with pytest.raises((Broken, KeyError)):
        World().play(story)


def hub(**values: int) -> HubFigures:
    return HubFigures("", Figures(values))


def record(now: float = 0) -> FigureRecord:
    names = iter(["first", "second"])
    made = FigureRecord(lambda: next(names), lambda: 0.5)
    made.start(now)
    return made


def test_a_hub_has_two_rows_of_which_one_goes() -> None:
    of = record()
    assert of.next(0) == FIRST_SECONDS
    assert of.plan(0, lambda: hub()) is None
    plan = of.plan(FIRST_SECONDS, lambda: hub(events=3, streams=2))
    assert plan is not None
    total, row = plan.changes
    assert (total.channel, total.item, total.expect) == (FIGURES_IN_TOTAL, "first", "")
    assert '"events":3' in str(total.data) and "streams" not in str(total.data)
    assert (row.channel, row.item, row.ttl) == (FIGURES_OF_HUBS, "first", GONE_SECONDS)
    assert '"streams":2' in str(row.data)
    of.answered(plan, [], [Position("epoch", 7)] * 2, None)
    assert of.next(1.5) == 2 * FIRST_SECONDS, "it looks for dead hubs soon"
    look = of.plan(2, lambda: hub())
    assert look == FigurePlan(FigureStep.LOOK)
    of.answered(look, [], [], None)
    assert of.next(2.5) == FIRST_SECONDS + BEAT_SECONDS


def test_a_hub_that_ends_stores_all_and_is_gone_at_once() -> None:
    of = record()
    of.end()
    assert of.next(0) == 0
    plan = of.plan(0, lambda: hub(events=3))
    assert plan is not None
    assert [change.data is None for change in plan.changes] == [False, True]
    assert not of.has_ended
    of.answered(plan, [], [Position("epoch", 7)] * 2, None)
    assert of.has_ended
    assert of.next(9) is of.plan(9, lambda: hub()) is None


def test_the_rows_of_dead_hubs_and_their_sum_are_expected() -> None:
    of = record()
    rows = [
        ItemRow(Position("epoch", 5), FIGURES_IN_TOTAL, PAST, "message", b"{}"),
        ItemRow(Position("epoch", 6), FIGURES_IN_TOTAL, "dead", "message", b"{}"),
        ItemRow(Position("epoch", 7), FIGURES_IN_TOTAL, "lives", "message", b"{}"),
        ItemRow(Position("epoch", 7), FIGURES_OF_HUBS, "lives", "message", b"{}"),
    ]
    of.answered(FigurePlan(FigureStep.LOOK), rows, [], None)
    plan = of.plan(0, lambda: hub())
    assert plan is not None and plan.step is FigureStep.ADD
    about = [(each.item, each.data is None, each.expect) for each in plan.changes]
    assert about == [
        (PAST, False, str(Position("epoch", 5))),
        ("dead", True, str(Position("epoch", 6))),
    ]


def test_the_rows_of_very_many_dead_hubs_go_at_once_and_beats_go_on() -> None:
    record = FigureRecord(lambda: "hub", lambda: 0.5)
    record.start(0)
    dead = {
        name: ItemRow(Position("e", 7), FIGURES_IN_TOTAL, name, "message", b"{}")
        for name in (f"gone{number}" for number in range(1000))
    }
    now, steps = record.next(0) or 0, list[FigureStep]()
    while dead:
        assert (plan := record.plan(now, lambda: HubFigures("hub", Figures()))) is not None
        steps.append(plan.step)
        for change in plan.changes:
            if change.channel == FIGURES_IN_TOTAL and change.data is None:
                del dead[change.item]
        rows = [*dead.values()] if plan.step is FigureStep.LOOK else []
        positions = [Position("e", 2000 + len(steps))] * len(plan.changes)
        record.answered(plan, rows, positions, None)
        # The writer's pause.
        now = max(now + 1, record.next(now) or 0)
    assert now < 60
    assert steps.count(FigureStep.ADD) == 10
    beats = "".join("b" if step is FigureStep.BEAT else "." for step in steps)
    assert "." * 6 not in beats, beats


def test_a_record_says_how_certain_it_is() -> None:
    of = record()
    assert repr(of) == "<FigureRecord first: beat 0, certain>"
    plan = of.plan(1, lambda: hub())
    assert plan is not None
    of.answered(plan, [], [], Failure.UNCERTAIN)
    assert repr(of) == "<FigureRecord first: beat 1, unsure>"
