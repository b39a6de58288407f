"""Each event of a run is stored once, although calls of the store fail."""

from __future__ import annotations

import time

import pytest
from support.run_stores import broker as broker
from support.run_stores import Unsure
from support.run_stores import unsure as unsure
from support.runs import events_of

from flask_push import NotPublished
from flask_push import Publisher
from flask_push import PublishUncertain
from flask_push import RunOver
from flask_push._holder.held import HeldRun


@pytest.fixture
def publisher(unsure: Publisher) -> Publisher:
    return unsure


def give_up(run: object) -> None:
    """Let calls of the run not wait for a store in trouble."""
    held = getattr(run, "_held")  # noqa: B009
    assert isinstance(held, HeldRun)
    held._until = lambda: time.monotonic()


def test_a_write_that_got_no_answer_is_stored_once(
    publisher: Publisher, broker: Unsure
) -> None:
    with publisher.run("a") as run:
        for answers in ["stored"], ["lost"], ["refused"], ["stored", "refused"]:
            broker.answers = answers
            run.write(answers[0])
        broker.answers, broker.unanswered = ["stored"], 1
        run.write("unanswered")
        broker.answers = ["stored"]
    assert str(run.status) == "done"
    assert events_of(publisher, "a") == [
        *("[queued]", "[running]", "stored", "lost", "refused", "stored", "unanswered"),
        "[done]",
    ]


@pytest.mark.parametrize(
    ("answers", "error"), [(["refused"], NotPublished), (["lost"], PublishUncertain)]
)
def test_a_store_is_not_waited_for_when_the_run_may_soon_be_lost(
    publisher: Publisher, broker: Unsure, answers: list[str], error: type[Exception]
) -> None:
    with publisher.run("a") as run:
        give_up(run)
        broker.answers = answers
        with pytest.raises(error):
            run.write("x")
        run.write("y")
    assert events_of(publisher, "a")[2:] == ["y", "[done]"]


def test_an_event_that_may_be_stored_is_not_taken_for_the_next_one(
    publisher: Publisher, broker: Unsure
) -> None:
    with publisher.run("a") as run:
        give_up(run)
        broker.answers = ["stored"]
        with pytest.raises(PublishUncertain):
            run.write("x")
        run.write("y")
        run.write("z")
    assert events_of(publisher, "a")[2:] == ["x", "y", "z", "[done]"]


def test_a_run_that_was_stopped_before_its_word_was_stored_is_over(
    publisher: Publisher, broker: Unsure
) -> None:
    with publisher.run("a") as run:
        broker.answers = ["lost"]

        def stop() -> None:
            broker.before = bool
            other = Publisher(broker)
            other.stop("a")

        broker.before = stop
        with pytest.raises(RunOver):
            run.write("x")
    assert str(run.status) == "stopped"
    assert events_of(publisher, "a")[2:] == ["[stopping]", "[stopped]"]


def test_a_run_of_which_the_store_has_lost_an_event_is_lost(
    publisher: Publisher, broker: Unsure
) -> None:
    with pytest.raises(RunOver), publisher.run("a") as run:
        run.write("x")
        _lose_the_newest(broker)
        run.write("y")
    assert run.status == "lost" and not run.over
    assert events_of(publisher, "a")[2:] == ["[lost]"]


def test_a_run_that_ends_after_the_store_has_lost_an_event_is_lost(
    publisher: Publisher, broker: Unsure
) -> None:
    with pytest.raises(RunOver), publisher.run("a") as run:
        run.write("x")
        _lose_the_newest(broker)
    assert run.status == "lost"


def _lose_the_newest(broker: Unsure) -> None:
    from flask_push.brokers import ItemChange

    MemoryChange = ItemChange("a", "1.1.0", None, kind="run")
    broker.change([MemoryChange])
