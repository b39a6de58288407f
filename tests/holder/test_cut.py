"""A run that is too large loses its beginning, and is written further."""

from __future__ import annotations

import collections.abc as cabc
import logging
import re

import pytest
from support.each_store import url as url
from support.pushes import push as push
from support.run_stores import Unsure
from support.runs import events_of
from support.runs import record_now
from support.runs import rows_of
from support.servers import until

from flask_push import Publisher
from flask_push import Push
from flask_push._holder import cut
from flask_push._system.logs import QuietLogger

MOST = 16 * 1024


@pytest.fixture
def publisher(url: str) -> cabc.Iterator[Publisher]:
    publisher = Publisher(url, timeout=20, max_run_bytes=MOST)
    yield publisher
    publisher.close()


def size_of(publisher: Publisher) -> int:
    return sum(len(row.data) + 100 for row in rows_of(publisher, "a"))


def test_the_oldest_events_of_a_large_run_are_deleted(
    publisher: Publisher, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut, "_quiet", QuietLogger())
    with publisher.run("a") as run:
        for number in range(200):
            run.write(f"{number:03}" * 100)
            assert size_of(publisher) <= MOST + 1500
        assert str(run.status) == "running"
        found = events_of(publisher, "a")
        numbers = [int(text[:3]) for text in found if text[0] != "["]
        assert numbers == [*range(numbers[0], 200)] and len(numbers) > 25
        run.write("last")
    assert str(run.status) == "done"
    assert events_of(publisher, "a")[-2:] == ["last", "[done]"]
    (line,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert "Deleted the beginning of the run on 'a'" in line.getMessage()


def test_a_large_run_that_is_written_from_a_source_loses_its_beginning(
    publisher: Publisher,
) -> None:
    with publisher.run("a") as run:
        run.write_all(f"{number:04}" * 25 for number in range(3000))
        assert size_of(publisher) <= MOST + 2 * 64 * 1024
    assert str(run.status) == "done"
    assert events_of(publisher, "a")[-2:] == ["2999" * 25, "[done]"]


def test_a_large_run_that_the_thread_stores_loses_its_beginning() -> None:
    publisher = Publisher("memory:", max_run_bytes=MOST)

    def source() -> cabc.Iterator[str]:
        for number in range(30):
            yield f"{number:04}" * 500
            # The thread of the process stores it.
            until(lambda: events_of(publisher, "a")[-1][:4] == f"{number:04}")  # noqa: B023

    with publisher.run("a") as run:
        run.write_all(source())
        assert size_of(publisher) <= MOST + 3000
    publisher.close()


def test_a_large_run_can_be_stopped_and_entered_again(publisher: Publisher) -> None:
    run = publisher.run("a", key="k")
    with pytest.raises(KeyError), run:
        for _ in range(100):
            run.write("x" * 500)
        raise KeyError
    with run:
        for number in range(100):
            run.write("y" * 500)
            if number == 90:
                assert publisher.stop("a", key="k") is True
                break
        run.write("late")
    assert (str(run.status), run.attempt) == ("stopped", 2)
    record = record_now(publisher, "a")
    assert record.start < rows_of(publisher, "a")[0].number


def test_one_event_that_is_larger_than_a_run_may_be_is_stored(publisher: Publisher) -> None:
    with publisher.run("a") as run:
        for _ in range(5):
            run.write("x" * 2 * MOST)
            assert events_of(publisher, "a")[-1] == "x" * 2 * MOST
        run.write("y")
    assert events_of(publisher, "a")[-2:] == ["y", "[done]"]


@pytest.mark.parametrize("answers", [["refused"], ["lost"], ["stored"]])
def test_a_store_that_fails_while_the_beginning_is_deleted_loses_nothing_else(
    answers: list[str],
) -> None:
    broker = Unsure()
    publisher = Publisher(broker, max_run_bytes=MOST)
    with publisher.run("a") as run:
        texts = [f"{number:03}" * 100 for number in range(100)]
        for text in texts:
            # Only a record that is stored again has so few changes.
            broker.fails = (2, [*answers])
            run.write(text)
            broker.fails = (0, [])
    assert str(run.status) == "done"
    found = [text for text in events_of(publisher, "a") if text[0] != "["]
    assert found == texts[-len(found) :] and len(found) > 25
    publisher.close()


def test_a_reader_of_a_run_without_its_beginning_gets_a_gap_first(push: Push) -> None:
    (app,) = push._states
    app.config["PUSH_MAX_RUN_BYTES"] = 4096
    with push.run("a") as run:
        for number in range(100):
            run.write(f"{number:03}" * 20)
    app.add_url_rule("/push", "push", lambda: push.follow(run))
    app.add_url_rule("/openai", "openai", lambda: push.follow(run, wire="openai"))
    client = app.test_client()
    stream = client.get("/push").get_data(as_text=True)
    plain = client.get("/openai").get_data(as_text=True)
    types = re.findall("^event: (.*)$", stream, re.MULTILINE)
    assert types == ["push:open", "push:gap", "push:run"]
    texts = re.findall("^data: ([0-9]{3})", stream, re.MULTILINE)
    assert [*map(int, texts)] == [*range(int(texts[0]), 100)] and len(texts) > 15
    assert '"code":"gap"' in plain and plain.endswith("data: [DONE]\n\n")
