"""The rows of a channel's items in memory."""

from __future__ import annotations

import pytest

from flask_push._event import Entry
from flask_push._event import MAX_NUMBER
from flask_push._event import Position
from flask_push.brokers import ItemRow
from flask_push.brokers.items import UNSET
from flask_push.brokers.memory import item_rows
from flask_push.brokers.memory.item_rows import ChannelItems
from flask_push.brokers.memory.item_rows import Row


def row(item: str, number: int, data: bytes | None = b"x") -> Row:
    type = UNSET if data is None else "message"
    return Row("", "a", item, type, data, position=Position("abcde", number))


def test_a_channel_counts_its_living_rows_and_their_bytes() -> None:
    channel = ChannelItems(1)
    first, second = row("i", 2), row("i", 3, b"12345")
    assert channel.put(first) is None
    assert (channel.living, channel.bytes) == (1, 100 + 1 + 7 + 1)
    assert channel.put(second) is first
    assert (channel.living, channel.bytes) == (1, 100 + 1 + 7 + 5)
    assert channel.put(row("i", 4, None)) is second
    assert (channel.living, channel.bytes) == (0, 0)


def test_tombstones_that_are_too_many_or_too_old_are_removed_in_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(item_rows, "MIN_TOMBSTONES", 2)
    channel = ChannelItems(1)
    for number, item in enumerate("ijkl", 2):
        channel.put(row(item, number, None))
    assert [each.item for each in channel.prune(0)] == ["i", "j"]
    assert channel.horizon == 3
    assert [each.item for each in channel.prune(5)] == ["k"]
    assert channel.horizon == 4 and list(channel.rows) == ["l"] == list(channel.tombstones)


def test_a_row_is_due_after_its_time_to_live() -> None:
    each = row("i", 5)
    each.begin(5)
    assert each.deadline == MAX_NUMBER
    each.ttl = 0.5
    each.begin(5)
    assert each.deadline == 500_005


def test_a_row_is_an_entry_and_a_living_row() -> None:
    assert row("i", 5, None).entry(3) == Entry(5, 3, "a", UNSET, b"", item="i")
    about = Position("abcde", 5), "a", "i", "message", b"x"
    assert row("i", 5).living() == ItemRow(*about)
    gone = row("i", 5).unset(7)
    assert (gone.data, gone.version, gone.type, gone.key) == (
        None,
        7,
        UNSET,
        ("", "a", "i"),
    )
