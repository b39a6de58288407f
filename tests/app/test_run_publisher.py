"""Runs are made once for each key, found and stopped; and bad arguments are refused."""

from __future__ import annotations

import typing as t
from uuid import UUID

import pytest
from support.each_store import url as url
from support.plain_broker import Plain
from support.pushes import push as push
from support.runs import publisher as publisher

from flask_push import Publisher
from flask_push import Push
from flask_push import RunBusy
from flask_push._run_publisher import run_id


def test_a_key_names_one_run_also_after_newer_ones(publisher: Publisher) -> None:
    ids = []
    for key in range(6):
        with publisher.run("a", key=key) as run:
            ids.append(run.id)
    assert len(set(ids)) == 6
    for key in range(6):
        run = publisher.run("a", key=str(key))
        assert (run.id, run.status, run.over) == (ids[key], "done", True)
        assert publisher.run("b", key=key).id not in ids
        publisher.stop("b")


def test_runs_without_a_key_are_different_ones(publisher: Publisher) -> None:
    with publisher.run("a") as first:
        pass
    assert publisher.run("a").id != first.id and first.key == ""


def test_a_channel_has_one_active_run(publisher: Publisher) -> None:
    first = publisher.run("a", key=1)
    with pytest.raises(RunBusy, match="A run on 'a' is queued") as raised:
        publisher.run("a", key=2)
    assert raised.value.run.id == first.id
    running = publisher.running("a")
    assert running is not None and running.id == first.id
    assert publisher.running("b") is None
    assert publisher.stop("a") is True
    assert publisher.running("a") is None and publisher.stop("a") is False
    assert publisher.run("a", key=1).status == "stopped"


def test_the_id_of_a_run_with_a_key_is_the_same_in_each_store() -> None:
    assert run_id("chat:1", "5") == run_id("chat:1", "5") != run_id("chat:2", "5")
    assert len(run_id("a", "b")) == 16 and run_id("a", "b").isalnum()


def test_a_run_stands_on_its_list(publisher: Publisher) -> None:
    run = publisher.run("job:1", listed="jobs", info={"name": "import"})
    with run:
        run.progress(1, 2, "reading")
    item = publisher.items("jobs").events["job:1"].json
    assert item == {
        **{"run": run.id, "status": "done", "attempt": 1, "done": 1, "total": 2},
        **{"text": "reading", "info": {"name": "import"}},
    }


def test_a_run_that_is_stopped_keeps_its_progress_on_its_list(
    publisher: Publisher,
) -> None:
    with publisher.run("job:1", listed="jobs") as run:
        run.progress(1, 2, "reading")
        Publisher(publisher._broker).stop("job:1")
        item = publisher.items("jobs").events["job:1"].json
        assert (item["status"], item["done"], item["total"]) == ("stopping", 1, 2)


def test_an_app_makes_runs(push: Push) -> None:
    with push.run("a", key=UUID(int=1)) as run:
        assert push.running("a") is not None
        assert push.stop("a", key=UUID(int=1)) is True
    assert str(run.status) == "stopped"


def test_a_list_shows_info_as_the_app_makes_json(push: Push) -> None:
    info = {"row": UUID(int=1), "of": ("a", "b")}
    with push.run("job:1", listed="jobs", info=info):
        # It is what it was when the run was made.
        info.clear()
    item = push.items("jobs").events["job:1"].json
    assert item["info"] == {"row": str(UUID(int=1)), "of": ["a", "b"]}


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"channel": ""}, ValueError, "non-empty"),
        ({"key": ""}, ValueError, "A key is a non-empty string"),
        ({"key": True}, TypeError, "The key of a run is text.*str\\(row.id\\)"),
        ({"key": "x" * 257}, ValueError, "256 at most"),
        ({"key": "\ud800"}, ValueError, "surrogate"),
        ({"listed": "é" * 40}, ValueError, "^listed: .* 64 at most"),
        ({"info": {"a": 1}}, ValueError, "Name its channel: listed="),
        ({"info": "a", "listed": "l"}, TypeError, "info is what the list shows"),
        ({"info": {"a": "x" * 5000}, "listed": "l"}, ValueError, "4,096 at most"),
        ({"info": {"a": object()}, "listed": "l"}, TypeError, "not JSON serializable"),
        ({"info": {"a": "\ud800"}, "listed": "l"}, ValueError, "info holds a lone"),
        ({"info": {"\ud800": 1}, "listed": "l"}, ValueError, "info holds a lone"),
        ({"wait": 0}, ValueError, "above 0"),
        ({"wait": float("inf")}, ValueError, "above 0"),
        ({"wait": "5"}, TypeError, "wait is a number of seconds"),
    ],
)
def test_a_run_that_can_not_be_made_is_refused(
    push: Push, arguments: dict[str, t.Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        push.run(**{"channel": "a", **arguments})
    assert push.running("a") is None


def test_a_broker_without_runs_says_what_to_use() -> None:
    publisher = Publisher(Plain())
    for call in publisher.run, publisher.running, publisher.stop:
        with pytest.raises(RuntimeError, match="keeps no runs.*Use memory:, sqlite:"):
            call("a")
