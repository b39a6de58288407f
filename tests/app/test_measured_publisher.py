"""What an app counts of its own calls, if it wants metrics."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from support.apps import make_app
from support.servers import until

from flask_push import Event
from flask_push import NotPublished
from flask_push import Position
from flask_push import PublishUncertain
from flask_push import Push
from flask_push._app_publisher import AppPublisher
from flask_push._config import Config
from flask_push._delivery import figure_record
from flask_push._ipc.process_figures import ProcessFigures
from flask_push._measured_publisher import counts_of
from flask_push._measured_publisher import MeasuredPublisher
from flask_push._measured_publisher import publisher_of
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing import read_events


class Failing(MemoryBroker):
    failures: t.ClassVar[list[Exception]] = []

    def publish(self, events: t.Any) -> list[Position]:
        if self.failures:
            raise self.failures.pop()
        return super().publish(events)


def test_calls_are_counted_by_what_became_of_them() -> None:
    counts = ProcessFigures(None)
    publisher = MeasuredPublisher(Failing(), Config(metrics=True), str, counts)
    publisher.publish("a", "x")
    publisher.publish_many([Event("a", "x"), Event("a", "1", item="i")])
    publisher.unset("a", "i")
    publisher.publish_many([])
    Failing.failures[:] = [NotPublished("down"), PublishUncertain("cut")]
    with pytest.raises(PublishUncertain):
        publisher.publish("a", "x")
    with pytest.raises(NotPublished):
        publisher.publish("a", "x")
    with pytest.raises(ValueError):
        publisher.publish("push:hubs", "x")
    found = counts.figures
    assert found["published_events"] == 4
    assert found["publish_failures:not_published"] == 1
    assert found["publish_failures:uncertain"] == 1
    assert found["publish_seconds:sum"] > 0


def test_an_app_without_metrics_has_the_publisher_that_counts_nothing() -> None:
    assert counts_of(Config(), "process", Path("/run")) is None
    assert type(publisher_of(MemoryBroker(), Config(), str, None)) is AppPublisher


def test_the_file_is_where_the_hub_looks(tmp_path: Path) -> None:
    config = Config(metrics=True)
    for kind, directory in ("process", tmp_path), (str(tmp_path / "hub.sock"), None):
        counts = counts_of(config, kind, directory)
        assert counts is not None
        counts.published(1, 1)
        assert [*(tmp_path / "hub.figures").iterdir()]
        counts.abandon()
    thread = counts_of(config, "thread", tmp_path / "other")
    assert thread is not None
    thread.published(1, 1)
    assert not (tmp_path / "other").exists()


def test_an_app_in_tests_has_the_figures_of_its_hub(
    monkeypatch: pytest.MonkeyPatch,
) -> None:

    monkeypatch.setattr(figure_record, "FIRST_SECONDS", 0.02)
    monkeypatch.setattr(figure_record, "BEAT_SECONDS", 0.1)
    push = Push()
    app = make_app(push, "counted", PUSH_METRICS=True)
    with app.test_client().get("/stream") as response:
        push.publish("a", "x")
        assert [event.data for event in read_events(response, 1)] == ["x"]
        figures = push._services().publisher.figures
        until(lambda: figures().figures.get("published_events") == 1)
        until(lambda: figures().figures.get("relays") == 1)
    until(lambda: not figures().figures.get("relays"))
    assert figures().figures["relayed_streams"] == 1
