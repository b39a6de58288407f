"""What a hub stores about its users who are present. The model of several hubs is in
``test_presence_model.py``."""

from __future__ import annotations

import collections.abc as cabc
import itertools
import json
import typing as t

import pytest

from flask_push import Position
from flask_push._delivery.hub_record import HubRecord
from flask_push._delivery.members import Members
from flask_push._delivery.presence_plan import Failure
from flask_push._delivery.presence_plan import Found
from flask_push._delivery.presence_plan import HUBS
from flask_push._delivery.presence_plan import MAX_CHANGES
from flask_push._delivery.presence_plan import Plan
from flask_push._delivery.presence_plan import RecordState
from flask_push._delivery.presence_plan import Step
from flask_push._delivery.roster import PRESENT
from flask_push._delivery.stream_presence import StreamPresence
from flask_push._hub.presence_store import changes
from flask_push._hub.presence_store import failure
from flask_push._hub.presence_store import read
from flask_push.brokers import ItemChange
from flask_push.brokers.memory import MemoryBroker

SHOWS = StreamPresence(present=(("a", "1"),))


class Hub:
    """One hub, its store and its clock."""

    def __init__(self, broker: MemoryBroker | None = None) -> None:
        self.broker = broker or MemoryBroker()
        self.now = 100.0
        self.members = Members(10)
        names = (f"h{number}" for number in itertools.count(1))
        self.record = HubRecord(self.members, lambda: next(names))

    def plan(self) -> Plan:
        plan = self.record.plan(self.now)
        assert plan is not None
        return plan

    def do(self, plan: Plan) -> Step:
        found, positions, error = Found(), list[Position](), None
        try:
            found = read(plan, self.broker)
            positions = self.broker.change(changes(plan)) if plan.changes else []
        except Exception as caught:
            error = caught
        self.answer(plan, found, positions, failure(error))
        return plan.step

    def answer(self, plan: Plan, *answer: t.Any) -> None:
        found, positions, failed = answer or (Found(), [], Failure.UNCERTAIN)
        self.record.answered(plan, found, positions, failed, self.now)

    def steps(self) -> list[Step]:
        """Do everything that is to be done now."""
        steps = []
        while (plan := self.record.plan(self.now)) is not None:
            steps.append(self.do(plan))
            assert len(steps) < 50, steps
        return steps

    def rows(self, kind: str = PRESENT, channel: str = "a") -> dict[str, t.Any]:
        page = self.broker.read_items([channel], kind=kind, limit=2**30)
        return {row.item: json.loads(row.data) for row in page.rows}

    def records(self) -> dict[str, t.Any]:
        return self.rows(HUBS, HUBS)


@pytest.fixture
def hub() -> cabc.Iterator[Hub]:
    hub = Hub()
    hub.members.enter("ann", SHOWS)
    assert hub.steps() == [Step.BEAT]
    yield hub


def test_a_hub_without_members_has_nothing_to_do() -> None:
    hub = Hub()
    assert hub.steps() == [] and hub.record.next(hub.now) is None
    hub.record.look()
    assert hub.steps() == [Step.LOOK]
    assert hub.records() == {} and hub.record.next(hub.now) is None
    assert repr(hub.record) == "<HubRecord h1: no record, 0 rows>"


def test_the_first_beat_has_the_first_users(hub: Hub) -> None:
    assert hub.rows() == {"h1.ann": 1}
    assert hub.records() == {"h1": {"beat": 1, "members": 1}}
    assert repr(hub.record) == "<HubRecord h1: certain, 1 rows>"
    assert [row.item for row in hub.broker.owned("h1", kind=PRESENT)] == ["h1.ann"]


def test_users_are_stored_between_two_beats(hub: Hub) -> None:
    hub.members.enter("bob", StreamPresence(present=(("a", "2"),), counted=("b",)))
    assert not hub.record.is_stored(hub.now)
    assert hub.steps() == [Step.USERS] and hub.record.is_stored(hub.now)
    assert hub.rows() == {"h1.ann": 1, "h1.bob": 2} and hub.rows(channel="b") == {"h1": 1}
    assert hub.record.next(hub.now) == 105
    hub.now = 105
    assert hub.steps() == [Step.BEAT]
    assert hub.records() == {"h1": {"beat": 2, "members": 3}}


def test_users_leave_after_the_grace_and_the_record_with_the_last_one(hub: Hub) -> None:
    hub.members.leave("ann", SHOWS, hub.now)
    for hub.now in (105, 109.9):
        hub.steps()
        assert hub.rows() == {"h1.ann": 1}
    assert hub.record.next(hub.now) == 110
    hub.now = 110
    assert hub.steps() == [Step.BEAT, Step.END]
    assert hub.rows() == hub.records() == {} and hub.record.next(hub.now) is None
    # Its next record has a name that no hub has had.
    hub.members.enter("ann", SHOWS)
    assert hub.steps() == [Step.BEAT] and hub.records().keys() == {"h2"}


def test_the_first_user_of_a_record_without_members_comes_with_a_beat() -> None:
    hub = Hub()
    for name, data in (("x", '{"members":1}'), ("y", '{"members":1}')):
        change = ItemChange(HUBS, name, data, kind=HUBS, version=1)
        hub.broker.change([change])
    hub.record.look()
    assert hub.steps() == [Step.LOOK] and hub.record.next(hub.now) == hub.now + 5
    hub.now += 4.9
    assert hub.steps() == [] and "h1" not in hub.records(), "it may end before its beat"
    hub.now += 0.1
    assert hub.steps() == [Step.BEAT]
    assert hub.records()["h1"] == {"beat": 1, "members": 0}
    hub.members.enter("ann", SHOWS)
    assert hub.steps() == [Step.BEAT] and hub.records()["h1"]["members"] == 1


def test_many_users_are_stored_in_several_batches_and_sets_come_first(hub: Hub) -> None:
    hub.members.grace = 0
    hub.members.leave("ann", SHOWS, hub.now)
    for number in range(MAX_CHANGES):
        hub.members.enter(f"u{number}", SHOWS)
    plan = hub.plan()
    assert len(plan.changes) == MAX_CHANGES and None not in plan.users.values()
    hub.do(plan)
    plan = hub.plan()
    assert [change.data for change in plan.changes] == [None, "1", None]
    assert hub.steps() == [Step.USERS]
    assert len(hub.rows()) == MAX_CHANGES and "h1.ann" not in hub.rows()


def test_a_hub_whose_record_was_changed_takes_another_name(hub: Hub) -> None:
    hub.broker.change([ItemChange(HUBS, "h1", '{"dead":true}', kind=HUBS, version=9)])
    hub.members.enter("bob", SHOWS)
    assert hub.steps() == [Step.USERS, Step.BEAT]
    assert hub.rows().keys() == {"h1.ann", "h2.ann", "h2.bob"}
    # Its old rows are those of a dead hub.
    hub.now = 105
    steps = [Step.FIND, Step.SWEEP, Step.FIND, Step.FORGET]
    assert hub.steps() == [Step.BEAT, *steps]
    assert hub.records().keys() == {"h2"} and hub.rows().keys() == {"h2.ann", "h2.bob"}


@pytest.mark.parametrize("is_stored", [True, False])
def test_an_uncertain_beat_is_looked_up(hub: Hub, is_stored: bool) -> None:
    hub.now = 105
    hub.members.enter("bob", SHOWS)
    plan = hub.plan()
    if is_stored:
        hub.broker.change(changes(plan))
    hub.answer(plan)
    assert repr(hub.record) == "<HubRecord h1: unsure of its record, 1 rows>"
    steps = [Step.RECORD, Step.CERTAIN, Step.ROWS]
    assert hub.steps() == [*steps, *([] if is_stored else [Step.USERS])]
    assert hub.rows() == {"h1.ann": 1, "h1.bob": 1} and hub.records().keys() == {"h1"}


def test_a_first_beat_that_was_not_stored_gets_another_name() -> None:
    hub = Hub()
    hub.members.enter("ann", SHOWS)
    hub.answer(hub.plan())
    assert hub.steps() == [Step.RECORD, Step.BEAT] and hub.rows() == {"h2.ann": 1}


def test_what_was_on_its_way_is_refused_after_the_look(hub: Hub) -> None:
    hub.members.enter("bob", SHOWS)
    late = hub.plan()
    hub.answer(late)
    assert hub.do(hub.plan()) is Step.RECORD and hub.do(hub.plan()) is Step.CERTAIN
    with pytest.raises(Exception, match="expect"):
        hub.broker.change(changes(late))


def test_after_a_failure_a_beat_alone_tries_the_store(hub: Hub) -> None:
    hub.members.enter("bob", SHOWS)
    hub.answer(hub.plan(), Found(), [], Failure.FAILED)
    plan = hub.plan()
    assert plan.step is Step.BEAT and len(plan.changes) == 1 and not plan.timed
    hub.do(plan)
    assert hub.steps() == [Step.USERS] and hub.rows().keys() == {"h1.ann", "h1.bob"}


def test_a_new_epoch_makes_the_hub_look_at_what_is_stored(hub: Hub) -> None:
    hub.broker._epoch = "other"
    hub.now = 105
    steps = [Step.BEAT, Step.RECORD, Step.CERTAIN, Step.ROWS]
    assert hub.steps() == steps and hub.rows() == {"h1.ann": 1}


def test_rows_of_a_dead_hub_that_a_new_epoch_brings_again_are_unset(hub: Hub) -> None:
    dead = ItemChange(HUBS, "x", '{"dead":true}', kind=HUBS, version=9)
    rows = [ItemChange("a", "x.u", "1", kind=PRESENT, owner="x")]
    hub.broker.change([dead, *rows])
    hub.now = 105
    done = [hub.do(hub.plan()) for _ in range(4)]
    assert done == [Step.BEAT, Step.FIND, Step.SWEEP, Step.FIND] and not hub.rows().get(
        "x.u"
    )
    # The store is as it was before they were unset.
    hub.broker.change(rows)
    hub.broker._epoch = "other"
    hub.now = 110
    hub.steps()
    assert hub.rows() == {"h1.ann": 1} and hub.records().keys() == {"h1"}


def test_the_record_has_for_how_long_browsers_are_away(hub: Hub) -> None:
    hub.record.will_leave(140.2)
    assert not hub.record.has_stored_leaving
    plan = hub.plan()
    assert plan.step is Step.BEAT and not plan.timed
    hub.do(plan)
    assert hub.records()["h1"]["leaving"] == 41 and hub.record.has_stored_leaving
    hub.now = 105
    hub.steps()
    assert hub.records()["h1"]["leaving"] == 36
    hub.members.grace = 0
    hub.members.leave("ann", SHOWS, hub.now)
    assert Step.END not in hub.steps(), "another hub would sweep too early"
    hub.now = 141
    assert hub.steps()[-1] is Step.END


def test_a_hub_without_members_stores_nothing_when_it_ends() -> None:
    hub = Hub()
    hub.record.will_leave(200)
    assert hub.steps() == []


def test_a_successor_goes_on_with_the_record(hub: Hub) -> None:
    hub.record.will_leave(130)
    hub.steps()
    state = RecordState(*json.loads(json.dumps(hub.record.state(110))))
    assert (state.name, state.beat, state.leaving) == ("h1", 2, 20)
    after = Hub(hub.broker)
    after.members.enter("bob", SHOWS)
    after.record.take_over(state, after.now)
    steps = [Step.RECORD, Step.CERTAIN, Step.ROWS, Step.BEAT]
    assert after.steps() == steps and after.rows() == {"h1.bob": 1}
    assert after.records() == {"h1": {"beat": 4, "members": 1, "leaving": 20}}
    # The predecessor can't store anything.
    hub.now = 105
    assert hub.do(hub.plan()) is Step.BEAT and hub.record.name == "h2"


def test_a_successor_of_a_hub_without_a_record_begins_with_none() -> None:
    hub = Hub()
    hub.record.take_over(RecordState("x", "", 0), hub.now)
    assert hub.steps() == []


def test_another_hub_is_looked_after_also_while_users_come(hub: Hub) -> None:
    dead = ItemChange(HUBS, "x", '{"dead":true}', kind=HUBS, version=9)
    rows = [ItemChange("a", f"x.{user}", "1", kind=PRESENT, owner="x") for user in "uv"]
    hub.broker.change([dead, *rows])
    hub.now = 105
    steps = []
    for number in range(8):
        hub.members.enter(f"u{number}", SHOWS)
        steps.append(hub.do(hub.plan()))
    assert steps == [
        *(Step.BEAT, Step.FIND, Step.USERS, Step.SWEEP),
        *(Step.USERS, Step.FIND, Step.USERS, Step.FORGET),
    ]


def test_a_conflict_about_another_hub_is_not_the_own_one(hub: Hub) -> None:
    hub.broker.change([ItemChange(HUBS, "x", '{"dead":true}', kind=HUBS, version=9)])
    hub.now = 105
    assert hub.do(hub.plan()) is Step.BEAT and hub.do(hub.plan()) is Step.FIND
    forget = hub.plan()
    # Another hub does the same.
    hub.broker.change([ItemChange(HUBS, "x", None, kind=HUBS)])
    assert hub.do(forget) is Step.FORGET
    assert hub.steps() == [] and hub.record.name == "h1" and hub.rows() == {"h1.ann": 1}
