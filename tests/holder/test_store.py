"""A transition is stored once, although calls of the store get no answer."""

from __future__ import annotations

import collections.abc as cabc
from pathlib import Path

import pytest
from support.redises import Redis
from support.run_stores import Unsure

from flask_push import Publisher
from flask_push._delivery import run_record
from flask_push._delivery.run_record import Transition
from flask_push._holder.store import RunStore
from flask_push.brokers import Conflict
from flask_push.brokers import NotPublished
from flask_push.brokers import PublishUncertain


@pytest.fixture
def broker() -> cabc.Iterator[Unsure]:
    broker = Unsure()
    yield broker
    broker.close()


def making(store: RunStore, id: str) -> Transition:
    made = run_record.make("a", store.record("a"), id, "", 600)
    assert isinstance(made, Transition)
    return made


def test_a_transition_that_was_stored_without_an_answer_is_found(broker: Unsure) -> None:
    store = RunStore(broker, lambda position: None)
    broker.answers = ["stored"]
    stored = store.commit("a", making(store, "one"))
    rows = store.find("a", ["now", "1.1.t1"])
    assert [str(row.position) for row in rows] == [stored.record.id, stored.event_id]


def test_a_transition_that_was_not_stored_is_tried_again(broker: Unsure) -> None:
    store = RunStore(broker, lambda position: None)
    broker.answers = ["lost"]
    assert store.commit("a", making(store, "one")).record == store.record("a")


def test_of_two_transitions_one_is_stored(broker: Unsure) -> None:
    store = RunStore(broker, lambda position: None)
    first, second = making(store, "one"), making(store, "two")
    store.commit("a", first)
    broker.answers = ["lost"]
    with pytest.raises(Conflict):
        store.commit("a", second)
    record = store.record("a")
    assert record is not None and record.run == "one"


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        (["refused"], NotPublished),
        (["lost"] * 9, PublishUncertain),
        (["lost", "refused"], PublishUncertain),
    ],
)
def test_an_answer_that_does_not_come_is_an_error(
    broker: Unsure, answers: list[str], error: type[Exception]
) -> None:
    store = RunStore(broker, lambda position: None)
    broker.answers = answers
    with pytest.raises(error):
        store.commit("a", making(store, "one"))


def test_a_redis_that_is_full_forgets_the_events_of_runs_that_have_ended(
    tmp_path: Path,
) -> None:
    with Redis.started(tmp_path) as redis:
        push = Publisher(redis.url, timeout=5)
        with push.run("old", key="k") as run:
            for _ in range(20):
                run.write("x" * 100_000)
        with push.run("new") as run:
            used = redis.info("memory", "used_memory")
            redis.do("CONFIG", "SET", "maxmemory", used - 500_000)
            run.write("y")
        assert run.status == "done"
        # Its key is still known.
        assert push.run("old", key="k").status == "done"
        redis.do("CONFIG", "SET", "maxmemory", 0)
        push.close()
