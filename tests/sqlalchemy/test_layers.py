"""The changes of a transaction and of its savepoints."""

from __future__ import annotations

import typing as t

from flask_push import Event
from flask_push.sqlalchemy._layers import Layers


def entry(text: str) -> t.Any:
    return ("sender", Event("a", text), len(text))


def texts(layers: Layers) -> list[str]:
    given: t.Any = layers.entries()
    return [change.data for _, change, _ in given]


def test_a_savepoint_that_is_released_gives_its_changes_to_its_parent() -> None:
    layers = Layers("root")
    layers.add("root", [entry("1")])
    layers.add("outer", [entry("2")])
    layers.add("inner", [entry("3")])
    layers.release("inner", "outer")
    layers.add("outer", [entry("4")])
    assert texts(layers) == ["1", "2", "3", "4"]
    layers.drop("outer")
    assert texts(layers) == ["1"] and (layers.count, layers.bytes) == (1, 1)


def test_a_savepoint_is_dropped_with_those_that_lie_above_it() -> None:
    layers = Layers("root")
    for name in "root", "outer", "inner":
        layers.add(name, [entry(name)])
    layers.drop("nothing")
    layers.drop("outer")
    assert texts(layers) == ["root"] and (layers.count, layers.bytes) == (1, 4)
