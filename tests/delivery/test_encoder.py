"""Frames of events and items that a store has, of which some can't be sent."""

from __future__ import annotations

import pytest

from flask_push._delivery.encoder import Encoder
from flask_push._event import Entry
from flask_push._event import Position
from flask_push._event import UNSET

reported: list[Entry] = []


def note(entry: Entry, position: Position, error: Exception) -> None:
    reported.append(entry)


@pytest.fixture
def encoder() -> Encoder:
    reported.clear()
    return Encoder(note, 10)


HERE = Position("epoch", 7)


def test_an_event_that_cannot_be_sent_is_reported(encoder: Encoder) -> None:
    entry = Entry(7, 1, "a", "message", b"x")
    assert encoder.event(entry, "epoch", 7) == b"id: epoch-7.a\ndata: x\n\n"
    assert not reported
    large = entry._replace(data=b"x" * 11)
    assert encoder.event(large, "epoch", 7) is None
    assert reported == [large]
    assert encoder.event(entry._replace(type="push:gap"), "epoch", 7) is None
    assert reported == [large]


def test_an_item_is_kept_without_the_position_of_its_id(encoder: Encoder) -> None:
    piece = encoder.item("a", "é", "price", b"x", HERE)
    assert piece is not None and piece.living
    assert piece.tail == b".a.~c3~a9.7\nevent: price\ndata: x\n\n"
    unset = encoder.item("a", "i", UNSET, b"", HERE)
    assert unset is not None and not unset.living
    assert unset.tail.endswith(b'data: {"channel":"a","item":"i"}\n\n')


def test_an_item_that_cannot_be_sent_counts_as_unset(encoder: Encoder) -> None:
    piece = encoder.item("a", "i", "message", b"x" * 11, HERE)
    assert piece is not None and not piece.living
    assert b"event: push:unset\n" in piece.tail
    assert [entry.item for entry in reported] == ["i"]


def test_an_item_whose_name_cannot_be_sent_is_left_out(encoder: Encoder) -> None:
    for type in "message", UNSET:
        assert encoder.item("a", "i" * 65, type, b"x", HERE) is None
