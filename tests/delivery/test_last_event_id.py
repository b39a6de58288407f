"""Where a request has the position of its browser."""

from __future__ import annotations

import pytest

from flask_push._delivery.last_event_id import holds_of
from flask_push._delivery.last_event_id import position_of
from flask_push._delivery.last_event_id import POSITIONS

NOTHING: dict[str, str] = {}


@pytest.mark.parametrize("name", POSITIONS)
def test_the_position_may_be_in_each_of_the_parameters(name: str) -> None:
    assert position_of("", {name: "epoch-1.a"}.get) == "epoch-1.a"


def test_the_header_is_newer_than_the_address() -> None:
    query = dict.fromkeys(POSITIONS, "old")
    assert position_of("new", query.get) == "new"
    assert position_of("", query.get) == "old"


def test_of_the_parameters_the_first_with_a_value_counts() -> None:
    first, second, *_ = POSITIONS
    assert position_of("", {first: "", second: "b"}.get) == "b"
    assert position_of("", {first: "a", second: "b"}.get) == "a"
    assert position_of("", NOTHING.get) == ""


def test_of_a_long_text_only_the_beginning_is_kept() -> None:
    assert position_of("x" * 1000, NOTHING.get) == "x" * 256
    assert position_of("", {POSITIONS[0]: "x" * 1000}.get) == "x" * 256


def test_a_text_that_is_too_long_is_not_the_word_of_any_items() -> None:
    assert holds_of({"holds": "5f0a31be7cc92d04"}.get) == "5f0a31be7cc92d04"
    assert holds_of({"holds": "x" * 64}.get) == "x" * 64
    assert holds_of({"holds": "x" * 65}.get) == holds_of(NOTHING.get) == ""
