"""A run is written from a source."""

from __future__ import annotations

import collections.abc as cabc

from support.each_store import url as url
from support.runs import events_of
from support.runs import publisher as publisher

from flask_push import Publisher


def test_all_of_a_source_is_written_and_returned(publisher: Publisher) -> None:
    with publisher.run("a") as run:
        assert run.write_all(["He", "llo", {"n": 1}]) == ["He", "llo", {"n": 1}]
    assert events_of(publisher, "a")[2:] == ["He", "llo", '{"n": 1}', "[done]"]


def test_a_run_that_is_stopped_closes_its_source_and_returns_what_it_has_written(
    publisher: Publisher,
) -> None:
    closed = []

    def source() -> cabc.Iterator[str]:
        try:
            while True:
                yield "x"
        finally:
            closed.append(True)

    with publisher.run("a") as run:
        pieces = source()
        first = next(pieces)
        publisher.stop("a")
        assert first == "x" and run.write_all(pieces) == [] and closed == [True]
    assert str(run.status) == "stopped"
