"""Bounds of a channel's items, and tombstones that are forgotten, in SQLite's file."""

from __future__ import annotations

import collections.abc as cabc
import sqlite3

import pytest
from support.sqlite_items import item
from support.sqlite_items import opened
from support.sqlite_items import SECOND
from support.sqlite_items import Store

from flask_push.brokers import ItemsFull
from flask_push.brokers import Retention
from flask_push.brokers.sqlite import item_channel
from flask_push.brokers.sqlite.retention import is_broken

DAY = 86_400 * SECOND


@pytest.fixture
def store() -> cabc.Iterator[Store]:
    with opened() as store:
        yield store


def tombs(store: Store, channel: str = "a") -> list[str]:
    return [entry.item for entry in store.entries(channel) if entry.type == "push:unset"]


def emptied(store: Store, *channels: str) -> list[int]:
    """Channels that had an item each, and the numbers of the tombstones."""
    for channel in channels:
        store.change(item("x", "1", channel))
    return [store.change(item("x", None, channel))[0] for channel in channels]


# Bounds.


def test_a_channel_has_so_many_items_and_bytes() -> None:
    with opened(Retention(items=3, item_bytes=1000)) as store:
        store.change(*(item(f"{n}", "1") for n in range(3)))
        with pytest.raises(ItemsFull, match="PUSH_MAX_ITEMS"):
            store.change(item("3", "1"))
        store.change(item("3", "1", "b"), item("3", "1", kind="own"))
        # Only the end of a call counts.
        store.change(item("3", "1"), item("0", None))
        free = 1000 - 3 * (100 + len("message1x"))
        store.change(item("1", "1" * (free + 1)))
        with pytest.raises(ItemsFull, match="PUSH_ITEMS_BYTES"):
            store.change(item("1", "1" * (free + 2)))
        with pytest.raises(ItemsFull):
            store.change(item("2", "ä"))
        assert len(store.living()["1"]) == free + 1


def test_a_channel_above_bounds_that_were_lowered_may_get_no_more() -> None:
    with opened() as store:
        store.change(*(item(f"{n}", "11") for n in range(5)))
        lowered = Store(store.connection, Retention(items=3, item_bytes=300))
        lowered.change(item("0", "22"), item("1", None))
        for more in item("1", "1"), item("0", "222"):
            with pytest.raises(ItemsFull):
                lowered.change(more)


def test_bounds_are_the_stores_own() -> None:
    with opened(Retention(items=1)) as store:
        same = Store(store.connection)
        same.change(item("x", "1"))
        with pytest.raises(ItemsFull):
            same.change(item("y", "1"))
        # Those of an app are not those of Flask-Push's own items.
        same.change(item("x", "1", kind="own"), item("y", "1", kind="own"))


def test_a_set_takes_as_long_in_a_large_channel_as_in_a_small_one() -> None:
    steps: dict[int, int] = {}
    for count in 50, 10_000:
        with opened() as store:
            store.change(*(item(f"{n:05}", "1") for n in range(count)))
            store.change(*(item(f"{n:05}", None) for n in range(20)))
            steps[count] = 0

            def step(count: int = count) -> None:
                steps[count] += 1

            store.connection.set_progress_handler(step, 1)
            for n in range(count // 2, count // 2 + 5):
                store.store(item(f"{n:05}", "2"))
            store.connection.set_progress_handler(None, 1)
    assert 100 < steps[10_000] < 1.1 * steps[50]


# Tombstones.


def test_tombstones_are_kept_for_the_retention(store: Store) -> None:
    birth = store.horizon()
    store.change(*(item(name, "1") for name in "xyz"))
    numbers = store.change(item("x", None))
    store.now += DAY // 2
    numbers += store.change(item("y", None))
    store.now += DAY // 2
    store.change(item("z", "2"))
    assert tombs(store) == ["x", "y"] and store.horizon() == birth
    # The numbers of a call are ahead of the clock.
    store.now += 9
    store.change(item("z", "3"))
    assert tombs(store) == ["y"] and store.horizon() == numbers[0]
    store.now += DAY
    store.change(item("z", "4"), item("x", None))
    assert tombs(store) == [] and store.horizon() == numbers[1]


def test_a_channel_that_is_not_changed_keeps_its_tombstones(store: Store) -> None:
    birth = store.horizon()
    (first,) = store.change(item("x", "1"))
    store.change(item("y", "1"), item("y", None))
    store.now += 2 * DAY
    # None of these stores anything on it.
    store.change(item("y", None), item("x", "1", "b"), item("x", "1", kind="own"))
    assert tombs(store) == ["y"] and store.horizon() == birth < first


def test_a_channel_has_so_many_tombstones(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_channel, "MIN_TOMBSTONES", 3)
    store.change(*(item(f"{n}", "1") for n in range(10)))
    numbers = store.change(*(item(f"{n}", None) for n in range(5)))
    assert len(tombs(store)) == 5, "there are as many items"
    numbers += store.change(item("5", None))
    # One more, and one item less.
    assert tombs(store) == ["2", "3", "4", "5"] and store.horizon() == numbers[1]
    numbers += store.change(*(item(f"{n}", None) for n in range(6, 10)))
    assert tombs(store) == ["7", "8", "9"] and store.horizon() == numbers[6]
    # An item that is set again has no tombstone.
    store.change(item("7", "1"))
    assert tombs(store) == ["8", "9"] and store.horizon() == numbers[6]


def test_the_newest_row_of_a_channel_stays(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_channel, "MIN_TOMBSTONES", 0)
    birth = store.horizon()
    store.change(item("x", "1"))
    (first,) = store.change(item("x", None))
    assert tombs(store) == ["x"] and store.horizon() == birth
    store.change(item("y", "1"), item("y", None))
    assert tombs(store) == ["y"] and store.horizon() == first


# Channels without living rows.


def test_a_channel_of_tombstones_that_are_too_old_is_forgotten(store: Store) -> None:
    birth = store.horizon("unknown")
    numbers = emptied(store, "b", "c")
    store.change(item("y", "1", "c"))
    store.now += DAY + DAY // 8
    store.change(item("x", "1"))
    assert store.horizon("b") == store.horizon("unknown") == birth
    store.now += SECOND
    store.change(item("x", "2"))
    assert tombs(store, "b") == [] and store.count("item_channel") == 2
    assert store.horizon("b") == store.horizon("unknown") == numbers[0]
    assert tombs(store, "c") == ["x"] and store.horizon("c") == birth
    # It begins where it would have ended.
    store.change(item("x", "1", "b"))
    assert store.horizon("b") == numbers[0]


def test_a_channel_that_is_changed_last_is_not_forgotten(store: Store) -> None:
    emptied(store, "b")
    store.change(item("y", "1", "b"), item("y", None, "b"))
    store.now += 2 * DAY
    (last,) = store.change(item("x", "1", "b"))
    assert store.living("b") == {"x": b"1"}
    store.change(item("x", None, "b"))
    store.now += DAY
    store.change(item("y", None, "b"), item("x", "1"))
    assert tombs(store, "b") == ["x"]


def test_no_call_forgets_too_many_channels(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_channel, "_FORGET_CHANNELS", 2)
    numbers = emptied(store, *"bcdef")
    store.now += 2 * DAY
    for left, last in (3, 1), (1, 3), (0, 4), (0, 4):
        store.change(item("x", f"{left}"))
        assert store.count("item_channel") == left + 1
        assert store.horizon("b") == numbers[last]


# Rows that are not ours.


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM item_store",
        "UPDATE item_store SET items = 'x'",
        "UPDATE item_channel SET living = 'x'",
        "UPDATE item_channel SET horizon = x'00'",
    ],
)
def test_rows_that_are_not_ours_break_the_store(change: str, store: Store) -> None:
    store.change(item("x", "1"))
    store.connection.execute(change)
    with pytest.raises(sqlite3.DatabaseError, match="none of ours") as caught:
        store.store(item("x", "2"))
    assert is_broken(caught.value)
