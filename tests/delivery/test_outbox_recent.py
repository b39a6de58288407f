"""The rows that were published last are remembered, within bounds."""

from __future__ import annotations

from flask_push._delivery.outbox_recent import OutboxRow
from flask_push._delivery.outbox_recent import RECENT_BYTES
from flask_push._delivery.outbox_recent import RECENT_SECONDS
from flask_push._delivery.outbox_recent import RecentRows


def test_the_rows_after_a_batch_are_those_that_are_lost() -> None:
    recent = RecentRows()
    recent.begin(4)
    for n in 5, 6, 7:
        recent.add(n, [OutboxRow(n * 10, "x"), OutboxRow(n * 10 + 1, "y")], 0.0)
    assert recent.last == 7
    rows, all_of_them = recent.lost(5)
    assert [row.id for row in rows] == [60, 61, 70, 71] and all_of_them
    assert recent.lost(4)[1]
    rows, all_of_them = recent.lost(3)
    assert len(rows) == 6 and not all_of_them
    assert recent.lost(7) == ([], True)


def test_they_are_forgotten_after_a_while() -> None:
    recent = RecentRows()
    recent.add(1, [OutboxRow(1, "x")], 0.0)
    recent.add(2, [OutboxRow(2, "x")], 5.0)
    recent.trim(RECENT_SECONDS + 1)
    rows, all_of_them = recent.lost(0)
    assert ([row.id for row in rows], all_of_them) == ([2], False)
    assert recent.lost(1)[1]
    recent.trim(1000.0)
    assert recent.lost(0) == ([], False) and recent.last == 2
    assert repr(recent) == "<RecentRows [0 batches, 0 bytes]>"


def test_no_more_bytes_are_remembered_than_the_bound() -> None:
    recent = RecentRows()
    for n in range(1, 101):
        recent.add(n, [OutboxRow(n, "x" * 2**20)], 0.0)
    rows, _ = recent.lost(0)
    assert sum(len(row.text) for row in rows) <= RECENT_BYTES
    assert rows[-1].id == 100
