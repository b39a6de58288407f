"""Runs are made, entered, written, ended and stopped, in each store."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import pickle
import threading
import typing as t
from enum import Enum

import pytest
from support.each_store import url as url
from support.runs import events_of
from support.runs import publisher as publisher
from support.runs import record_now
from support.runs import rows_of

from flask_push import Publisher
from flask_push import RunBusy
from flask_push import RunFailed
from flask_push import RunOver
from flask_push._event import MAX_NUMBER
from flask_push.brokers import KeepsRuns


def test_a_run_is_written_in_its_block_and_ends_with_it(publisher: Publisher) -> None:
    run = publisher.run("a", key=5)
    assert (run.channel, run.key, run.status, run.attempt) == ("a", "5", "queued", 1)
    assert repr(run) == f"<Run {run.id} on 'a' [queued, attempt 1]>"
    with run as entered:
        assert entered is run and run.status == "running" and not run.over
        run.write("Hello")
        run.write({"n": 1}, type="said")
    assert str(run.status) == "done" and run.over
    assert events_of(publisher, "a") == [
        *("[queued]", "[running]", "Hello", '{"n": 1}', "[done]")
    ]
    assert record_now(publisher, "a").process == ""
    assert publisher.running("a") is None


def test_a_run_that_is_stopped_stores_nothing_more_and_ends_as_stopped(
    publisher: Publisher,
) -> None:
    with publisher.run("a", key="k") as run:
        run.write("x")
        assert publisher.stop("a", key="other") is False
        assert publisher.stop("a", key="k") is True
        stopping = publisher.running("a")
        assert stopping is not None and stopping.status == "stopping"
        with pytest.raises(RunOver) as raised:
            run.write("late")
        assert raised.value.run is run and run.status == "stopping"
        with pytest.raises(RunOver):
            run.check()
        with pytest.raises(RunOver):
            run.progress(1)
        assert run.write_all("yz") == []
        run.write("late")
    assert str(run.status) == "stopped" and run.over
    assert events_of(publisher, "a") == [
        *("[queued]", "[running]", "x", "[stopping]", "[stopped]")
    ]
    assert publisher.stop("a") is False


def test_a_block_that_does_not_notice_its_stop_ends_as_stopped(
    publisher: Publisher,
) -> None:
    with publisher.run("a") as run:
        publisher.stop("a")
    assert str(run.status) == "stopped"
    assert events_of(publisher, "a")[-2:] == ["[stopping]", "[stopped]"]


def test_an_exception_that_leaves_the_block_fails_the_run_and_goes_on(
    publisher: Publisher,
) -> None:
    run = publisher.run("a", key="k")
    with pytest.raises(KeyError), run:
        run.write("half")
        raise KeyError("secret")
    assert str(run.status) == "failed" and not run.over
    assert record_now(publisher, "a").text == ""
    with run:
        assert run.attempt == 2
        run.write("whole")
    assert str(run.status) == "done"
    with pytest.raises(RunOver):
        run.__enter__()


def test_a_failure_may_have_a_text_for_the_user(publisher: Publisher) -> None:
    run = publisher.run("a")
    with pytest.raises(RunFailed, match=r"^Row 3 is empty\.$"), run:
        run.fail("Row 3 is empty.")
    assert (run.status, record_now(publisher, "a").text) == ("failed", "Row 3 is empty.")


@pytest.mark.parametrize(
    ("text", "why"), [("x" * 1001, "1,001 characters"), ("\ud800", "lone surrogate")]
)
def test_a_run_that_fails_with_a_text_that_cannot_be_sent_fails_without_it(
    publisher: Publisher, text: str, why: str
) -> None:
    run = publisher.run("a")
    with pytest.raises(ValueError, match=why), run:
        run.fail(text)
    assert (run.status, record_now(publisher, "a").text) == ("failed", "")


@pytest.mark.parametrize("text", [None, 5, b"bytes", ValueError("secret")])
def test_a_failure_takes_no_other_reason_than_text(
    publisher: Publisher, text: t.Any
) -> None:
    run = publisher.run("a")
    with pytest.raises(TypeError, match="fail takes a text for the user"), run:
        run.fail(text)
    assert (run.status, record_now(publisher, "a").text) == ("failed", "")


def test_a_failure_that_is_a_member_of_an_enum_has_its_text(publisher: Publisher) -> None:
    class Reason(str, Enum):  # noqa: UP042
        EMPTY = "Row 3 is empty."

    with pytest.raises(RunFailed, match=r"^Row 3 is empty\.$"), publisher.run("a") as run:
        run.fail(Reason.EMPTY)
    assert record_now(publisher, "a").text == "Row 3 is empty."


def test_the_text_of_a_failure_is_not_shown_by_another_run(publisher: Publisher) -> None:
    outer, inner = publisher.run("a"), publisher.run("b")
    with pytest.raises(RunFailed), outer, inner:
        inner.fail("Row 3 is empty.")
    assert (inner.status, record_now(publisher, "b").text) == ("failed", "Row 3 is empty.")
    assert (outer.status, record_now(publisher, "a").text) == ("failed", "")


def test_a_stop_does_not_hide_another_exception(publisher: Publisher) -> None:
    with pytest.raises(KeyError), publisher.run("a") as run:
        publisher.stop("a")
        raise KeyError
    assert run.status == "stopped"
    with publisher.run("a") as run:
        with pytest.raises(RunOver), publisher.run("b") as other:
            publisher.stop("a")
            run.write("late")
        assert other.status == "failed"
    assert run.status == "stopped"


def test_a_run_that_has_failed_is_over_if_there_is_a_newer_one(
    publisher: Publisher,
) -> None:
    with pytest.raises(KeyError), publisher.run("a", key="k") as run:
        raise KeyError
    with publisher.run("a", key="l"):
        pass
    again = publisher.run("a", key="k")
    assert (again.status, again.over, run.over) == ("failed", True, False)
    for each in again, run:
        with pytest.raises(RunOver, match="is failed"):
            each.__enter__()
        assert each.over


def test_a_run_is_entered_once_at_a_time(publisher: Publisher) -> None:
    with publisher.run("a", key="k") as run:
        for other in run, publisher.run("a", key="k"):
            with pytest.raises(RunBusy) as raised:
                other.__enter__()
            assert raised.value.run.id == run.id
    with pytest.raises(RunOver):
        other.__enter__()


def test_a_run_of_which_the_store_knows_nothing_any_more_is_lost(
    publisher: Publisher,
) -> None:
    run = publisher.run("a", key="k")
    broker = publisher._broker
    assert isinstance(broker, KeepsRuns)
    broker.forget("a", MAX_NUMBER, kind="run")
    with pytest.raises(RunOver, match="The run on 'a' is lost"):
        run.__enter__()
    assert (run.status, run.over) == ("lost", True)
    with pytest.raises(RunOver):
        run.write("x")
    assert publisher.run("a", key="k").id == run.id
    assert not publisher.run("a", key="k").over


def test_a_run_that_another_process_has_ended_is_over_as_it_ended(
    publisher: Publisher,
) -> None:
    run = publisher.run("a", key="k")
    publisher.stop("a")
    with publisher.run("a"):
        pass
    with pytest.raises(RunOver, match="The run on 'a' is stopped"):
        run.__enter__()
    assert (run.status, run.over) == ("stopped", True)


def test_a_run_that_the_store_loses_while_it_is_written_is_lost(
    publisher: Publisher,
) -> None:
    broker = publisher._broker
    assert isinstance(broker, KeepsRuns)
    for call in "write", "check", "progress", "end":
        with pytest.raises(RunOver, match="is lost"), publisher.run("a", key="k") as run:
            run.write("x")
            broker.forget("a", MAX_NUMBER, kind="run")
            if call == "write":
                run.write("y")
            elif call == "check":
                run.check()
            elif call == "progress":
                run.progress(1)
        assert (run.status, run.over) == ("lost", False)
        assert rows_of(publisher, "a") == []


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError]
)
def test_whatever_leaves_the_block_ends_the_run(error: type[BaseException]) -> None:
    publisher = Publisher("memory:")
    with pytest.raises(error), publisher.run("a") as run:
        raise error
    assert run.status == "failed" and publisher.running("a") is None
    publisher.close()


def test_several_threads_write_a_run(publisher: Publisher) -> None:
    with publisher.run("a") as run:

        def write(name: str) -> None:
            for number in range(20):
                run.write(f"{name}{number}")

        threads = [threading.Thread(target=write, args=(name,)) for name in "wxyz"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    events = events_of(publisher, "a")[2:-1]
    assert len(events) == 80
    for name in "wxyz":
        mine = [event for event in events if event[0] == name]
        assert mine == [f"{name}{number}" for number in range(20)]


def test_a_run_is_written_only_in_its_block(publisher: Publisher) -> None:
    run = publisher.run("a")
    calls: list[cabc.Callable[[], object]] = [
        *(lambda: run.write("x"), lambda: run.write_all("x"), lambda: run.progress(1)),
        *(run.check, lambda: run.fail("No.")),
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="Enter it first: 'with run:'"):
            call()
    with run:
        pass
    with pytest.raises(RunOver, match="is done: nothing more"):
        run.write("late")


def test_a_run_can_not_be_sent_to_another_process_but_its_exceptions_can(
    publisher: Publisher,
) -> None:
    run = publisher.run("a")
    with pytest.raises(TypeError, match="Pass the channel and the key"):
        pickle.dumps(run)
    with pytest.raises(RunBusy) as raised:
        publisher.run("a")
    copy = pickle.loads(pickle.dumps(raised.value))
    assert type(copy) is RunBusy and str(copy) == str(raised.value)
    with pytest.raises(RuntimeError, match="Another process has raised"):
        _ = copy.run
