"""A thread stores what runs have gathered, in turns."""

from __future__ import annotations

import contextlib
import logging
import threading

import pytest
from support.run_stores import broker as broker
from support.run_stores import Unsure
from support.run_stores import unsure as unsure
from support.runs import events_of
from support.servers import until

from flask_push import Publisher
from flask_push import Run
from flask_push._holder import pending
from flask_push._holder import thread
from flask_push._holder.held import HeldRun
from flask_push._holder.pending import Pending
from flask_push._holder.pending import Source


@pytest.fixture
def publisher(unsure: Publisher) -> Publisher:
    return unsure


def gather(publisher: Publisher, run: Run, *texts: str) -> HeldRun:
    """Let the thread store some events."""
    held = run._held
    assert held is not None
    source = Source("message")
    for text in texts:
        held.pending.add(text, source)
    publisher._runs()[0].wants(held)
    return held


def store(publisher: Publisher, runs: list[Run], text: str) -> None:
    """Let the thread store an event of each run, and wait until it has."""
    held = [gather(publisher, run, text) for run in runs]
    until(lambda: not any(each.pending.is_known for each in held))


def written(publisher: Publisher, channel: str) -> list[str]:
    return [each for each in events_of(publisher, channel) if not each.startswith("[")]


def test_what_a_run_has_gathered_is_stored(publisher: Publisher) -> None:
    with publisher.run("a") as run:
        for text in "xyz":
            store(publisher, [run], text)
    assert written(publisher, "a") == ["x", "y", "z"]


def test_what_is_gathered_while_the_thread_stores_is_stored_too(
    publisher: Publisher,
) -> None:
    """Here, exactly when the thread has found that there is nothing more."""
    source = Source("message")

    class Busy(Pending):
        def due(self) -> float | None:
            due = super().due()
            if due is None and source.stored == 1:
                self.add("y", source)
                process.wants(held)
            return due

    with publisher.run("a") as run:
        process = publisher._runs()[0]
        assert run._held is not None
        held = run._held
        held.pending = Busy()
        held.pending.add("x", source)
        process.wants(held)
        until(lambda: source.stored == 2)


def test_events_that_come_fast_are_stored_although_no_thread_says_so(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here, each row counts as one that has waited."""
    monkeypatch.setattr(pending, "_WAITED_SECONDS", 0)
    source = Source("message")

    class Fast(Pending):
        def expected(self) -> float | None:
            if source.stored == 1:
                self.add("y", source)
            return super().expected()

    with publisher.run("a") as run:
        assert run._held is not None
        held = run._held
        held.pending = Fast()
        held.pending.add("x", source)
        publisher._runs()[0].wants(held)
        until(lambda: source.stored == 2)
        # If no more events come, the thread forgets the run.
        until(lambda: not held.pending.is_known)
        store(publisher, [run], "z")
    assert written(publisher, "a") == ["x", "y", "z"]


def test_many_runs_need_few_transactions(publisher: Publisher, broker: Unsure) -> None:
    names = [f"c{number}" for number in range(300)]
    with contextlib.ExitStack() as stack:
        runs = [stack.enter_context(publisher.run(name)) for name in names]
        before = len(broker.calls)
        for number in range(10):
            store(publisher, runs, str(number))
        calls = len(broker.calls) - before
    for name in names:
        assert written(publisher, name) == [str(number) for number in range(10)]
    assert calls < 1000
    assert max(len(each) for each in broker.calls) <= 3 * 250


def test_a_run_that_another_thread_uses_does_not_keep_others_waiting(
    publisher: Publisher,
) -> None:
    with publisher.run("a") as a, publisher.run("b") as b:
        assert a._held is not None
        with a._held.lock:
            gather(publisher, a, "x")
            gather(publisher, b, "y")
            until(lambda: written(publisher, "b") == ["y"])
            assert written(publisher, "a") == []
        until(lambda: written(publisher, "a") == ["x"])


def test_rows_together_have_a_megabyte_at_most_or_one_run(
    publisher: Publisher, broker: Unsure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread, "_MOST_BYTES", 1000)
    with contextlib.ExitStack() as stack:
        runs = [stack.enter_context(publisher.run(f"c{n}")) for n in range(10)]
        store(publisher, runs, "x" * 900)
    sizes = [sum(len(each.data or "") for each in call) for call in broker.calls]
    assert max(sizes) < 3000


def test_a_store_in_trouble_is_logged_and_tried_again(
    publisher: Publisher, broker: Unsure, caplog: pytest.LogCaptureFixture
) -> None:
    with publisher.run("a") as run:
        broker.answers = ["refused", "refused"]
        gather(publisher, run, "x")
        until(lambda: written(publisher, "a") == ["x"])
    (line,) = caplog.messages
    assert line == (
        "Could not store what the runs of this process have written; it tries again: The"
        " store refuses."
    )


def test_a_turn_that_fails_for_another_reason_is_logged_and_the_next_one_follows(
    publisher: Publisher, broker: Unsure, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        if threading.current_thread() is not threading.main_thread():
            broker.before = bool
            raise ZeroDivisionError

    with publisher.run("a") as run:
        broker.before = fail
        gather(publisher, run, "x")
        until(lambda: written(publisher, "a") == ["x"])
    (record,) = caplog.records
    assert record.levelno == logging.ERROR and record.exc_info
    assert record.exc_info[0] is ZeroDivisionError


def test_a_run_that_is_over_is_no_longer_tried(
    publisher: Publisher, broker: Unsure
) -> None:
    with publisher.run("a") as run:
        publisher.stop("a")
        held = gather(publisher, run, "x")
        until(lambda: not held.pending.is_known)
        assert run.status == "stopping"
        gather(publisher, run, "y")
        until(lambda: not held.pending.is_known)
    assert written(publisher, "a") == []


def test_the_thread_ends_some_time_after_the_last_run(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flask_push._holder import process

    monkeypatch.setattr(process, "_IDLE_SECONDS", 0.05)
    before = threading.active_count()
    for key in range(2):
        with publisher.run("a", key=key) as run:
            run.write("x")
        until(lambda: threading.active_count() == before)
    assert events_of(publisher, "a").count("[done]") == 2


def test_a_run_is_stored_twenty_times_a_second_at_most(
    publisher: Publisher, broker: Unsure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here, each is stored when the test lets it."""
    monkeypatch.setattr(pending, "ROW_SECONDS", 1000)
    with publisher.run("a") as run:
        held = gather(publisher, run, "x")
        until(lambda: written(publisher, "a") == ["x"])
        gather(publisher, run, "y", "z")
        calls = len(broker.calls)
        with publisher.run("b") as other:
            gather(publisher, other, "turn")
            until(lambda: written(publisher, "b") == ["turn"])
        assert written(publisher, "a") == ["x"] and held.pending.has_events
        assert len(broker.calls) > calls
    # What is pending is stored before the end.
    assert events_of(publisher, "a")[2:] == ["x", "y", "z", "[done]"]
