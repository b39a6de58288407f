"""What our brokers share: pages, types as they are stored, numbers and epochs."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from flask_push import Event
from flask_push import Position
from flask_push._event import Entry
from flask_push.brokers._common import new_epoch
from flask_push.brokers._common import now
from flask_push.brokers._common import stored_entry
from flask_push.brokers._common import stored_type
from flask_push.brokers._common import take
from flask_push.brokers.base import ENTRY_BYTES

texts = st.text(st.characters(exclude_characters="\0"), min_size=1)


@given(texts, st.none() | texts)
def test_a_stored_type_has_the_connection_that_the_event_excludes(
    type: str, exclude: str | None
) -> None:
    stored = stored_type(Event("a", "1", type, exclude=exclude))
    entry = stored_entry(7, 3, "a", stored, b"1")
    assert entry == Entry(7, 3, "a", type, b"1", exclude or "")
    # An older version finds nothing behind the type of an event that excludes none.
    assert exclude or stored == type


@given(st.lists(st.integers(0, 50), max_size=12), st.integers(0, 500))
def test_a_page_is_full_at_its_limit_and_has_at_least_one_entry(
    sizes: list[int], limit: int
) -> None:
    entries = [Entry(n, None, "a", "t", b"x" * size) for n, size in enumerate(sizes, 1)]
    page, reach = take(iter(entries), limit, 99)
    assert page == entries[: len(page)]
    assert page or not entries
    costs = [size + ENTRY_BYTES for size in sizes]
    if len(page) < len(entries):
        # It is full, and reaches to its last entry.
        assert sum(costs[: len(page)]) >= limit
        assert reach == page[-1].number
    else:
        assert reach == 99
    assert len(page) <= 1 or sum(costs[: len(page) - 1]) < limit


def test_an_epoch_is_a_word_of_an_id() -> None:
    epochs = {new_epoch() for _ in range(100)}
    assert len(epochs) == 100
    for epoch in epochs:
        assert Position.parse(str(Position(epoch, 7))) == Position(epoch, 7)


def test_numbers_are_microseconds() -> None:
    before = time.time()
    assert before - 1 < now() / 1e6 < time.time() + 1
