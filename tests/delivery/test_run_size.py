"""A run that is too large is forgotten from its beginning, and never its newest row."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flask_push._delivery.run_rows import Change
from flask_push._delivery.run_rows import RUN
from flask_push._delivery.run_size import RunSize


def row(size: int) -> Change:
    return Change(RUN, "a", "1.1.0", "x" * size)


def test_a_run_within_its_bound_is_kept_whole() -> None:
    size = RunSize(1100 * 100)
    assert not any(size.add(row(1000), f"{number}") for number in range(1, 101))


@given(
    most=st.integers(1000, 20_000),
    sizes=st.lists(st.integers(0, 30_000) | st.integers(0, 200), max_size=300),
)
def test_a_run_never_exceeds_its_bound_but_for_its_newest_row(
    most: int, sizes: list[int]
) -> None:
    size = RunSize(most)
    kept: dict[int, int] = {}
    for number, each in enumerate(sizes, 1):
        upto = int(size.add(row(each), f"{number}") or 0)
        kept[number] = each + 100
        assert upto < number
        kept = {number: each for number, each in kept.items() if number > upto}
        # The newest row may be larger than all that may be kept.
        assert sum(kept.values()) <= most + kept[number] + most // 16
        assert len(size._cuts) <= 18


@given(most=st.integers(10_000, 100_000), each=st.integers(0, 100))
def test_a_run_keeps_most_of_what_it_may(most: int, each: int) -> None:
    size, kept = RunSize(most), 0
    last = 0
    for number in range(1, 2000):
        last = int(size.add(row(each), f"{number}") or last)
        kept = (number - last) * (each + 100)
        assert kept <= most
    if 1999 * (each + 100) > most:
        assert kept > most * 0.8
