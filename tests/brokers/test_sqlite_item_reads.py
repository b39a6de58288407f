"""Pages of items and of events with items, from SQLite's file."""

from __future__ import annotations

import collections.abc as cabc
import random
import sqlite3

import pytest
from support.sqlite_items import FOUND
from support.sqlite_items import item
from support.sqlite_items import opened
from support.sqlite_items import SECOND
from support.sqlite_items import Store

from flask_push import Event
from flask_push._event import OwnChannel
from flask_push.brokers import ItemChange
from flask_push.brokers.base import ENTRY_BYTES
from flask_push.brokers.sqlite import history
from flask_push.brokers.sqlite import item_reads
from flask_push.brokers.sqlite import statements
from flask_push.brokers.sqlite.history import Unread
from flask_push.brokers.sqlite.item_reads import ItemsRequest
from flask_push.brokers.sqlite.retention import is_broken

DAY = 86_400 * SECOND


@pytest.fixture
def store() -> cabc.Iterator[Store]:
    with opened() as store:
        history.select(store.connection, {"a", "b", OwnChannel("watched", "a")})
        yield store


def filled(store: Store, names: list[str]) -> list[tuple[int, str, str]]:
    """Change items and publish at random. Return the numbers, channels and items of what is
    left."""
    rng = random.Random(7)
    left: dict[tuple[str, str, int], int] = {}
    for n in range(600):
        name, key = rng.choice(names), f"{rng.randrange(40)}"
        if rng.random() < 0.3:
            (number,) = store.change(Event(name, "e"))
            left[name, "", n] = number
        elif rng.random() < 0.7:
            (left[name, key, 0],) = store.change(item(key, f"{n}", name))
        elif (name, key, 0) in left and store.living(name).get(key) is not None:
            (left[name, key, 0],) = store.change(item(key, None, name))
    return sorted((number, *key[:2]) for key, number in left.items())


@pytest.mark.parametrize("count", [1, 3, 12])
def test_pages_have_all_rows_and_events_in_order(count: int, store: Store) -> None:
    names = [f"c{n}" for n in range(count)]
    expected = filled(store, names)
    numbers = [number for number, _, _ in expected]
    for limit in 1, 3 * ENTRY_BYTES, 2**30:
        for after in 0, numbers[50], numbers[-1]:
            found, reach = [], after
            while True:
                page = history.page(store.connection, names, reach, 0, limit)
                page = item_reads.with_items(store.connection, page, names, limit)
                assert page.entries or page.reach == page.end
                assert all(reach < e.number <= page.reach for e in page.entries)
                found += [(e.number, e.channel, e.item) for e in page.entries]
                reach = page.reach
                if reach == page.end:
                    break
            assert found == [each for each in expected if each[0] > after]


@pytest.mark.parametrize("limit", [1, 3 * ENTRY_BYTES, 2**30])
def test_pages_of_items_have_the_living_rows_up_to_a_number(
    limit: int, store: Store
) -> None:
    names = ["a", "b", "c"]
    filled(store, names)
    living = {(row.channel, row.item) for row in store.rows(*names)}
    expected = [
        (entry.number, entry.channel, entry.item)
        for entry in store.entries(*names)
        if (entry.channel, entry.item) in living
    ]
    for upto in None, expected[20][0], expected[40][0]:
        found, reach, end = [], 0, upto or store.last
        while reach < end:
            request = ItemsRequest(names, reach, upto)
            page = item_reads.items_page(store.connection, request, limit)
            assert (page.after, page.end) == (reach, store.last)
            found += [(row.number, row.channel, row.item) for row in page.rows]
            reach = page.reach
        assert reach == end
        assert found == [each for each in expected if each[0] <= end]
    request = ItemsRequest(names, 0, store.last + 5)
    assert item_reads.items_page(store.connection, request, 2**30).reach == store.last


def test_a_row_that_is_read_names_the_row_before_it_that_was_read(store: Store) -> None:
    birth = store.horizon()
    first, second, _ = store.change(item("x", "1"), item("y", "1"), item("z", "1"))
    store.change(item("z", None))
    # The row of "z" is newer now, and no hole is left where it was.
    assert [e.prev for e in store.entries(after=birth)] == [birth, first, second]
    assert [e.prev for e in store.entries(after=first)] == [birth, second]
    assert [e.prev for e in store.entries(after=5)] == [5, first, second]
    store.now += 2 * DAY
    store.change(item("x", "2"))
    # The horizon is above the first row.
    horizon = store.horizon()
    assert horizon > second
    assert [e.prev for e in store.entries(after=first)] == [first, second]
    assert [e.prev for e in store.entries(after=horizon)] == [horizon]


def test_the_last_events_are_counted_without_items(store: Store) -> None:
    store.change(*(Event("a", f"{n}") for n in range(5)))
    store.change(*(item(f"{n}", "1") for n in range(5)))
    page = history.page(store.connection, ["a"], None, 2, 2**20)
    page = item_reads.with_items(store.connection, page, ["a"], 2**20)
    assert [entry.item for entry in page.entries] == ["", "", *"01234"]


def test_every_channel_has_a_horizon_and_some_have_no_row(store: Store) -> None:
    birth = store.horizon()
    store.change(item("x", "1", "b"), item("x", "1", "c"), item("x", None, "c"))
    names = [f"{n}" for n in range(250)] + ["a", "b", "c"]
    found = item_reads.horizons(store.connection, names)
    assert found.numbers == dict.fromkeys(names, birth)
    assert found.without == names[:-2]
    page = history.page(store.connection, names, 0, 0, 2**20)
    page = item_reads.with_items(store.connection, page, names, 2**20)
    assert page.horizons == found.numbers
    request = ItemsRequest(names, 0, None)
    assert item_reads.items_page(store.connection, request, 1).horizons == found.numbers


def test_kinds_do_not_mix(store: Store) -> None:
    store.change(item("x", "1"), item("x", "2", kind="own"), item("y", "3", kind="own"))
    store.change(item("y", None, kind="own"))
    assert [row.data for row in store.rows()] == [b"1"]
    assert [row.data for row in store.rows(kind="own")] == [b"2"]
    assert store.rows(kind="other") == []
    assert [entry.data for entry in store.entries()] == [b"1"]
    unread, _ = look(store, store.horizon())
    assert [entry.data for entry in unread.entries] == [b"1"]


def test_a_look_has_the_rows_of_an_own_channel_that_is_watched(store: Store) -> None:
    store.change(item("x", "1"), item("x", "2", kind="watched"), item("x", "3", "b"))
    store.change(item("x", "4", "b", kind="watched"), item("y", "5", kind="watched"))
    unread, _ = look(store, store.horizon())
    found = [(entry.channel, entry.data) for entry in unread.entries]
    own = OwnChannel("watched", "a")
    assert found == [("a", b"1"), (own, b"2"), ("b", b"3"), (own, b"5")]
    assert unread.entries[3].prev == unread.entries[1].number
    known = item_reads.horizons(store.connection, ["a", own, OwnChannel("own", "a")])
    assert known.numbers.keys() == {"a", own, OwnChannel("own", "a")}
    assert known.without == [OwnChannel("own", "a")]


def test_rows_that_are_due_are_found_in_the_order_of_their_deadlines(
    store: Store,
) -> None:
    store.change(item("x", "1", ttl=2), item("y", "1", "b", ttl=1, kind="own"))
    store.change(item("z", "1"), item("u", "1", ttl=1), item("v", "1", ttl=3))
    store.change(item("u", None), item("x", "1", ttl=2.5))
    store.now += 3 * SECOND - 10

    def due(limit: int = 500) -> list[ItemChange]:
        return item_reads.due(store.connection, lambda last: store.now, limit)

    expected = [
        item("y", None, "b", kind="own", due=True),
        item("x", None, due=True),
    ]
    assert due() == expected and due(1) == expected[:1]
    store.change(*due())
    assert due() == []
    assert store.living() == {"z": b"1", "v": b"1"}


def test_rows_of_an_owner_are_found_over_all_channels(store: Store) -> None:
    store.change(
        item("x", "1", "b", owner="o", version=4),
        *(item("y", "2", owner="o"), item("z", "3", owner="p"), item("u", "4", owner="o")),
        item("v", "5", owner="o", kind="own"),
    )
    store.change(item("u", None), item("w", "6"), item("w", None))

    def owned(owner: str, kind: str = "", limit: int = 500) -> list[bytes]:
        found = item_reads.owned(store.connection, owner, kind, limit)
        assert all(row.owner == owner for row in found)
        return [row.data for row in found]

    assert owned("o") == [b"1", b"2"] and owned("o", limit=1) == [b"1"]
    assert owned("o", "own") == [b"5"] and owned("p") == [b"3"] and owned("") == []
    (first, _) = item_reads.owned(store.connection, "o", "", 500)
    assert (first.channel, first.item, first.version) == ("b", "x", 4)
    # Without an owner, the row is no longer found.
    store.change(item("y", "2"))
    assert owned("o") == [b"1"]


# What a feed has not read.


def look(store: Store, after: int, seen: int = 2**62) -> tuple[Unread, list[str]]:
    (epoch,) = store.connection.execute("SELECT epoch FROM store").fetchone()
    unread = history.unread(store.connection, epoch, after)
    unread, raised = item_reads.look(store.connection, unread, after, seen, ["a", "b"])
    return unread, list(raised)


def test_a_look_has_the_rows_of_watched_channels_among_the_events(store: Store) -> None:
    first, *numbers = store.change(
        *(Event("a", "1"), item("x", "1"), item("y", "1", "b"), item("x", "1", "c")),
        *(Event("b", "1"), item("x", None)),
    )
    unread, _ = look(store, first)
    found = [(entry.number, entry.item) for entry in unread.entries]
    assert found == [(numbers[1], "y"), (numbers[3], ""), (numbers[4], "x")]
    assert [entry.prev for entry in unread.entries if entry.item] == [store.horizon()] * 2
    assert unread.end == unread.last == numbers[-1]


@pytest.mark.parametrize("bound", ["BATCH", "BATCH_BYTES"])
def test_looks_that_are_cut_have_everything_once(
    bound: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in history, item_reads:
        monkeypatch.setattr(module, bound, 7 if bound == "BATCH" else 700)
    start = store.last
    expected = [each for each in filled(store, ["a", "b", "c"]) if each[1] != "c"]
    found, after, looks = [], start, 0
    while after < store.last:
        unread, _ = look(store, after)
        assert after < unread.end <= unread.last == store.last
        found += [(e.number, e.channel, e.item) for e in unread.entries]
        after, looks = unread.end, looks + 1
    assert found == expected and looks > len(expected) / 12


def test_a_look_finds_the_horizons_that_were_raised(store: Store) -> None:
    store.change(*(item(key, "1", name) for name in "abc" for key in "xy"))
    store.change(*(item("x", None, name) for name in "abc"))
    seen = store.last
    store.now += DAY + SECOND
    store.change(item("y", "2", "a"), item("y", "2", "c"), item("y", "2", kind="own"))
    assert look(store, store.last, seen)[1] == ["a"]
    assert look(store, store.last, store.last)[1] == []
    # Those of all channels without rows.
    store.change(item("x", "1", "d"))
    store.change(item("x", None, "d"))
    store.now += 2 * DAY
    seen = store.last
    store.change(item("y", "3", "c"))
    assert look(store, store.last, seen)[1] == ["a", "b"]


def test_a_look_that_missed_events_has_no_items(store: Store) -> None:
    store.change(item("x", "1"))
    store.connection.execute("UPDATE store SET floor = last")
    unread, _ = look(store, 5)
    assert unread.forgotten and unread.entries == []


def test_rows_that_are_missing_break_the_store(store: Store) -> None:
    store.connection.execute("DELETE FROM item_store")
    statements.prepare(store.connection, None, FOUND)
    store.rows()
    store.connection.execute("DELETE FROM item_store")
    with pytest.raises(sqlite3.DatabaseError) as caught:
        store.rows()
    assert is_broken(caught.value)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        look(store, store.last)
    assert is_broken(caught.value)
