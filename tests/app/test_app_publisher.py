"""What an app's publisher knows of its store, and for how long it keeps disconnects."""

from __future__ import annotations

import typing as t

import pytest
from support.apps import app as app
from support.apps import push as push

from flask_push import Event
from flask_push import Position
from flask_push._app_publisher import AppPublisher
from flask_push._config import Config
from flask_push._delivery.figure_rows import FIGURES_OF_HUBS
from flask_push._delivery.figure_rows import HubFigures
from flask_push._delivery.figures import Figures
from flask_push.brokers import ItemChange
from flask_push.brokers.memory import MemoryBroker


def known(publisher: AppPublisher) -> str:
    assert publisher.known is not None
    return str(publisher.known)


def test_a_publisher_knows_the_newest_position_that_a_call_has_returned() -> None:
    publisher = AppPublisher(MemoryBroker(), Config(), str)
    assert publisher.known is None
    assert publisher.position() == known(publisher)
    assert publisher.publish("a", "x") == f"{known(publisher)}.a"
    assert publisher.publish_many([Event("a", "x"), Event("b", "x")])[:-2] == known(
        publisher
    )
    assert publisher.disconnect(user=7) == known(publisher)
    again = publisher.publish("a", "x", key="k")
    newest = known(publisher)
    publisher.publish("a", "y")
    after = known(publisher)
    assert again == publisher.publish("a", "x", key="k") == f"{newest}.a"
    assert known(publisher) == after, "an older position replaces none"


def test_a_position_of_another_epoch_replaces_the_one_before() -> None:
    publisher = AppPublisher(MemoryBroker(), Config(), str)
    for position in Position("zzzzz", 9), Position("aaaaa", 3), Position("aaaaa", 4):
        publisher._note(position)
        assert publisher.known == position
    publisher._note(Position("aaaaa", 2))
    assert publisher.known == Position("aaaaa", 4)


class Noting(MemoryBroker):
    kept: t.ClassVar[list[float]] = []

    def append(self, log: str, data: bytes, keep: float) -> Position:
        self.kept.append(keep)
        return super().append(log, data, keep)


@pytest.mark.parametrize(
    ("ticket", "kept"), [(0, 3600), (60, 3600), (7200, 7200), (86400 * 30, 86400)]
)
def test_a_disconnect_is_kept_as_long_as_return_tickets_are_valid(
    ticket: float, kept: float
) -> None:
    """An hour at least, and a day at most."""
    AppPublisher(Noting(), Config(return_ticket=ticket), str).disconnect(user=7)
    assert Noting.kept.pop() == kept


def test_figures_are_read_if_hubs_store_any() -> None:
    broker = MemoryBroker()
    with pytest.raises(RuntimeError, match="Set PUSH_METRICS to True"):
        AppPublisher(broker, Config(), str).figures()
    hub = HubFigures("a hub's name", Figures({"streams": 3}))
    broker.change([ItemChange(FIGURES_OF_HUBS, hub.name, hub.to_json(), ttl=20)])
    assert AppPublisher(broker, Config(metrics=True), str).figures().hubs == [hub]
