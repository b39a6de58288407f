"""The record of a channel's runs, from one transition to the next."""

from __future__ import annotations

import json
import typing as t

import pytest

from flask_push._delivery import run_record
from flask_push._delivery.run_record import Record
from flask_push._delivery.run_record import Refusal
from flask_push._delivery.run_record import Transition
from flask_push._delivery.run_rows import Change
from flask_push._delivery.run_rows import ENDED
from flask_push._delivery.run_rows import KEYS
from flask_push._delivery.run_rows import QUEUED
from flask_push._delivery.run_rows import WAITS
from flask_push._delivery.run_size import renew
from flask_push._event import Position


def stored(made: Transition | Refusal | None, number: int) -> Record:
    """The record of a transition as a process reads it later."""
    assert isinstance(made, Transition)
    row = made.changes[0]
    assert row.item == "now" and row.data is not None
    return Record.read(row.data.encode(), row.version, Position("epoch", number))


def make(before: Record | None, n: int, **more: t.Any) -> Transition | Refusal:
    return run_record.make("a", before, f"id{n}", f"key{n}", 600, **more)


def data_of(change: Change) -> t.Any:
    assert change.data is not None
    return json.loads(change.data)


def find(made: Transition | Refusal | None, kind: str) -> list[Change]:
    assert isinstance(made, Transition)
    return [change for change in made.changes if change.kind == kind]


def test_a_run_is_made_and_entered_and_ends() -> None:
    made = make(None, 1)
    assert isinstance(made, Transition)
    record, event, waits = made.changes
    assert (record.owner, record.version, record.expect) == (QUEUED, 1, "")
    assert (event.item, event.type) == (made.event, "push:run")
    about = {"run": "id1", "key": "key1", "attempt": 1, "text": ""}
    assert data_of(event) == {**about, "status": "queued"}
    assert (waits.kind, waits.item, waits.ttl) == (WAITS, "a", 600)
    queued = stored(made, 10)
    entered = run_record.enter("a", queued, 1, "process")
    running = stored(entered, 20)
    record = find(entered, "run")[0]
    assert (record.owner, record.expect) == ("process", str(queued.position))
    assert find(entered, WAITS)[0].data is None
    assert (running.status, running.start, running.process) == ("running", 10, "process")
    ended = stored(run_record.end("a", running, "failed", "Row 3 is empty."), 30)
    record, event = find(run_record.end("a", running, "done"), "run")
    # A process that finds the last row may forget all rows up to it.
    assert (record.owner, event.owner) == ("", ENDED)
    assert (ended.status, ended.start, ended.text) == ("failed", 10, "Row 3 is empty.")
    assert ended.as_past()[-2:] == (10, 30)
    again = stored(run_record.enter("a", ended, 1, "other"), 40)
    assert (again.attempt, again.tag, again.start, again.text) == (2, "1.2", 40, "")
    assert (again.version, running.last_attempt, again.last_attempt) == (4, 0, 30)
    assert stored(run_record.end("a", again, "lost"), 50).last_attempt == 30


@pytest.mark.parametrize("status", ["queued", "running", "stopping"])
def test_of_a_channel_one_run_is_active(status: t.Any) -> None:
    active = Record(1, "id", "key", status, position=Position("epoch", 1))
    assert make(active, 2) is Refusal.BUSY
    other = run_record.enter("a", active, 2, "process")
    assert other is Refusal.BUSY
    same = run_record.enter("a", active, 1, "process")
    assert isinstance(same, Transition) == (status == "queued")


@pytest.mark.parametrize("status", ["done", "stopped", "failed", "lost"])
def test_only_the_newest_run_begins_again_and_only_if_it_failed(status: t.Any) -> None:
    ended = Record(3, "id", "key", status, position=Position("epoch", 1))
    assert run_record.enter("a", ended, 2, "process") is Refusal.OVER
    again = run_record.enter("a", ended, 3, "process")
    assert isinstance(again, Transition) == (status in ("failed", "lost"))
    assert run_record.stop("a", ended) is None
    assert run_record.end("a", ended, "lost") is None


def test_a_run_that_was_stopped_ends_as_stopped() -> None:
    queued = stored(make(None, 1), 10)
    assert stored(run_record.stop("a", queued), 20).status == "stopped"
    running = stored(run_record.enter("a", queued, 1, "process"), 20)
    stopping = stored(stop := run_record.stop("a", running), 30)
    assert (stopping.status, stopping.process) == ("stopping", "process")
    assert find(stop, "run")[0].owner == "process"
    assert find(stop, WAITS)[0].ttl == 10
    assert run_record.stop("a", stopping) is None
    for status in t.get_args(run_record.Status):
        ended = stored(run_record.end("a", stopping, status, "text"), 40)
        assert (ended.status, ended.text) == ("stopped", "")


def test_a_record_has_the_two_runs_before_and_the_keys_of_older_ones_stay() -> None:
    record, number = None, 0
    for n in range(1, 6):
        made = make(record, n)
        keys = [(row.channel, row.item, data_of(row)) for row in find(made, KEYS)]
        right = [("a", f"key{n - 3}", [n - 3, f"id{n - 3}", f"key{n - 3}", "stopped", 1])]
        assert keys == (right if n > 3 else [])
        queued = stored(made, number := number + 10)
        record = stored(run_record.stop("a", queued), number := number + 10)
    assert record is not None
    assert [each.serial for each in record.past] == [4, 3]
    assert [(each.first, each.last) for each in record.past] == [(70, 80), (50, 60)]
    assert (record.start, record.position.number) == (90, 100)


def test_a_run_stands_in_its_list_until_a_day_after_its_end() -> None:
    made = make(None, 1, listed="jobs", info={"name": "x"})
    (item,) = find(made, "")
    assert (item.channel, item.item, item.ttl) == ("jobs", "a", None)
    about = {"run": "id1", "attempt": 1, "info": {"name": "x"}}
    nothing = {"done": None, "total": None, "text": ""}
    assert data_of(item) == {**about, **nothing, "status": "queued"}
    running = stored(run_record.enter("a", stored(made, 1), 1, "process"), 2)
    said = {"done": 3, "total": 9, "text": "importing"}
    (item,) = find(run_record.end("a", running, "done", "", said), "")
    assert data_of(item) == {**about, **said, "status": "done"} and item.ttl == 86400
    (item,) = find(run_record.end("a", running, "failed", "No row.", said), "")
    assert data_of(item)["text"] == "No row."


def test_a_record_of_a_newer_version_is_read_and_others_are_not() -> None:
    values = json.loads(Record(1, "id", "key", "done").to_json())
    read = Record.read(json.dumps({**values, "new": 1}).encode(), 1, Position("e", 1))
    assert read == Record(1, "id", "key", "done", position=Position("e", 1))
    for data in b"[]", b"{}", b"x", b'{"serial": 1}':
        with pytest.raises(ValueError, match=r".+"):
            Record.read(data, 1, Position("e", 1))


def test_a_record_is_stored_again_without_an_event() -> None:
    queued = stored(make(None, 1), 10)
    running = stored(run_record.enter("a", queued, 1, "process"), 20)
    renewed = renew("a", running)
    (change,) = renewed.changes
    assert (change.owner, change.version, change.expect) == ("process", 3, running.id)
    after = stored(renewed, 30)
    assert after == running._replace(first=10, version=3, position=after.position)
    assert run_record.status_now(after, running) == "running"


def test_the_status_of_an_attempt_is_found_in_any_later_record() -> None:
    queued = stored(make(None, 1), 10)
    running = stored(run_record.enter("a", queued, 1, "p"), 20)
    failed = stored(run_record.end("a", running, "failed"), 30)
    assert run_record.status_now(failed, running) == "failed"
    again = stored(run_record.enter("a", failed, 1, "q"), 40)
    assert run_record.status_now(again, running) == "lost"
    done = stored(run_record.end("a", again, "done"), 50)
    newer = stored(make(done, 2), 60)
    assert run_record.status_now(newer, again) == "done"
    assert run_record.status_now(newer, running) == "lost"
    assert run_record.status_now(None, running) == "lost"
    other = stored(run_record.make("a", None, "other", "", 600), 70)
    assert run_record.status_now(other, running) == "lost"
    assert Record.of(newer.past[0])[:5] == done[:5]
    assert (Record.of(newer.past[0]).start, newer.past[0].last) == (40, 50)
