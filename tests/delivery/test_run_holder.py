"""What the holder of a run stores, and how it finds out what became of it.

See :mod:`test_run_model` for all of it in every order.
"""

from __future__ import annotations

from flask_push._delivery.run_holder import Holder
from flask_push._delivery.run_holder import Look
from flask_push._delivery.run_record import Record
from flask_push._delivery.run_rows import RUN
from flask_push._event import ItemRow
from flask_push._event import Position

NOW, LAST, NEW = (Position("epoch", number) for number in (10, 11, 12))
HOLDER = Holder("a", Record(5, "id", "key", "running", position=NOW), "5.1.t2", str(LAST))


def row(item: str, position: Position) -> ItemRow:
    return ItemRow(position, "a", item, "message", b"x")


def test_a_write_expects_the_record_and_the_last_row_and_a_free_place() -> None:
    record, last, event = HOLDER.write(["hello", "world"], "said")
    assert (record.item, record.expect, record.due) == ("now", str(NOW), True)
    assert (last.item, last.expect, last.due) == ("5.1.t2", str(LAST), True)
    assert event[:5] == (RUN, "a", "5.1.0", "5 5\nhelloworld", "said")
    assert event.expect == ""
    after = HOLDER.written(str(NEW), 2)
    assert (after.last, after.last_id, after.place) == ("5.1.0", str(NEW), "5.1.2")


def test_an_end_expects_the_record_and_the_last_row() -> None:
    ending = HOLDER.end("failed", "No row.")
    assert ending is not None
    first, *_, last = ending.changes
    assert (first.item, first.expect) == ("now", str(NOW))
    assert (last.item, last.expect, last.due) == ("5.1.t2", str(LAST), True)
    assert HOLDER._replace(record=ending.record).end("done") is None


def test_after_a_conflict_a_holder_looks_for_its_own_rows() -> None:
    assert HOLDER.wanted == ["now", "5.1.t2", "5.1.0"]
    now, last, new = row("now", NOW), row("5.1.t2", LAST), row("5.1.0", NEW)
    changed = row("now", NEW)
    assert HOLDER.look([now, last, new]) == (Look.STORED, str(NEW))
    assert HOLDER.look([last, new, changed]) == (Look.STORED, str(NEW))
    assert HOLDER.look([now, last]) == (Look.AGAIN, "")
    assert HOLDER.look([last, changed]) == HOLDER.look([]) == (Look.OVER, "")
    assert HOLDER.look([now]) == (Look.TORN, "")
