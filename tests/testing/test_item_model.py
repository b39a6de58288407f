"""The model of a store of items finds a store that breaks a rule."""

from __future__ import annotations

import typing as t

import pytest

from flask_push import Event
from flask_push import Position
from flask_push.brokers import Conflict
from flask_push.brokers import ItemChange
from flask_push.brokers import ItemsFull
from flask_push.brokers import Retention
from flask_push.testing._item_model import ItemModel
from flask_push.testing._item_model import Undecided

SET, UNSET = ItemChange("a", "i", "x"), ItemChange("a", "i", None)


class Scene:
    """A model, and the answers of a store to it."""

    def __init__(self) -> None:
        self.time = 100.0
        retention = Retention(items=2, item_bytes=1000)
        self.model = ItemModel(retention, lambda: self.time, 0.001, 10, 2)

    def change(self, changes: list[Event | ItemChange], *answers: t.Any) -> None:
        def store(changes: object) -> list[Position]:
            if isinstance(answers[0], Exception):
                raise answers[0]
            return [Position("abcde", number) for number in answers]

        self.model.change(store, changes)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_new_row_has_a_number_above_all_others(scene: Scene) -> None:
    scene.change([SET, Event("a", "x")], 11, 12)
    for numbers in (12, 13), (13, 13), (14, 13):
        with pytest.raises(AssertionError, match="number of its own"):
            scene.change([SET, Event("a", "x")], *numbers)


def test_the_position_of_a_row_that_stays_is_returned(scene: Scene) -> None:
    scene.change([SET._replace(version=2), Event("a", "x")], 11, 12)
    scene.change([SET._replace(version=1)], 11)
    with pytest.raises(AssertionError, match="not the row's position"):
        scene.change([SET._replace(version=2)], 12)


def test_an_unset_of_an_absent_item_returns_the_position_of_the_store(scene: Scene) -> None:
    scene.change([Event("a", "x"), UNSET], 11, 11)
    with pytest.raises(AssertionError, match="not the store's position"):
        scene.change([UNSET], 12)


def test_a_refusal_has_to_be_right(scene: Scene) -> None:
    full = [SET._replace(item=item) for item in "jkl"]
    scene.change([*full], ItemsFull())
    scene.change([SET._replace(expect="abcde-1")], Conflict())
    with pytest.raises(AssertionError, match="exceeds its bounds"):
        scene.change([*full], 11, 12, 13)
    with pytest.raises(AssertionError, match="an expectation is not met"):
        scene.change([SET._replace(expect="abcde-1")], 11)
    for refused in Conflict(), ItemsFull():
        with pytest.raises(AssertionError, match="it was refused"):
            scene.change([SET], refused)
    assert not scene.model.rows


def test_rows_that_are_due_are_known_only_if_the_clock_is_clear(scene: Scene) -> None:
    scene.change([SET._replace(ttl=1)], 11)
    (row,) = scene.model.living("", "a")
    scene.time += 1
    with pytest.raises(Undecided):
        scene.model.due()
    scene.time += 0.01
    assert scene.model.due() == {("", "a", "i")} and not scene.model.living("", "a")
    assert scene.model.living_or_due("", "a") == [row]


def test_a_horizon_is_that_of_the_last_tombstone_that_was_removed(scene: Scene) -> None:
    number = 10
    for item in "ijkl":
        for change in SET, UNSET:
            number += 1
            scene.change([change._replace(item=item)], number)
    assert [row[0] for row in scene.model.after(0, "a")] == [16, 18]
    scene.model.check_horizons({("", "a"): 14})
    scene.model.check_horizons({("", "b"): 10})
    for name, horizon in ("a", 10), ("a", 16), ("b", 11), ("b", 0):
        with pytest.raises(AssertionError, match="the horizon is"):
            scene.model.check_horizons({("", name): horizon})


def test_a_channel_without_living_rows_may_be_forgotten_when_old(
    scene: Scene,
) -> None:
    scene.change([SET, UNSET], 11, 12)
    with pytest.raises(AssertionError, match="the horizon is"):
        scene.model.check_horizons({("", "a"): 12})
    scene.model.end = 12 + 86401 * 1_000_000
    scene.model.check_horizons({("", "a"): 10})
    assert scene.model.after(0, "a")
    scene.model.check_horizons({("", "a"): 12})
    assert not scene.model.after(0, "a") and scene.model.floor == 12
    scene.model.check_horizons({("", "b"): 12})
