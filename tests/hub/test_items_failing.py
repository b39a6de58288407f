"""Whatever fails in a hub while it sends items, each page has all of them in the end."""

from __future__ import annotations

import pytest
from support.failing import Tracer
from support.hub_failures import FailureScene
from support.hub_failures import play
from support.item_hubs import ItemPage
from support.item_hubs import truth

from flask_push import Event
from flask_push._hub import failstop
from flask_push.brokers import ItemChange
from flask_push.brokers import Retention
from flask_push.brokers.memory import MemoryBroker

#: Files of which each line is reached by pages with items only.
MODULES = [
    *("_hub.item_reads", "_hub.shared_reads", "_hub.feeding", "_hub.timer"),
    *("_delivery.all_items", "_delivery.item_log", "_delivery.item_replay"),
    *("_delivery.horizons", "_delivery.readers", "_delivery.log"),
]


async def story(scene: FailureScene) -> None:
    """What happens to pages with items, in short."""
    broker = scene.broker
    broker.change([ItemChange("a", f"i{n}", f"{n} ".ljust(2000, "x")) for n in range(60)])
    (old,) = scene.say("a", "0")
    pages = [
        ItemPage(scene.add(*names, gzip=gzip, items=True))
        for names in (("a",), ("a", "b"))
        for gzip in (False, True)
    ]
    slow = scene.add("a")
    await scene.until(lambda: all(page.look().whole for page in pages))
    slow.patient = False
    broker.change([Event("a", "1"), ItemChange("a", "i0", "new"), Event("b", "2")])
    await scene.turn()
    broker.change([ItemChange("a", "i1", None), ItemChange("b", "first", "x" * 300_000)])
    late = ItemPage(scene.add("a", "b", position=old))
    await scene.turn()
    broker.change([ItemChange("a", f"i{n}", None) for n in range(10, 50)])
    scene.replace_hub()
    broker.change([ItemChange("b", "first", "y"), Event("a", "3")])
    slow.patient = True
    pages += [ItemPage(slow), late]
    await scene.come_to_the_end()
    for page in pages:
        names = page.reader.channels
        expected = truth(broker, *names)
        await scene.until(lambda: page.look().items == expected)  # noqa: B023
        said = ["1", "2", "3", "end", "end"] if "b" in names else ["1", "3", "end"]
        assert [text for _, text in page.events] == said


def store() -> MemoryBroker:
    return MemoryBroker(Retention())


def test_without_an_exception_no_stream_with_items_fails() -> None:
    scene = play(story, Tracer(), store())
    assert scene.failures == 0


@pytest.mark.parametrize("name", MODULES)
def test_an_exception_at_any_line_loses_no_item(
    name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failstop, "_MIN_DELAY_SECONDS", 0.001)
    play(story, tracer := Tracer(), store())
    for line in tracer.lines:
        if line[0] != name:
            continue
        caplog.clear()
        scene = play(story, tracer := Tracer(line), store())
        # What the system does may differ: a line may not be reached the second time.
        if tracer.raised:
            assert scene.failures == 1, line
            assert sum(bool(record.exc_info) for record in caplog.records) == 1, line
