"""A run is written from a source, and shows its progress."""

from __future__ import annotations

import collections.abc as cabc
import json
import threading

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from support.each_store import url as url
from support.run_stores import broker as broker
from support.run_stores import Unsure
from support.run_stores import unsure as unsure
from support.runs import events_of
from support.runs import publisher as publisher
from support.runs import rows_of
from support.servers import until

from flask_push import NotPublished
from flask_push import Publisher
from flask_push import RunOver
from flask_push._delivery.run_record import end
from flask_push._delivery.run_rows import PROGRESS
from flask_push._holder import patience
from flask_push._holder import pending
from flask_push._holder.store import record_of


def written(publisher: Publisher, channel: str = "a") -> list[str]:
    """The events of the app."""
    return [each for each in events_of(publisher, channel) if not each.startswith("[")]


def wait_for(publisher: Publisher, count: int) -> None:
    until(lambda: len(written(publisher)) >= count)


def progress_of(publisher: Publisher) -> dict[str, object]:
    (row,) = (row for row in rows_of(publisher, "a") if row.type == PROGRESS)
    found = json.loads(row.data)
    assert isinstance(found, dict)
    return found


class Source:
    """Yields texts, and remembers whether it was closed."""

    def __init__(self, *texts: str, before_the_end: cabc.Callable[[], object] = bool):
        self.texts, self.before_the_end, self.closed = texts, before_the_end, 0

    def __iter__(self) -> cabc.Iterator[str]:
        yield from self.texts
        self.before_the_end()

    def close(self) -> None:
        self.closed += 1


def test_all_of_a_source_is_written_and_returned(publisher: Publisher) -> None:
    with publisher.run("a") as run:
        assert run.write_all(["He", "llo", {"n": 1}]) == ["He", "llo", {"n": 1}]
        assert run.write_all([]) == []
        assert run.write_all(iter("yz"), type="said") == ["y", "z"]
    assert written(publisher) == ["He", "llo", '{"n": 1}', "y", "z"]
    assert {row.type for row in rows_of(publisher, "a")} >= {"message", "said"}


@pytest.mark.parametrize(
    ("data", "type", "why"),
    [
        ("x", "push:run", "Flask-Push's own"),
        ("x", "error", "Every browser fires"),
        ("\ud800", "message", "lone surrogate"),
        ("x" * 2**21, "message", "PUSH_MAX_EVENT_BYTES"),
    ],
    ids=lambda value: value[:10].encode("ascii", "replace").decode(),
)
def test_what_no_browser_could_receive_is_refused(
    data: str, type: str, why: str, publisher: Publisher
) -> None:
    with publisher.run("a") as run:
        with pytest.raises(ValueError, match=why):
            run.write(data, type=type)
        with pytest.raises(ValueError, match=why):
            run.write_all([data], type=type)
        run.write("y")
    assert written(publisher) == ["y"]


def test_the_first_piece_is_stored_before_the_source_gives_another(
    publisher: Publisher,
) -> None:
    def source() -> cabc.Iterator[str]:
        for number in range(3):
            yield f"{number}"
            wait_for(publisher, number + 1)

    with publisher.run("a") as run:
        assert run.write_all(source()) == ["0", "1", "2"]


def test_a_source_that_never_waits_is_not_far_ahead_of_the_store(
    publisher: Publisher,
) -> None:
    ahead = []

    def source() -> cabc.Iterator[str]:
        for number in range(5000):
            if number % 1000 == 999:
                ahead.append(number - len(written(publisher)))
            yield "x"

    with publisher.run("a") as run:
        assert len(run.write_all(source())) == 5000
    assert len(written(publisher)) == 5000
    assert max(ahead) <= 1000
    # Many events have one row.
    assert len(rows_of(publisher, "a")) < 1000


def test_a_large_event_is_not_gathered_with_others(publisher: Publisher) -> None:
    large = "x" * 100_000
    with publisher.run("a") as run:
        assert run.write_all(["a", large, "b"]) == ["a", large, "b"]
    assert written(publisher) == ["a", large, "b"]


def test_a_run_that_is_stopped_closes_its_source_and_returns_what_it_has_written(
    publisher: Publisher,
) -> None:
    closed = []

    def source() -> cabc.Iterator[str]:
        try:
            for number in range(1_000_000):
                if number == 100:
                    until(lambda: written(publisher))
                    publisher.stop("a")
                yield f"{number}"
        finally:
            closed.append(True)

    with publisher.run("a") as run:
        text = run.write_all(source())
        assert closed == [True] and 0 < len(text) <= 100
        assert text == written(publisher)
    assert run.status == "stopped"
    assert text == written(publisher)


def test_a_run_that_was_stopped_before_writes_nothing(publisher: Publisher) -> None:
    source = Source("x", "y")
    with publisher.run("a") as run:
        publisher.stop("a")
        assert run.write_all(source) == [] and source.closed == 1
        assert run.write_all([]) == []
    assert run.status == "stopped"


def test_a_run_that_is_lost_raises_at_the_next_piece(unsure: Publisher) -> None:
    def lose() -> None:
        process = unsure._runs()[0]
        record = record_of(rows_of(unsure, "a"))
        assert record is not None
        ending = end("a", record, "lost")
        assert ending is not None
        process.store.commit("a", ending)

    source = Source("x", before_the_end=lose)
    with pytest.raises(RunOver), unsure.run("a") as run:
        run.write_all(source)
    assert run.status == "lost" and source.closed == 1


class Broken(Exception):
    pass


@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt, GeneratorExit, NotPublished])
def test_what_came_before_a_source_failed_is_stored(
    publisher: Publisher, error: type[BaseException]
) -> None:
    def source() -> cabc.Iterator[str]:
        yield from "xyz"
        raise error

    with pytest.raises(error), publisher.run("a") as run:
        run.write_all(source())
    assert events_of(publisher, "a")[2:] == ["x", "y", "z", "[failed]"]


def test_a_piece_that_cannot_be_sent_is_an_error_and_what_came_before_is_stored(
    publisher: Publisher,
) -> None:
    source = Source("x", "\ud800", "y")
    with publisher.run("a") as run:
        with pytest.raises(ValueError, match="surrogate"):
            run.write_all(source)
        assert written(publisher) == ["x"] and source.closed == 1


def test_a_source_and_its_iterator_are_closed_once() -> None:
    publisher = Publisher("memory:")
    closed = []

    def pieces() -> cabc.Iterator[str]:
        try:
            yield "x"
            yield "y"
        finally:
            closed.append("iterator")

    class Both(Source):
        def __iter__(self) -> cabc.Iterator[str]:
            return pieces()

    source = Both()
    with publisher.run("a") as run:
        publisher.stop("a")
        run.write_all(source)
    assert (closed, source.closed) == (["iterator"], 1)
    publisher.close()


def test_what_another_thread_writes_stands_behind_what_was_gathered(
    publisher: Publisher,
) -> None:
    def source() -> cabc.Iterator[str]:
        for number in range(20):
            yield f"{number}"
            run.write(f"after {number}", type="said")

    with publisher.run("a") as run:
        run.write_all(source())
    assert written(publisher) == [
        text for number in range(20) for text in (f"{number}", f"after {number}")
    ]


def test_two_sources_of_a_run_are_each_written_in_order(publisher: Publisher) -> None:
    found: dict[str, list[str]] = {}

    def write(name: str) -> None:
        found[name] = run.write_all([f"{name} {n}" for n in range(500)], type=name)

    with publisher.run("a") as run:
        threads = [threading.Thread(target=write, args=(name,)) for name in "xy"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    events = written(publisher)
    for name in "xy":
        assert [each for each in events if each.startswith(name)] == found[name]
        assert len(found[name]) == 500


def test_a_store_that_fails_for_a_while_loses_nothing(
    unsure: Publisher, broker: Unsure, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The thread that reads the source stores often, too.
    monkeypatch.setattr(pending, "_LATE_SECONDS", 0.01)

    def source() -> cabc.Iterator[str]:
        for number in range(30):
            if number % 5 == 4:
                broker.answers += ["stored", "refused", "lost", "stored"]
                wait_for(unsure, number)
            yield f"{number}"

    with unsure.run("a") as run:
        assert run.write_all(source()) == [f"{number}" for number in range(30)]
        broker.answers = []
    assert written(unsure) == [f"{number}" for number in range(30)]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(["stored", "lost", "refused", ""]), max_size=12),
    st.lists(st.text("xyz", min_size=1, max_size=2), max_size=8),
)
def test_whatever_the_store_answers_all_is_written_once(
    answers: list[str], texts: list[str]
) -> None:
    broker = Unsure()
    publisher = Publisher(broker)
    with pytest.MonkeyPatch.context() as patch, publisher.run("a") as run:
        patch.setattr(pending, "_LATE_SECONDS", 0.0)
        patch.setattr(patience, "_FIRST_PAUSE", 0.001)
        broker.answers = [*answers]
        assert run.write_all(texts) == texts
        broker.answers = []
    assert written(publisher) == texts
    publisher.close()


def test_a_store_that_fails_for_too_long_is_an_error_and_the_rest_is_dropped(
    unsure: Publisher, broker: Unsure
) -> None:
    source = Source("x", "y")
    with unsure.run("a") as run:
        held = run._held
        assert held is not None
        held._until = lambda: 0.0
        broker.answers = ["refused"] * 100
        with pytest.raises(NotPublished):
            run.write_all(source)
        assert source.closed == 1
        broker.answers = []
        run.write("z")
    assert written(unsure) == ["z"]


def test_only_the_newest_progress_is_kept_and_it_stands_before_the_end(
    publisher: Publisher,
) -> None:
    with publisher.run("a", listed="runs") as run:
        run.progress(0)
        assert progress_of(publisher) == {"done": 0, "total": None, "text": ""}
        for number in range(1, 100):
            run.progress(number, 100, "reading")
        run.write("x")
    *_, last, ending = (row for row in rows_of(publisher, "a") if row.item != "now")
    assert (last.type, ending.type) == (PROGRESS, "push:run") or last.item == "1.1.0"
    assert progress_of(publisher) == {"done": 99, "total": 100, "text": "reading"}
    item = publisher.items("runs").events["a"].json
    assert (item["done"], item["text"], item["status"]) == (99, "reading", "done")


def test_progress_is_stored_by_the_thread_if_the_run_says_nothing_more(
    publisher: Publisher,
) -> None:
    with publisher.run("a", listed="runs") as run:
        run.progress(1)
        run.progress(2.5, 3)
        until(lambda: progress_of(publisher)["done"] == 2.5)
        until(lambda: publisher.items("runs").events["a"].json["done"] == 2.5)


def test_progress_is_stored_often_but_not_each_time(
    unsure: Publisher, broker: Unsure
) -> None:
    with unsure.run("a") as run:
        before = len(broker.calls)
        for number in range(10_000):
            run.progress(number)
    assert len(broker.calls) - before < 1000
    assert progress_of(unsure)["done"] == 9999


def test_progress_of_a_run_that_was_stopped_raises(publisher: Publisher) -> None:
    with publisher.run("a") as run:
        publisher.stop("a")
        with pytest.raises(RunOver):
            run.progress(1)
    assert events_of(publisher, "a")[2:] == ["[stopping]", "[stopped]"]


def test_the_thread_notices_with_progress_that_a_run_was_stopped(
    publisher: Publisher,
) -> None:
    with publisher.run("a") as run:
        run.progress(1)
        publisher.stop("a")
        run.progress(2)
        until(lambda: run.status == "stopping")


def test_progress_is_stored_once_the_store_answers(
    unsure: Publisher, broker: Unsure
) -> None:
    with unsure.run("a", listed="runs") as run:
        broker.answers = ["refused", "lost", "stored"]
        run.progress(1, 2)
        assert progress_of(unsure)["done"] == 1 and broker.answers == []


def test_a_list_that_is_full_keeps_no_progress_from_being_stored(tmp_path: object) -> None:
    from flask_push.brokers import Retention
    from flask_push.brokers.memory import MemoryBroker

    publisher = Publisher(MemoryBroker(Retention(items=1)))
    with publisher.run("a", listed="runs") as run:
        publisher.unset("runs", "a")
        publisher.set("runs", "other", "x")
        run.progress(1)
        assert progress_of(publisher)["done"] == 1
        run.progress(2)
        until(lambda: progress_of(publisher)["done"] == 2)
        publisher.unset("runs", "other")
    publisher.close()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("1",), TypeError),
        ((True,), TypeError),
        ((None,), TypeError),
        ((float("nan"),), ValueError),
        ((1, float("inf")), ValueError),
        ((10**400,), ValueError),
        ((1, "2"), TypeError),
        ((1, 2, b"x"), TypeError),
        ((1, 2, "x" * 1001), ValueError),
        ((1, 2, "\ud800"), ValueError),
    ],
)
def test_progress_that_no_page_could_show_is_refused(
    unsure: Publisher, arguments: tuple[object, ...], error: type[Exception]
) -> None:
    with unsure.run("a") as run:
        with pytest.raises(error):
            run.progress(*arguments)  # type: ignore[arg-type]
        run.progress(1, 2, "x" * 1000)
