"""A run is entered by one process, with its sign of life."""

from __future__ import annotations

import pytest

from flask_push._delivery.run_record import end
from flask_push._delivery.run_record import Record
from flask_push._delivery.run_record import Refusal
from flask_push._delivery.run_rows import Change
from flask_push._delivery.run_rows import HOLDERS
from flask_push._event import Position
from flask_push._holder.entering import begin
from flask_push._holder.entering import Refused
from flask_push._holder.store import RunStore
from flask_push.brokers import Conflict
from flask_push.brokers import open_broker
from flask_push.brokers.runs import KeepsRuns


@pytest.fixture
def store() -> RunStore:
    broker = open_broker("memory:")
    assert isinstance(broker, KeepsRuns)
    return RunStore(broker, lambda position: None)


def beat(expect: str = "") -> Change:
    return Change(HOLDERS, HOLDERS, "p", "{}", expect=expect)


def make(store: RunStore, run: str) -> Record:
    from flask_push._delivery import run_record

    made = run_record.make("a", store.record("a"), run, "", 600)
    assert isinstance(made, run_record.Transition)
    return store.commit("a", made).record


def test_a_run_is_entered_with_the_beat_of_its_process(store: RunStore) -> None:
    holder, id = begin(store, "a", make(store, "one"), "p", beat())
    assert (holder.record.process, holder.record.status) == ("p", "running")
    (row,) = store.find(HOLDERS, ["p"], HOLDERS)
    assert str(row.position) == id


def test_a_run_is_not_entered_without_the_beat(store: RunStore) -> None:
    run = make(store, "one")
    with pytest.raises(Conflict):
        begin(store, "a", run, "p", beat("none"))
    record = store.record("a")
    assert record is not None and record.status == "queued"


def test_a_run_that_was_read_before_the_store_was_emptied_is_over(store: RunStore) -> None:
    run = make(store, "one")
    with pytest.raises(Refused) as refused:
        begin(store, "b", run, "p", beat())
    assert (refused.value.refusal, refused.value.record) == (Refusal.OVER, None)
    other = run._replace(run="two", position=Position("00000", 1))
    with pytest.raises(Refused) as refused:
        begin(store, "a", other, "p", beat())
    assert refused.value.refusal is Refusal.BUSY


def test_a_queued_run_is_entered_by_one_call_of_the_store(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make(store, "one")
    with monkeypatch.context() as patch:
        patch.setattr(store.broker, "find", None)
        holder, _ = begin(store, "a", run, "p", beat())
    assert store.record("a") == holder.record


def test_what_has_happened_to_a_run_since_it_was_read_counts(store: RunStore) -> None:
    run = make(store, "one")
    begin(store, "a", run, "other", beat())
    with pytest.raises(Refused) as refused:
        begin(store, "a", run, "p", beat("none"))
    assert refused.value.refusal is Refusal.BUSY
    record = store.record("a")
    assert record is not None and record == refused.value.record
    assert (record.process, record.attempt) == ("other", 1)
    ended = end("a", record, "failed", "broken")
    assert ended is not None
    store.commit("a", ended)
    # As it was read when it was queued, it is entered once more.
    holder, _ = begin(store, "a", run, "p", Change(HOLDERS, HOLDERS, "p", "{}"))
    assert (holder.record.process, holder.record.attempt) == ("p", 2)
