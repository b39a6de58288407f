"""A hub stores what it measures, and adds up what dead hubs have counted."""

from __future__ import annotations

import contextlib
import json
import threading
import typing as t

import pytest
from support.each_store import url as url
from support.hubs import HubScene
from support.hubs import run
from support.hubs import Test

from flask_push import NotPublished
from flask_push import Position
from flask_push._delivery import figure_record
from flask_push._delivery.figure_rows import FIGURES_IN_TOTAL
from flask_push._delivery.figure_rows import FIGURES_OF_HUBS
from flask_push._delivery.figure_rows import PAST
from flask_push._delivery.figures import BY_NAME
from flask_push._delivery.figures import START
from flask_push._delivery.options import Options
from flask_push._hub.figure_keeper import FigureKeeper
from flask_push._ipc.stored_figures import read_figures
from flask_push._ipc.takeover_protocol import Counted
from flask_push.brokers import ItemChange
from flask_push.brokers import open_broker
from flask_push.brokers import PublishUncertain
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._sink import until


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure_record, "FIRST_SECONDS", 0.02)
    monkeypatch.setattr(figure_record, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(figure_record, "LOOK_SECONDS", 0.2)


def figures(scene: HubScene) -> t.Any:
    return read_figures(t.cast(t.Any, scene.broker)).figures


def totals(scene: HubScene) -> list[str]:
    page = scene.broker.read_items([FIGURES_IN_TOTAL], limit=2**30)
    return sorted(row.item for row in page.rows)


def run_at(url: str, test: Test, **options: t.Any) -> None:
    options.setdefault("metrics", True)
    with contextlib.closing(open_broker(url)) as broker:
        run(test, broker=t.cast(MemoryBroker, broker), **options)


def writers() -> int:
    return [thread.name for thread in threading.enumerate()].count("flask-push")


def test_a_hub_stores_what_it_measures(url: str) -> None:
    async def test(scene: HubScene) -> None:
        one = await scene.open("a", user="ann")
        await scene.open("a", user="ann")
        await scene.open("b", user="bob")
        scene.say("a", "1", "2")
        scene.say("b", "3")
        await one.until(lambda: len(one.data) == 2)
        await until(lambda: figures(scene).get("sends") == 5)
        found = figures(scene)
        assert found["streams"] == found["streams_opened:new"] == 3
        assert (found["users"], found["channels"], found["hubs"]) == (2, 2, 1)
        assert found["events"] == 3
        assert found["sent_bytes"] > 5 * len("id: \ndata: 1\n\n")
        assert found["log_bytes"] > 0 and found["hub_cpu_seconds"] > 0
        for name in "feed_lag_seconds", "publish_to_write_seconds":
            counts, total = found.histogram(BY_NAME[name])
            assert 1 <= counts[-1] <= 3 and total < 20
        one.close()
        await until(lambda: figures(scene).get("streams_ended:left") == 1)
        assert figures(scene)["streams"] == 2
        (hub,) = read_figures(t.cast(t.Any, scene.broker)).hubs
        assert hub.pid and hub.host and hub.version
        assert 0 < hub.figures.value(START)

    run_at(url, test)


def test_a_hub_without_metrics_stores_nothing_and_counts_no_event(url: str) -> None:
    async def test(scene: HubScene) -> None:
        reader = await scene.open("a")
        scene.say("a", "x")
        await reader.until(lambda: reader.data == ["x"])
        assert repr(scene.hub.figures).startswith("<FigureKeeper off")
        assert scene.hub._streams.counts.figures().keys() == {"streams_opened:new"}
        assert writers() == 0
        scene.hub.stop()
        assert totals(scene) == []

    run_at(url, test, metrics=False)


def test_a_hub_that_ends_has_stored_all_and_the_next_one_adds_it_to_those_gone(
    url: str,
) -> None:
    async def test(scene: HubScene) -> None:
        await scene.open("a")
        await until(lambda: figures(scene).get("streams") == 1)
        scene.hub.stop()
        assert figures(scene) == figures(scene).counted, "no gauge is left"
        assert figures(scene)["streams_ended:shutdown"] == 1
        assert totals(scene) != [PAST]
        assert writers() == 0
        scene.hub = scene.make_hub()
        await until(lambda: PAST in totals(scene))
        await until(lambda: figures(scene).get("hubs") == 1)
        assert figures(scene)["streams_ended:shutdown"] == 1
        assert len(totals(scene)) == 2

    run_at(url, test)


def test_what_a_hub_of_a_moment_counts_is_stored_at_its_end() -> None:
    async def test(scene: HubScene) -> None:
        await scene.open("a")
        scene.hub.stop()
        assert figures(scene)["streams_opened:new"] == 1

    run(test, metrics=True)


def test_a_successor_goes_on_with_what_was_counted(url: str) -> None:
    async def test(scene: HubScene) -> None:
        reader = await scene.open("a")
        await until(lambda: figures(scene).get("streams") == 1)
        names = totals(scene)
        await until(lambda: scene.hub.whole)
        scene.say("a", "x")
        await reader.until(lambda: reader.data == ["x"])
        await until(lambda: scene.hub.whole)
        frozen = scene.hub.freeze()
        assert frozen.figures is not None
        sent = Counted.from_json(json.loads(json.dumps(Counted(frozen.figures).to_json())))
        scene.hub = scene.make_hub(frozen._replace(figures=sent.figures))
        scene.say("a", "y")
        await until(lambda: figures(scene).get("sends") == 2)
        found = figures(scene)
        assert found["streams"] == found["streams_opened:new"] == found["hubs"] == 1
        assert not [key for key in found if key.startswith("streams_ended")]
        assert totals(scene) == names

    run_at(url, test)


def test_a_hub_that_is_taken_for_dead_goes_on_under_another_name(url: str) -> None:
    async def test(scene: HubScene) -> None:
        await scene.open("a")
        await until(lambda: figures(scene).get("streams") == 1)
        (name,) = totals(scene)
        other = scene.make_hub()

        def is_added() -> bool:
            # As if it had stood still for 20 seconds.
            scene.broker.change([ItemChange(FIGURES_OF_HUBS, name, None)])
            return PAST in totals(scene)

        await until(is_added)
        await until(lambda: figures(scene).get("hubs") == 2)
        assert name not in totals(scene)
        await scene.open("a")
        await until(lambda: figures(scene).get("streams_opened:new") == 2)
        other.stop()

    run_at(url, test)


@pytest.mark.parametrize("stores", [True, False])
@pytest.mark.parametrize("error", [NotPublished("down"), PublishUncertain("cut")])
def test_a_store_that_fails_has_everything_in_the_end(
    error: Exception, stores: bool
) -> None:
    class Store(MemoryBroker):
        failures: t.ClassVar[list[Exception]] = [error] * 3

        def change(self, changes: t.Any) -> list[Position]:
            if self.failures:
                if stores and isinstance(error, PublishUncertain):
                    super().change(changes)
                raise self.failures.pop()
            return super().change(changes)

    async def test(scene: HubScene) -> None:
        for _ in range(3):
            await scene.open("a")
        await until(lambda: figures(scene).get("streams") == 3)
        assert figures(scene)["streams_opened:new"] == 3

    run(test, broker=Store(), metrics=True)


def test_metrics_are_turned_on_and_off_while_the_hub_runs() -> None:
    async def test(scene: HubScene) -> None:
        await scene.open("a")
        scene.hub.options = Options(metrics=True)
        await until(lambda: figures(scene).get("streams") == 1)
        scene.hub.options = Options()
        await until(lambda: not figures(scene).gauges)
        await scene.open("a")
        scene.hub.options = Options(metrics=True)
        await until(lambda: figures(scene).get("streams") == 2)
        assert figures(scene)["streams_opened:new"] == 2

    run(test)


def test_after_a_failure_of_the_hub_it_still_stores_its_figures() -> None:
    async def test(scene: HubScene) -> None:
        await scene.open("a")
        await until(lambda: figures(scene).get("streams") == 1)
        scene.hub._guard(scene.hub._log.channels.__getitem__, "missing")
        await scene.open("b")
        await until(lambda: figures(scene).get("streams_opened:new") == 2)
        assert figures(scene)["hub_failures"] == 1
        assert figures(scene)["streams_ended:failed"] == 1

    run(test, metrics=True)


def test_a_store_without_items_is_left_alone() -> None:
    class Plain:
        """Keeps events only."""

    keeper = FigureKeeper(*[t.cast(t.Any, Plain())] * 5)
    keeper.turn(True)
    assert keeper.state() is None
    assert repr(keeper).startswith("<FigureKeeper off")
