"""A process compares the runs that it holds with the records of the store."""

from __future__ import annotations

import contextlib

from support.each_store import url as url
from support.runs import events_of
from support.runs import publisher as publisher
from support.runs import record_now

from flask_push import Publisher
from flask_push import RunOver
from flask_push._holder.held import HeldRun
from flask_push._holder.owned import end_unheld
from flask_push._holder.owned import read_owned


def compare(publisher: Publisher, held: list[HeldRun], later: list[HeldRun]) -> None:
    """
    :param later: What is held after the records were read.
    """
    process = publisher._runs()[0]
    rows = read_owned(process.store, process._signs.beats.name, held)
    end_unheld(process.store, rows, later)


def test_a_run_that_is_held_and_did_not_change_goes_on(publisher: Publisher) -> None:
    with publisher.run("a") as a, publisher.run("b") as b:
        assert a._held and b._held
        compare(publisher, [a._held, b._held], [a._held, b._held])
        a.write("x")
        b.write("y")
    assert events_of(publisher, "a")[2:] == ["x", "[done]"]
    assert events_of(publisher, "b")[2:] == ["y", "[done]"]


def test_a_run_that_was_stopped_learns_it_and_is_not_ended(publisher: Publisher) -> None:
    with publisher.run("a") as run:
        publisher.stop("a")
        assert run._held and run.status == "running"
        compare(publisher, [run._held], [run._held])
        assert str(run.status) == "stopping"
        assert record_now(publisher, "a").status == "stopping"


def test_a_run_that_another_thread_uses_learns_it_later(publisher: Publisher) -> None:
    with publisher.run("a") as run:
        publisher.stop("a")
        assert run._held
        with run._held.lock:
            compare(publisher, [run._held], [run._held])
            assert run.status == "running"


def test_a_run_that_is_entered_meanwhile_is_not_ended(publisher: Publisher) -> None:
    with publisher.run("a") as run:
        assert run._held
        compare(publisher, [], [run._held])
    assert events_of(publisher, "a")[2:] == ["[done]"]


def test_a_run_that_ended_meanwhile_stays_as_it_is(publisher: Publisher) -> None:
    process = publisher._runs()[0]
    with publisher.run("a"):
        rows = read_owned(process.store, process._signs.beats.name, [])
        assert [row.channel for row in rows] == ["a"]
    end_unheld(process.store, rows, [])
    assert events_of(publisher, "a")[2:] == ["[done]"]


def test_a_run_that_nothing_holds_is_lost(publisher: Publisher) -> None:
    with publisher.run("a") as a, contextlib.suppress(RunOver):
        assert a._held
        ends: list[str] = []
        publisher._runs()[0].store.count = ends.append
        with publisher.run("b", listed="runs") as b:
            b.progress(1, 2)
            compare(publisher, [], [a._held])
            assert record_now(publisher, "a").status == "running"
            assert record_now(publisher, "b").status == "lost"
    item = publisher.items("runs").events["b"].json
    assert (item["status"], item["done"]) == ("lost", 1)
    assert b.status == "lost"
    assert ends == ["lost", "done"], "each end is counted once"
