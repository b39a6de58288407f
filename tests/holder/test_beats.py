"""The row of a process says that it lives."""

from __future__ import annotations

import json
import re

import pytest

from flask_push import Position
from flask_push._holder.beats import Beats
from flask_push.brokers import ItemRow


def row(beats: Beats, number: int, data: object, id: int = 1) -> ItemRow:
    text = data if isinstance(data, str) else json.dumps(data)
    about = "holders", beats.name, "message", text.encode()
    return ItemRow(Position("epoch", id), *about, number)


def test_each_process_has_a_name_of_its_own() -> None:
    names = {Beats().name for _ in range(100)}
    assert len(names) == 100
    assert all(re.fullmatch("[0-9A-Za-z]{12}", name) for name in names)


def test_each_beat_expects_the_one_before() -> None:
    beats = Beats()
    first = beats.next(1)
    assert (first.kind, first.channel, first.item) == ("holders", "holders", beats.name)
    assert (first.expect, first.version, json.loads(first.data or "")) == (
        *("", 1, {"beat": 1, "runs": 1}),
    )
    assert beats.next(1) == first
    beats.stored("id", at=5.0)
    second = beats.next(2)
    assert (second.expect, second.version, beats.at) == ("id", 2, 5.0)
    assert json.loads(second.data or "") == {"beat": 2, "runs": 2}


def test_a_row_is_removed_and_made_again() -> None:
    beats = Beats()
    beats.stored("id", at=5.0)
    last = beats.last()
    assert (last.data, last.expect) == (None, "id")
    beats.removed()
    assert beats.read([])
    # The store may keep the number of a row that was removed.
    assert (beats.next(1).expect, beats.next(1).version) == ("", 2)


def test_a_beat_that_was_stored_without_an_answer_is_the_newest() -> None:
    beats = Beats()
    beats.stored("id", at=5.0)
    assert beats.read([row(beats, 7, {"beat": 7}, id=9)])
    newest = beats.next(1)
    assert (newest.expect, newest.version) == (str(Position("epoch", 9)), 8)


@pytest.mark.parametrize("data", [{"dead": True}, {"beat": 2, "dead": True}, "{", "[1]"])
def test_a_process_that_others_take_for_dead_needs_another_name(data: object) -> None:
    beats = Beats()
    beats.stored("id", at=5.0)
    assert not beats.read([row(beats, 2, data)])


def test_a_process_whose_row_is_gone_needs_another_name() -> None:
    beats = Beats()
    beats.stored("id", at=5.0)
    assert not beats.read([])
