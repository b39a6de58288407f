"""One of Flask-Push's own logs in memory: the entries that it keeps, for any entries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from flask_push.brokers import OwnEntry
from flask_push.brokers.memory import own
from flask_push.brokers.memory.own import OwnLog

# The seconds since the entry before, the bytes and the seconds for which it is kept.
ENTRIES = st.lists(
    st.tuples(st.integers(1, 10), st.integers(0, 40), st.integers(1, 300)), max_size=40
)
START = 1_000


@given(ENTRIES)
@settings(max_examples=300, deadline=None)
def test_a_log_is_whole_after_its_horizon_and_removes_no_more_than_it_must(
    entries: list[tuple[int, int, int]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own, "MAX_OWN_ENTRIES", 12)
        patch.setattr(own, "MAX_OWN_BYTES", 200)
        log, now = OwnLog(START), START
        all_of_it: list[tuple[int, OwnEntry]] = []
        for seconds, size, keep in entries:
            before = log.horizon
            now += seconds * 1_000_000
            all_of_it.append((now + keep * 1_000_000, OwnEntry(now, b"x" * size)))
            log.append(now, b"x" * size, keep)
            held = [entry for _, entry in all_of_it if entry.number > log.horizon]
            assert log.after(0) == held and held[-1].number == now
            assert len(held) <= 12 and sum(len(e.data) for e in held) <= 200
            assert log.horizon in [before, *(e.number for _, e in all_of_it)]
            for until, last in all_of_it:
                # Only those that had to go.
                if before < last.number <= log.horizon:
                    rest = [e for _, e in all_of_it if e.number >= last.number]
                    full = len(rest) > 12 or sum(len(e.data) for e in rest) > 200
                    assert until < now or full
            assert next(until for until, e in all_of_it if e == held[0]) >= now


@given(ENTRIES, st.integers(0, 50))
@settings(max_examples=100, deadline=None)
def test_a_log_is_read_after_any_number(
    entries: list[tuple[int, int, int]], index: int
) -> None:
    log, now = OwnLog(START), START
    numbers = [START]
    for seconds, size, keep in entries:
        now += seconds * 1_000_000
        log.append(now, b"x" * size, keep)
        numbers.append(now)
    after = numbers[min(index, len(numbers) - 1)]
    assert log.after(after) == [e for e in log.after(0) if e.number > after]
