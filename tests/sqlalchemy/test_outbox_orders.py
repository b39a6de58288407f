"""Each committed row is published once, whatever is killed, paused or unsure, and when."""

from __future__ import annotations

import collections.abc as cabc
import itertools
import typing as t

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st
from support.outbox_world import DELAYED
from support.outbox_world import FATES
from support.outbox_world import KILLED_AFTER
from support.outbox_world import OK
from support.outbox_world import Process
from support.outbox_world import use
from support.outbox_world import World

from flask_push._delivery.outbox_ids import Ranges
from flask_push._delivery.outbox_lease import Lease
from flask_push._delivery.outbox_lease import LeaseRecord
from flask_push._delivery.outbox_recent import OutboxRow
from flask_push._delivery.run_rows import Change
from flask_push.sqlalchemy import _database
from flask_push.sqlalchemy._database import OutboxRows

Worlds = cabc.Callable[[], World]
# A relay takes the lease, and publishes four rows in two batches: so many calls.
CALLS = 9


@pytest.fixture
def worlds(monkeypatch: pytest.MonkeyPatch) -> cabc.Iterator[Worlds]:
    made: list[World] = []
    # Rows are published in several batches.
    monkeypatch.setattr(_database, "MAX_ROWS", 2)
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)

    def make() -> World:
        for world in made:
            world.close_relays()
        made[:] = [World(engine, lambda: OK)]
        use(made[0], monkeypatch)
        return made[0]

    yield make
    for world in made:
        world.close()


def go(world: World, process: Process, calls: int) -> None:
    for _ in range(calls):
        if not process.dead:
            world.run(process)


def run_cut(worlds: Worlds, fate: str, then: str) -> None:
    """A relay is cut at one of its calls, in each way, and another goes on, which is cut,
    too."""
    for cut, second_cut, second_fate in itertools.product(
        range(1, CALLS), range(1, CALLS, 3), [OK, KILLED_AFTER, DELAYED]
    ):
        world = worlds()
        world.commit(1, 2, 3, 4)
        first = world.process()
        go(world, first, cut)
        first.fate = fate
        go(world, first, 1)
        if then == "goes on":
            go(world, first, second_cut)
        second = world.process()
        world.commit(6)
        # It looks until it may take the lease.
        for _ in range(12 + second_cut):
            go(world, second, 1)
            world.now += 0.5
        second.fate = second_fate
        go(world, second, 2)
        if then == "wakes up":
            go(world, first, 12)
        world.arrive()
        go(world, second, 3)
        if then == "wakes up late":
            go(world, first, 12)
        world.finish()
        world.check()


WAYS = [*itertools.product(FATES, ["goes on", "wakes up", "wakes up late"])]


@pytest.mark.parametrize("fate, then", WAYS)
def test_a_relay_is_cut_anywhere_and_another_goes_on(
    fate: str, then: str, worlds: Worlds
) -> None:
    run_cut(worlds, fate, then)


def without_expectation(self: Lease, record: LeaseRecord) -> Change:
    return CHANGE(self, record)._replace(expect=None)


def without_rows(self: LeaseRecord) -> str:
    return TO_JSON(self._replace(rows=()))


def take_without_rows(self: Lease) -> Change:
    self.record = (self.record or LeaseRecord())._replace(rows=())
    return TAKE(self)


def delete_first(self: OutboxRows, connection: sa.Connection) -> list[OutboxRow]:
    rows = READ(self, connection)
    connection.execute(self._delete, {"ids": [row.id for row in rows]})
    return rows


def delete_nothing(self: OutboxRows, done: Ranges) -> list[OutboxRow]:
    return NEXT(self, ())


def take_as_stored(self: Lease) -> None:
    self.stored("", 0)


CHANGE, TAKE, TO_JSON = Lease._change, Lease.take, LeaseRecord.to_json
READ, NEXT = OutboxRows._read, OutboxRows.next

MUTANTS: list[tuple[type, str, t.Any]] = [
    (Lease, "_change", without_expectation),
    (Lease, "take", take_without_rows),
    (Lease, "forget", take_as_stored),
    (LeaseRecord, "to_json", without_rows),
    (OutboxRows, "_read", delete_first),
    (OutboxRows, "next", delete_nothing),
]


@pytest.mark.parametrize(
    "kind, name, mutant", MUTANTS, ids=[m[2].__name__ for m in MUTANTS]
)
def test_without_a_safeguard_a_row_is_lost_or_doubled(
    kind: type,
    name: str,
    mutant: t.Any,
    worlds: Worlds,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kind, name, mutant)
    with pytest.raises(AssertionError):
        for fate, then in WAYS:
            run_cut(worlds, fate, then)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data())
def test_no_order_of_steps_loses_or_doubles_a_row(
    worlds: Worlds, data: st.DataObject
) -> None:
    world = worlds()
    # Numbers that were drawn in this order, and are committed in another.
    waiting = data.draw(st.permutations(range(1, 9)))
    world.fate = lambda: data.draw(st.sampled_from(FATES + (OK,) * 10))
    relays = [world.process(), world.process()]
    for _ in range(data.draw(st.integers(5, 60))):
        act = data.draw(st.integers(0, 9))
        if act <= 6:
            n = act % 2
            if relays[n].dead:
                relays[n] = world.process()
            world.run(relays[n])
        elif act == 7 and waiting:
            world.commit(waiting.pop())
        elif act == 8:
            world.arrive()
        else:
            world.now += data.draw(st.sampled_from([0.5, 3.0]))
    if waiting:
        world.commit(*waiting)
    world.arrive()
    world.finish()
    world.check(ordered=False)
