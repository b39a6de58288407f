"""A channel that is full makes space for its newest run; runs end if their list is full."""

from __future__ import annotations

import collections.abc as cabc

import pytest
from support.each_store import url as url
from support.runs import events_of
from support.runs import publisher as publisher
from support.runs import rows_of

from flask_push import ItemsFull
from flask_push import Publisher
from flask_push._holder import store
from flask_push._system.logs import QuietLogger
from flask_push.brokers import ItemChange
from flask_push.brokers import items
from flask_push.brokers import open_broker
from flask_push.brokers import Retention


def test_events_of_runs_before_the_last_two_are_deleted(publisher: Publisher) -> None:
    for key in "abcdef":
        with publisher.run("x", key=key) as run:
            run.write(key)
    assert events_of(publisher, "x") == [
        *("[queued]", "[running]", "d", "[done]"),
        *("[queued]", "[running]", "e", "[done]"),
        *("[queued]", "[running]", "f", "[done]"),
    ]
    assert publisher.run("x", key="a").over


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> cabc.Iterator[Publisher]:
    """A channel of runs may have 30 rows, and one of items 2 items."""
    monkeypatch.setitem(items.BOUNDS_OF_KINDS, "run", (30, 2**20))
    broker = open_broker("memory:", retention=Retention(items=2))
    publisher = Publisher(broker, max_event_bytes=2**22)
    yield publisher
    publisher.close()


def test_a_full_channel_makes_room_for_the_run_that_is_written(small: Publisher) -> None:
    for _ in range(2):
        with small.run("a") as run:
            for number in range(10):
                run.write(f"{number}")
    with small.run("a", key="k") as run:
        for number in range(20):
            run.write(f"{number}")
    assert str(run.status) == "done"
    assert events_of(small, "a")[-21:] == [*map(str, range(20)), "[done]"]


def test_a_full_channel_makes_room_for_a_new_run(small: Publisher) -> None:
    with small.run("a") as run:
        for number in range(26):
            run.write(f"{number}")
    with small.run("a"):
        pass
    assert events_of(small, "a")[-3:] == ["[queued]", "[running]", "[done]"]


def test_an_event_for_which_there_is_no_room_is_refused_at_once(small: Publisher) -> None:
    with small.run("a") as run:
        run.write("x")
        with pytest.raises(ItemsFull, match="Lower PUSH_MAX_RUN_BYTES"):
            run.write("x" * 2**20)
        run.write("y")
    assert events_of(small, "a")[2:] == ["x", "y", "[done]"]


def test_a_run_is_not_made_if_its_list_is_full(small: Publisher) -> None:
    for item in "ij":
        small.set("list", item, "x")
    with pytest.raises(ItemsFull):
        small.run("a", listed="list")
    assert small.running("a") is None
    small.unset("list", "i")
    assert small.run("a", listed="list").status == "queued"


def test_a_run_goes_on_and_ends_if_its_list_is_full(
    small: Publisher, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_quiet", QuietLogger())
    run = small.run("a", listed="list")
    small.unset("list", "a")
    for item in "ij":
        small.set("list", item, "x")
    with run:
        run.progress(1, 2)
        run.write("x")
    assert str(run.status) == "done"
    assert {*small.items("list").events} == {"i", "j"}
    assert "Could not show that the run on 'a' is running on its list 'list'" in caplog.text


def test_items_whose_time_is_over_make_space_on_a_list(small: Publisher) -> None:
    broker = small._broker
    assert isinstance(broker, items.KeepsItems)
    broker.change([ItemChange("list", item, "x", ttl=0.01) for item in "ij"])
    while len(broker.due()) < 2:
        pass
    assert small.run("a", listed="list").status == "queued"
    assert {*small.items("list").events} == {"a"}


def test_very_many_keys_make_space_for_more(
    small: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "OWN_BOUNDS", (20, 2**20))
    monkeypatch.setattr("flask_push._holder.space._KEYS_BYTES", 500)
    for number in range(40):
        with small.run("a", key=number):
            pass
    assert len(rows_of(small, "a", "runkey")) <= 20
    assert small.run("a", key=30).over
