"""The rows that were published last are remembered, within bounds, and what the store has
lost of them is found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flask_push._delivery.outbox_recent import OutboxRow
from flask_push._delivery.outbox_recent import RECENT_BYTES
from flask_push._delivery.outbox_recent import RECENT_SECONDS
from flask_push._delivery.outbox_recent import RecentRows


def publish(recent: RecentRows, *ids: int, text: str = "x", now: float = 0.0) -> int:
    number = recent.add([OutboxRow(id, text) for id in ids], now)
    recent.is_stored(number, now)
    return number


def lost(recent: RecentRows, batch: int) -> tuple[list[int], bool]:
    rows, all_of_them = recent.lost(batch)
    return [row.id for row in rows], all_of_them


def test_the_rows_after_a_batch_are_those_that_are_lost() -> None:
    recent = RecentRows()
    recent.begin(4)
    assert [publish(recent, n * 10, n * 10 + 1) for n in (5, 6, 7)] == [5, 6, 7]
    assert recent.last == 7
    assert lost(recent, 5) == ([60, 61, 70, 71], True)
    assert lost(recent, 4)[1]
    rows, all_of_them = recent.lost(3)
    assert len(rows) == 6 and not all_of_them
    assert recent.lost(7) == ([], True)
    # Another process has stored more.
    assert recent.lost(8) == ([], True)


def test_what_was_lost_may_come_back_and_what_was_published_meanwhile_is_lost() -> None:
    recent = RecentRows()
    for id in 1, 2, 3:
        publish(recent, id)
    assert lost(recent, 1) == ([2, 3], True)
    recent.go_back(1)
    # Both are published again, and another row. No number is given twice.
    assert [publish(recent, 2), publish(recent, 3, 4)] == [4, 5]
    # The master that had batch 3 is back.
    assert lost(recent, 3) == ([4], True)
    recent.go_back(3)
    assert publish(recent, 4) == 6
    assert lost(recent, 6) == ([], True)
    assert lost(recent, 4) == ([3, 4], True)


def test_a_batch_that_the_store_may_have_or_not_is_not_lost() -> None:
    recent = RecentRows()
    publish(recent, 1)
    number = recent.add([OutboxRow(2, "x")], 0.0)
    assert recent.last == 1 and recent.follows(number) and not recent.follows(1)
    assert [row.id for row in recent.rows_of(number)] == [2]
    # It is still in the database: it is not put back.
    assert lost(recent, 1) == ([], True)
    recent.go_back(1)
    publish(recent, 2)
    assert not recent.follows(number)
    # The master that has this batch is the master again, and has all of that.
    assert lost(recent, number) == ([], True)
    assert lost(recent, 1) == ([2], True)


def test_a_batch_that_was_refused_is_forgotten() -> None:
    recent = RecentRows()
    number = recent.add([OutboxRow(1, "x")], 0.0)
    recent.is_not_stored(number)
    assert not recent.follows(number) and recent.last == 0
    assert repr(recent) == "<RecentRows [0 batches, 0 bytes]>"
    assert publish(recent, 1) == 2


def test_published_rows_are_forgotten_after_a_while() -> None:
    recent = RecentRows()
    publish(recent, 1)
    publish(recent, 2, now=5.0)
    recent.trim(RECENT_SECONDS + 1)
    assert lost(recent, 0) == ([2], False)
    assert recent.lost(1)[1]
    recent.trim(1000.0)
    assert recent.lost(0) == ([], False) and recent.last == 2
    assert repr(recent) == "<RecentRows [0 batches, 0 bytes]>"
    recent.begin(9)
    assert recent.lost(9) == ([], True) and recent.last == 9


def test_no_more_bytes_of_rows_are_remembered_than_the_bound() -> None:
    recent = RecentRows()
    for id in range(1, 101):
        publish(recent, id, text="x" * 2**20)
    rows, _ = recent.lost(0)
    assert sum(len(row.text) for row in rows) <= RECENT_BYTES
    assert rows[-1].id == 100


@given(st.data())
def test_whatever_the_store_goes_back_to_each_row_is_in_it_once(
    data: st.DataObject,
) -> None:
    """The store may have again what it had after any batch, also one that it has lost."""
    recent = RecentRows()
    # What the store has after each batch, and what the database still has.
    had: dict[int, list[int]] = {0: []}
    # The rows that the lease names: those of its last batch.
    named: dict[int, list[int]] = {0: []}
    store: list[int] = []
    waiting: list[int] = []
    count = 0
    for _ in range(data.draw(st.integers(1, 30))):
        if data.draw(st.booleans()):
            batch = data.draw(st.sampled_from([*had]))
            store = [*had[batch]]
            if recent.follows(batch):
                recent.is_stored(batch, 0.0)
            elif batch != recent.last:
                waiting += [i for i in lost(recent, batch)[0] if i not in waiting]
                again = recent.there_again(batch)
                waiting = [id for id in waiting if id not in again]
                recent.go_back(batch)
            waiting = [id for id in waiting if id not in named[batch]]
        else:
            count += 1
            waiting.append(count)
            rows = sorted(data.draw(st.sets(st.sampled_from(waiting), min_size=1)))
            number = recent.add([OutboxRow(id, "x") for id in rows], 0.0)
            fate = data.draw(st.sampled_from(["stored", "not stored", "unsure", "lost"]))
            if fate != "not stored":
                had[number], named[number] = store + rows, rows
            if fate in ("stored", "unsure"):
                assert recent.follows(number)
                recent.is_stored(number, 0.0)
                store = [*had[number]]
                waiting = [id for id in waiting if id not in rows]
            elif fate == "not stored":
                recent.is_not_stored(number)
            # Or a failover begins before anyone asks, and the other master has it not.
        assert sorted(store + waiting) == [*range(1, count + 1)]
