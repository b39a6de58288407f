"""Numbers of rows, as the lease of an outbox names them: ``((1, 3), (7, 7))``.

A range has only rows that are meant. A row with a number in between, which another
transaction has not committed yet, is never in one.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t

Ranges: t.TypeAlias = tuple[tuple[int, int], ...]


def ranges_of(ids: cabc.Iterable[int]) -> Ranges:
    """The numbers as ranges, each with its first and its last number."""
    ranges: list[tuple[int, int]] = []
    for id in sorted({*ids}):
        if ranges and ranges[-1][1] == id - 1:
            ranges[-1] = ranges[-1][0], id
        else:
            ranges.append((id, id))
    return tuple(ranges)


def ids_in(ranges: Ranges) -> list[int]:
    return [id for first, last in ranges for id in range(first, last + 1)]


def check_ranges(value: t.Any) -> Ranges:
    """The ranges as JSON has them.

    :raises ValueError: If they are none.
    """
    ranges = tuple((first, last) for first, last in value)
    if not all(type(number) is int for pair in ranges for number in pair):
        raise ValueError("a range has two numbers")
    return ranges
