"""The judge of a store of items finds what a store has otherwise than the model."""

from __future__ import annotations

import random
import typing as t

import pytest

from flask_push import Event
from flask_push.brokers import ItemChange
from flask_push.brokers import ItemsPage
from flask_push.brokers import Page
from flask_push.brokers import Retention
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._item_judge import any_change
from flask_push.testing._item_judge import Both
from flask_push.testing._item_judge import judge
from flask_push.testing._item_judge import refused
from flask_push.testing._item_model import ItemModel


class NoRow(MemoryBroker):
    def read(self, channels: t.Any, **where: t.Any) -> Page:
        page = super().read(channels, **where)
        return page._replace(entries=[e for e in page.entries if not e.item])


class NoLivingRow(MemoryBroker):
    def read_items(self, channels: t.Any, **where: t.Any) -> ItemsPage:
        return super().read_items(channels, **where)._replace(rows=[])


class Owned(MemoryBroker):
    def owned(self, owner: str, **where: t.Any) -> t.Any:
        return []


class NotDue(MemoryBroker):
    def due(self, limit: int = 500) -> list[ItemChange]:
        return [ItemChange("a", "i", None, due=True)]


class NoHorizon(MemoryBroker):
    def read_items(self, channels: t.Any, **where: t.Any) -> ItemsPage:
        page = super().read_items(channels, **where)
        return page._replace(horizons=dict.fromkeys(page.horizons, 0))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (MemoryBroker, ""),
        (NoRow, "rows of a page"),
        (NoLivingRow, "living rows"),
        (Owned, "owned rows"),
        (NotDue, "rows that are due"),
        (NoHorizon, "the horizon is 0"),
    ],
)
def test_the_judge_finds_what_is_wrong(kind: type[MemoryBroker], words: str) -> None:
    broker = t.cast(Both, kind())
    model = ItemModel(Retention(), lambda: 0.0, 0.001, broker.read([]).end)
    model.change(broker.change, [ItemChange("a", "i", "x", owner="me")])
    if not words:
        judge(broker, model, 0)
        return
    with pytest.raises(AssertionError, match=words):
        judge(broker, model, 0)


def test_a_refusal_that_stores_something_is_found() -> None:
    broker = t.cast(Both, MemoryBroker())
    bad = ItemChange("a", "", "x")
    refused(ValueError, broker, Event("a", "x"), bad, words="not empty")
    with pytest.raises(AssertionError, match="was not refused"):
        refused(ValueError, broker, Event("a", "x"))
    with pytest.raises(AssertionError):
        refused(ValueError, broker, bad, words="another reason")


def test_any_change_is_one_that_a_store_takes() -> None:
    broker = t.cast(Both, MemoryBroker())
    model = ItemModel(Retention(), lambda: 0.0, 0.001, broker.read([]).end)
    rng = random.Random(1)
    for _ in range(300):
        change = any_change(rng, model)
        if isinstance(change, ItemChange):
            # None of them is due while the test runs.
            change = change._replace(ttl=change.ttl and 600)
        model.change(broker.change, [change])
    assert len(model.rows) > 10
