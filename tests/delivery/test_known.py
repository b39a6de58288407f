"""Fields that a newer version has added are ignored."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from flask_push._delivery.known import known
from flask_push._delivery.known import known_of_row


@dataclass
class Record:
    a: int = 0
    b: int = 0


class Row(t.NamedTuple):
    a: int
    b: int


def test_only_the_fields_of_the_type_are_kept() -> None:
    for kind in Record, Row:
        assert known(kind, {"a": 1, "b": 2}) == {"a": 1, "b": 2}
        assert known(kind, {"a": 1, "c": 3}) == {"a": 1}
        assert known(kind, {}) == {}


def test_the_values_are_copied() -> None:
    values = {"a": 1}
    known(Record, values)["b"] = 2
    assert values == {"a": 1}


def test_of_a_row_the_last_values_are_ignored() -> None:
    assert Row(*known_of_row(Row, [1, 2, 3])) == Row(1, 2)
    assert known_of_row(Row, (1, 2)) == [1, 2]
