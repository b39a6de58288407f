"""What many runs have gathered is stored together, as far as the store takes it."""

from __future__ import annotations

import collections.abc as cabc
import contextlib

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from support.run_stores import Unsure
from support.runs import events_of

from flask_push import NotPublished
from flask_push import Publisher
from flask_push import Run
from flask_push import RunOver
from flask_push._holder.group import parts_of
from flask_push._holder.group import store_together
from flask_push._holder.held import HeldRun
from flask_push._holder.pending import Progress
from flask_push._holder.pending import Source

NAMES = ["a", "b", "c", "d", "e"]


class Runs:
    """Some runs of one process, in a store that may not answer."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.broker = Unsure()
        self.publisher = Publisher(self.broker)
        stack.callback(self.publisher.close)
        self.runs = [self.publisher.run(name, listed="list") for name in NAMES]
        for run in self.runs:
            # A run that is stopped or lost says so when its block ends.
            stack.enter_context(contextlib.suppress(RunOver))
            stack.enter_context(run)
        self.sources = [Source("message") for _ in NAMES]

    def gather(self, *texts: str) -> None:
        for run, source in zip(self.runs, self.sources, strict=True):
            for text in texts:
                held_of(run).pending.add(f"{text} of {run.channel}", source)

    def store(self) -> None:
        parts = [part for run in self.runs for part in parts_of(held_of(run))]
        store_together(held_of(self.runs[0]).store, parts)

    def events(self, name: str) -> list[str]:
        return [
            text for text in events_of(self.publisher, name) if not text.startswith("[")
        ]


def held_of(run: Run) -> HeldRun:
    assert run._held is not None
    return run._held


@pytest.fixture
def runs() -> cabc.Iterator[Runs]:
    with contextlib.ExitStack() as stack:
        yield Runs(stack)


def test_rows_of_many_runs_are_stored_in_one_transaction(runs: Runs) -> None:
    runs.gather("1", "2")
    calls = len(runs.broker.calls)
    runs.store()
    assert len(runs.broker.calls) == calls + 1
    for name, source in zip(NAMES, runs.sources, strict=True):
        assert runs.events(name) == [f"1 of {name}", f"2 of {name}"]
        assert source.stored == 2
    runs.store()
    assert len(runs.broker.calls) == calls + 1


@pytest.mark.parametrize("stopped", [["a"], ["c"], ["e"], ["a", "b"], NAMES])
def test_a_run_that_was_stopped_keeps_no_other_run_from_being_stored(
    runs: Runs, stopped: list[str]
) -> None:
    runs.gather("1")
    for name in stopped:
        runs.publisher.stop(name)
    runs.store()
    for run in runs.runs:
        is_stopped = run.channel in stopped
        assert runs.events(run.channel) == ([] if is_stopped else [f"1 of {run.channel}"])
        assert run.status == ("stopping" if is_stopped else "running")
    # Nothing more is tried of those that are over.
    calls = len(runs.broker.calls)
    runs.store()
    assert len(runs.broker.calls) == calls


@pytest.mark.parametrize("answer", ["stored", "lost"])
def test_rows_that_got_no_answer_are_stored_once(runs: Runs, answer: str) -> None:
    runs.gather("1")
    runs.broker.answers = [answer]
    runs.store()
    runs.gather("2")
    runs.store()
    for name in NAMES:
        assert runs.events(name) == [f"1 of {name}", f"2 of {name}"]


def test_rows_that_the_store_refuses_stay_pending(runs: Runs) -> None:
    runs.gather("1")
    runs.broker.answers = ["refused"]
    with pytest.raises(NotPublished):
        runs.store()
    assert all(run._held and run._held.pending for run in runs.runs)
    runs.store()
    assert runs.events("c") == ["1 of c"]


def test_a_run_of_which_the_store_has_lost_an_event_keeps_no_other_from_being_stored(
    runs: Runs,
) -> None:
    runs.gather("1")
    runs.store()
    runs.broker.lose("b", "1.1.0")
    runs.gather("2")
    runs.store()
    assert runs.events("a") == ["1 of a", "2 of a"] and runs.events("b") == []
    with pytest.raises(RunOver):
        runs.runs[1].write("3")
    assert runs.runs[1].status == "lost"


def test_progress_is_stored_with_the_rows(runs: Runs) -> None:
    runs.gather("1")
    for number, run in enumerate(runs.runs):
        held = held_of(run)
        held.pending.progress = {"done": number, "total": 5, "text": "reading"}
    calls = len(runs.broker.calls)
    runs.store()
    assert len(runs.broker.calls) == calls + 1
    items = runs.publisher.items("list").events
    assert [items[name].json["done"] for name in NAMES] == [0, 1, 2, 3, 4]
    assert not any(held_of(run).pending for run in runs.runs)


def test_progress_of_a_run_that_was_stopped_is_not_stored(runs: Runs) -> None:
    runs.publisher.stop("b")
    for run in runs.runs:
        held_of(run).pending.progress = {"done": 1, "total": 5, "text": ""}
    runs.store()
    items = runs.publisher.items("list").events
    assert [items[name].json["done"] for name in NAMES] == [1, None, 1, 1, 1]
    assert runs.runs[1].status == "stopping"


def test_progress_that_conflicts_for_no_lasting_reason_stays_pending_or_is_stored(
    runs: Runs,
) -> None:
    held = held_of(runs.runs[0])
    held.pending.progress = progress = Progress(done=1, total=5, text="")
    (part,) = parts_of(held)
    part.refused(held.store)
    assert held.pending.progress is None and held.status == "running"
    assert runs.publisher.items("list").events["a"].json["done"] == progress["done"]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(["stored", "lost", "refused", "gather", "gather", "store"]),
            st.sampled_from(NAMES),
        ),
        max_size=25,
    )
)
def test_whatever_the_store_answers_each_event_is_stored_once_and_in_order(
    steps: list[str],
) -> None:
    with contextlib.ExitStack() as stack:
        runs = Runs(stack)
        gathered = {name: list[str]() for name in NAMES}
        stopped = set()
        for number, step in enumerate(steps):
            if step in NAMES:
                answers, runs.broker.answers = runs.broker.answers, []
                runs.publisher.stop(step)
                stopped.add(step)
                runs.broker.answers = answers
            elif step == "gather":
                runs.gather(str(number))
                for name in NAMES:
                    gathered[name].append(f"{number} of {name}")
            elif step == "store":
                with contextlib.suppress(NotPublished):
                    runs.store()
            else:
                runs.broker.answers.append(step)
        runs.broker.answers = []
        for _ in range(3):
            runs.store()
        for name, source in zip(NAMES, runs.sources, strict=True):
            events = runs.events(name)
            assert events == gathered[name][: len(events)]
            assert name in stopped or events == gathered[name]
            assert source.stored == len(events)
