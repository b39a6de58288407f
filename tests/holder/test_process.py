"""A process that holds runs shows that it lives, and ends those that it can't hold."""

from __future__ import annotations

import gc
import json
import sys
import threading
import types
import typing as t
from pathlib import Path

import pytest
from flask import Flask
from support.each_store import url as url
from support.run_stores import broker as broker
from support.run_stores import Unsure
from support.run_stores import unsure as unsure
from support.runs import events_of
from support.runs import holders_of
from support.runs import publisher as publisher
from support.runs import record_now
from support.servers import until

from flask_push import NotPublished
from flask_push import Publisher
from flask_push import PublishUncertain
from flask_push import Push
from flask_push import Run
from flask_push import RunBusy
from flask_push import RunOver
from flask_push._delivery.run_record import end
from flask_push._holder.process import RunProcess
from flask_push._system import unpatched
from flask_push.brokers import Conflict
from flask_push.brokers import ItemChange
from flask_push.brokers import KeepsRuns


def quick(url: str | Unsure) -> Publisher:
    """One whose processes beat ten times a second."""
    publisher = Publisher(url, timeout=20)
    publisher._run_times = (0.3,)
    return publisher


def process_of(publisher: Publisher) -> RunProcess:
    return publisher._runs()[0]


def mark_dead(publisher: Publisher) -> str:
    """Do to the one process what hubs do to one that is silent."""
    broker = publisher._broker
    assert isinstance(broker, KeepsRuns)
    while True:
        (row,) = broker.read_items(["holders"], kind="holders").rows
        about = "holders", row.item, '{"dead":true}'
        version = (row.version or 0) + 1
        dead = ItemChange(*about, version=version, kind="holders", expect=str(row.position))
        try:
            broker.change([dead])
        except Conflict:
            continue
        return row.item


def lose(publisher: Publisher, channel: str) -> None:
    process = process_of(publisher)
    ending = end(channel, record_now(publisher, channel), "lost")
    assert ending is not None
    process.store.commit(channel, ending)


def test_a_process_has_one_name_for_all_of_its_runs(publisher: Publisher) -> None:
    with publisher.run("a"), publisher.run("b"):
        names = {record_now(publisher, name).process for name in "ab"}
        assert len(names) == 1 and "" not in names
        assert holders_of(publisher).keys() == names
        with pytest.raises(RunBusy):
            publisher.run("a")
    assert holders_of(publisher) == {}


def test_a_process_has_a_row_while_it_holds_runs_and_never_otherwise(
    publisher: Publisher,
) -> None:
    run = publisher.run("a")
    assert holders_of(publisher) == {}
    for key in range(3):
        with publisher.run("a" if key else "b", key=key), publisher.run("c", key=key):
            assert len(holders_of(publisher)) == 1
            if not key:
                publisher.stop("a")
        assert holders_of(publisher) == {}
    assert run.key == ""


def test_leaving_a_run_that_has_ended_waits_for_no_other_that_is_entered(
    publisher: Publisher,
) -> None:
    lock = process_of(publisher)._lock
    with publisher.run("a"):
        run = publisher.run("b")
        run.__enter__()
        leaving = threading.Thread(target=run.__exit__, args=(None, None, None))
        # As while the store does not answer another one.
        with lock:
            leaving.start()
            leaving.join(10)
            assert not leaving.is_alive()
        assert events_of(publisher, "b")[-1] == "[done]"
        assert len(holders_of(publisher)) == 1
    assert holders_of(publisher) == {}


def test_a_run_is_entered_together_with_a_beat(unsure: Publisher, broker: Unsure) -> None:
    run = unsure.run("a")
    with run:
        entering = broker.calls[-1]
        assert [each.kind for each in entering].count("holders") == 1
        assert '"status":"running"' in (entering[0].data or "")
        assert entering[-1].kind == "holders"
        with unsure.run("b"):
            assert json.loads(broker.calls[-1][-1].data or "")["runs"] == 2


def test_a_process_beats_while_it_holds_a_run(url: str) -> None:
    publisher = quick(url)
    with publisher.run("a"):
        until(lambda: max(holders_of(publisher).values()) > 3)
    publisher.close()
    assert events_of(publisher, "a") == ["[queued]", "[running]", "[done]"]


def test_a_process_that_is_taken_for_dead_has_another_name_for_later_runs(
    publisher: Publisher,
) -> None:
    with pytest.raises(RunOver), publisher.run("a") as run:
        name = mark_dead(publisher)
        with publisher.run("b") as later:
            assert record_now(publisher, "b").process not in ("", name)
            lose(publisher, "a")
            with pytest.raises(RunOver):
                run.write("x")
            assert run.status == "lost"
            later.write("y")
        run.write("z")
    assert events_of(publisher, "a") == ["[queued]", "[running]", "[lost]"]
    assert events_of(publisher, "b")[2:] == ["y", "[done]"]
    # The process that has marked the dead one removes its row.
    assert holders_of(publisher).keys() == {name}


def test_a_process_learns_at_its_next_beat_that_it_is_taken_for_dead(url: str) -> None:
    publisher = quick(url)
    with publisher.run("a"):
        name = mark_dead(publisher)
        until(lambda: process_of(publisher)._signs.beats.name != name)
    publisher.close()


def test_a_run_learns_at_a_sign_of_life_that_it_was_stopped(url: str) -> None:
    publisher = quick(url)
    other = publisher if url == "memory:" else Publisher(url, timeout=20)
    with publisher.run("a") as run:
        assert other.stop("a")
        until(lambda: run.status == "stopping")
    other.close()
    publisher.close()
    assert events_of(publisher, "a")[2:] == ["[stopping]", "[stopped]"]


def test_a_run_learns_at_a_sign_of_life_that_it_is_lost(url: str) -> None:
    publisher = quick(url)
    with pytest.raises(RunOver), publisher.run("a") as run:
        lose(publisher, "a")
        until(lambda: run.status == "lost")
    publisher.close()


@pytest.mark.parametrize("answers", [["stored"], ["lost"], ["lost", "stored"]])
def test_a_run_that_was_entered_without_an_answer_is_entered(
    unsure: Publisher, broker: Unsure, answers: list[str]
) -> None:
    run = unsure.run("a")
    broker.answers = answers
    with run:
        assert len(holders_of(unsure)) == 1
        # The beat is the one that the process has to expect now.
        with unsure.run("b"):
            assert len(holders_of(unsure)) == 1
    until(lambda: holders_of(unsure) == {})
    assert events_of(unsure, "a") == ["[queued]", "[running]", "[done]"]


def test_a_run_of_which_it_stays_uncertain_whether_it_was_entered_is_lost(
    unsure: Publisher, broker: Unsure
) -> None:
    run = unsure.run("a")
    broker.answers = ["stored", "lost", "lost"]
    with pytest.raises(PublishUncertain), run:
        raise AssertionError("It is not entered.")
    until(lambda: events_of(unsure, "a")[2:] == ["[lost]"])
    until(lambda: holders_of(unsure) == {})


def test_a_run_that_could_not_be_entered_can_be_entered_later(
    unsure: Publisher, broker: Unsure
) -> None:
    run = unsure.run("a")
    broker.answers = ["refused"]
    with pytest.raises(NotPublished), run:
        raise AssertionError("It is not entered.")
    with run:
        run.write("x")
    assert events_of(unsure, "a")[1:] == ["[running]", "x", "[done]"]


def test_a_run_that_is_collected_in_its_block_is_lost(publisher: Publisher) -> None:
    def begin() -> None:
        publisher.run("a", listed="runs").__enter__()

    begin()
    gc.collect()
    until(lambda: events_of(publisher, "a")[1:] == ["[running]", "[lost]"])
    item = json.loads(publisher.items("runs").events["a"].data)
    assert item["status"] == "lost"
    until(lambda: holders_of(publisher) == {})


def test_a_listed_run_that_is_lost_keeps_its_progress(publisher: Publisher) -> None:
    def begin() -> None:
        run = publisher.run("a", listed="runs")
        run.__enter__()
        run.progress(3, 10, "reading")

    begin()
    gc.collect()
    until(lambda: events_of(publisher, "a")[-1] == "[lost]")
    item = json.loads(publisher.items("runs").events["a"].data)
    assert (item["done"], item["total"], item["status"]) == (3, 10, "lost")


def test_a_run_whose_end_could_not_be_stored_is_lost_when_the_store_is_back(
    unsure: Publisher, broker: Unsure
) -> None:
    with pytest.raises(NotPublished), unsure.run("a") as run:
        held = run._held
        assert held is not None
        held._until = lambda: 0.0
        broker.answers = ["refused"]
    until(lambda: events_of(unsure, "a")[2:] == ["[lost]"])
    until(lambda: holders_of(unsure) == {})


def test_a_run_outlives_its_publisher(broker: Unsure) -> None:
    def begin() -> Run:
        return quick(broker).run("a")

    other = Publisher(broker)
    with begin() as run:
        gc.collect()
        until(lambda: max(holders_of(other).values()) > 3)
        run.write("x")
    assert events_of(other, "a")[2:] == ["x", "[done]"]


def test_the_thread_ends_with_its_publisher(broker: Unsure) -> None:
    before = threading.active_count()

    def begin() -> None:
        publisher = Publisher(broker)
        with publisher.run("a"):
            assert threading.active_count() == before + 1

    begin()
    gc.collect()
    until(lambda: threading.active_count() == before)


def test_a_publisher_that_is_closed_has_no_thread_and_begins_again(
    publisher: Publisher,
) -> None:
    before = threading.active_count()
    for name in "ab":
        with publisher.run(name) as run:
            publisher.close()
            run.write("x")
        publisher.close()
        assert threading.active_count() == before
        assert events_of(publisher, name)[2:] == ["x", "[done]"]


def test_a_run_that_ends_after_its_publisher_was_closed_ends_the_thread(
    publisher: Publisher,
) -> None:
    before = threading.active_count()
    with publisher.run("a"):
        publisher.close()
        assert threading.active_count() == before + 1
    until(lambda: threading.active_count() == before)


def test_writes_show_that_the_process_lives_if_its_thread_cannot(tmp_path: Path) -> None:
    publisher = quick(f"sqlite://{tmp_path}/push.db")
    # The thread has a store in which nothing is found, as if it could not reach this one.
    publisher._broker_of_thread = lambda: Refusing()
    with publisher.run("a") as run:

        def written() -> bool:
            run.write("x")
            return max(holders_of(publisher).values()) > 3

        until(written)
    publisher.close()


class Refusing(Unsure):
    def change(self, changes: object) -> t.NoReturn:
        raise NotPublished("It refuses everything.")


def test_a_server_that_runs_no_threads_writes_no_runs(
    unsure: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    uwsgi = types.ModuleType("uwsgi")
    uwsgi.has_threads = 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    run = unsure.run("a")
    with pytest.raises(RuntimeError, match="--enable-threads"), run:
        raise AssertionError("It is not entered.")
    assert events_of(unsure, "a") == ["[queued]"]


def test_a_process_that_can_start_no_thread_enters_no_run(
    unsure: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(target: object) -> t.NoReturn:
        raise RuntimeError("can't start new thread")

    run = unsure.run("a")
    with monkeypatch.context() as patch:
        patch.setattr(unpatched, "start_thread", fail)
        with pytest.raises(RuntimeError, match="ulimit -u.*can't start new thread"), run:
            raise AssertionError("It is not entered.")
    with run:
        run.write("x")
    assert events_of(unsure, "a")[1:] == ["[running]", "x", "[done]"]


def test_the_thread_of_an_app_ends_with_the_app(tmp_path: Path) -> None:
    before = threading.active_count()

    def use() -> None:
        app = Flask(__name__, instance_path=str(tmp_path))
        app.config["PUSH_BROKER_URL"] = f"sqlite://{tmp_path}/push.db"
        app.config["PUSH_LOST_AFTER"] = 20
        push = Push(app)
        with push.run("a") as run:
            run.write_all("xyz")
            assert threading.active_count() == before + 1
            assert run._process._lost_after == 20

    use()
    gc.collect()
    until(lambda: threading.active_count() == before)


def test_a_time_after_which_runs_are_lost_is_not_too_short() -> None:
    with pytest.raises(ValueError, match="seconds from 10"):
        Publisher("memory:", lost_after=9)
    with pytest.raises(TypeError, match="lost_after is a number"):
        Publisher("memory:", lost_after="30")  # type: ignore[arg-type]
    Publisher("memory:", lost_after=10).close()


def test_it_shows_how_many_runs_it_holds(unsure: Publisher) -> None:
    with unsure.run("a"):
        (name,) = holders_of(unsure)
        assert repr(process_of(unsure)) == f"<RunProcess [1 runs]: {name}, beat 1>"


def test_many_threads_enter_and_leave_runs_at_once(publisher: Publisher) -> None:
    def work(name: str) -> None:
        for key in range(5):
            # The store keeps three runs of a channel.
            with publisher.run(f"{name}:{key % 2}", key=key) as run:
                run.write("x")

    threads = [threading.Thread(target=work, args=(f"c{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(8):
        channels = f"c{number}:0", f"c{number}:1"
        events = [each for name in channels for each in events_of(publisher, name)]
        assert events.count("[done]") == events.count("x") == 5
    assert holders_of(publisher) == {}
