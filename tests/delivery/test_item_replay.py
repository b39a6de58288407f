"""Rows that a reader has missed, from the log and from a page."""

from __future__ import annotations

from flask_push._delivery.item_replay import absorb_items
from flask_push._delivery.item_replay import known_items
from flask_push._delivery.item_replay import replay_items
from flask_push._delivery.log import Log
from flask_push._delivery.readers import Readers
from flask_push._delivery.subscription import ItemsPlace
from flask_push._delivery.subscription import Subscription
from flask_push._event import Entry
from flask_push._event import Page
from flask_push._event import Position
from flask_push._event import Proof
from flask_push._event import UNSET


def fail(entry: Entry, position: Position, error: Exception) -> None:
    raise error


def row(number: int, prev: int, item: str, type: str = "message") -> Entry:
    return Entry(number, prev, "a", type, b"x", item=item)


def log_at(end: int, max_bytes: int = 10_000) -> tuple[Log, Subscription]:
    log, sub = Log(report=fail, max_bytes=max_bytes), Subscription()
    Readers(log, lambda: 0.0).join(sub, ["a"])
    log.take_horizons("epoch", {"a": 1}, ())
    log.turn("epoch", (), end)
    log.hold(["a"])
    sub.cursor = 5
    return log, sub


def floor(log: Log) -> int:
    items = log.channels["a"].items
    assert items is not None
    return items.floor


def page(horizon: int, *entries: Entry) -> Page:
    return Page("epoch", 5, 20, 20, entries, {"a": Proof(1)}, {"a": horizon})


def replayed(log: Log, sub: Subscription, page: Page) -> list[int]:
    """The numbers of the rows, first those of the page and then those of the log."""
    sources = [replay_items(sub, page, log.end, log), *known_items(sub, log.end, "epoch")]
    return [number for source in sources for number, _ in source]


ROWS = row(7, 1, "i"), row(9, 7, "j", UNSET), row(13, 9, "k")


def test_the_page_has_what_the_log_does_not_have() -> None:
    log, sub = log_at(10)
    log.turn("epoch", [row(13, 9, "k")], 13)
    frames = dict(replay_items(sub, page(1, *ROWS), log.end, log))
    assert [*frames] == [7, 9]
    assert frames[7] == b"id: epoch-7.a.i\ndata: x\n\n"
    assert b"event: push:unset\n" in frames[9]
    assert replayed(log, sub, page(1, *ROWS)) == [7, 9, 13]


def test_a_page_is_put_before_the_log() -> None:
    log, sub = log_at(10)
    assert floor(log) == 10
    absorb_items(sub.group, page(4, *ROWS[:2]), log)
    assert floor(log) == 5
    # Unsets from before the page's horizon may be in neither.
    assert sub.group.horizon() == 4
    assert [number for number, _ in known_items(sub, 10, "epoch")[0]] == [7, 9]
    assert replayed(log, sub, page(1, *ROWS[:2])) == [7, 9]


def test_a_page_from_beyond_the_log_or_the_budget_is_not_put_before_it() -> None:
    log, sub = log_at(10)
    absorb_items(sub.group, page(15, *ROWS), log)
    assert floor(log) == 10
    small, sub = log_at(10, max_bytes=0)
    absorb_items(sub.group, page(1, *ROWS), small)
    assert floor(small) == 10


def test_a_page_from_before_the_items_of_a_reader_began_is_not_used() -> None:
    log, sub = log_at(30)
    sub.epoch, sub.items = "epoch", ItemsPlace(5, base=30, sending=False)
    older, newer = page(1, *ROWS), page(1, *ROWS)._replace(reach=30, end=30)
    readers = Readers(log, lambda: 0.0)
    # It may have rows that were unset before 30, and the store may have dropped the unsets.
    assert readers.read(sub, 1000, older) is None
    assert not sub.got_nothing_of(older), "another page helps now"
    frames = readers.read(sub, 1000, newer)
    assert frames and [number for number, _ in frames] == [7, 9, 13, 30]
    sub.items = None
    assert sub.got_nothing_of(older) and not sub.got_nothing_of(None)
