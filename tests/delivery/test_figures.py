"""The list of metrics, and how figures add up."""

from __future__ import annotations

import json
import re
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_push._delivery.figures import BY_NAME
from flask_push._delivery.figures import FAMILIES
from flask_push._delivery.figures import Family
from flask_push._delivery.figures import Figures
from flask_push._delivery.figures import MAX_VALUES
from flask_push._delivery.figures import START
from flask_push._delivery.figures import Times

LAG = BY_NAME["feed_lag_seconds"]
GAPS = BY_NAME["gaps"]


def keys_of(family: Family) -> list[str]:
    if family.kind == "histogram":
        return [f"{family.name}:{part}" for part in (*family.buckets, "inf", "sum")]
    return [f"{family.name}:{v}" if v else family.name for v in family.values or ("",)]


# Also of a family that only another version knows.
KEYS = [key for family in FAMILIES for key in keys_of(family)] + ["new_ones:odd", "newer"]
FIGURES = st.dictionaries(st.sampled_from(KEYS), st.integers(0, 2**40)).map(Figures)
COUNTED = FIGURES.map(lambda figures: figures.counted)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_each_family_is_named_as_prometheus_names_them(family: Family) -> None:
    assert re.fullmatch("[a-z]+(_[a-z]+)*", family.name)
    assert family.name.endswith(family.unit)
    assert family.unit in ("", "seconds", "bytes")
    assert not family.name.endswith(("total", "count", "sum", "bucket", "info", "created"))
    assert family.help.endswith(".")
    assert bool(family.label) == bool(family.values)
    assert bool(family.buckets) == (family.kind == "histogram")
    assert sorted({*family.buckets}) == [*family.buckets]


def test_no_two_families_have_one_name() -> None:
    assert len(BY_NAME) == len(FAMILIES)


@given(FIGURES)
def test_figures_are_read_as_they_were_written(figures: Figures) -> None:
    assert Figures.from_json(json.loads(json.dumps(figures.to_json()))) == figures


@given(FIGURES, FIGURES, FIGURES)
def test_figures_add_up_in_any_order(a: Figures, b: Figures, c: Figures) -> None:
    assert a + b == b + a
    assert (a + b) + c == a + (b + c) == Figures.sum([c, a, b])
    assert a + Figures() == a


@given(COUNTED, COUNTED)
def test_what_was_written_and_what_was_counted_since_are_all(
    written: Figures, more: Figures
) -> None:
    counted = written + more
    assert counted - written == more
    assert written + (counted - written) == counted


@given(st.lists(COUNTED, max_size=6), st.data())
def test_sums_never_fall_when_rows_are_folded(rows: list[Figures], data: t.Any) -> None:
    before = Figures.sum(rows)
    while len(rows) > 1:
        dead = rows.pop(data.draw(st.integers(0, len(rows) - 1)))
        rows[0] = rows[0] + dead
        assert Figures.sum(rows) == before


@given(COUNTED, COUNTED)
def test_what_was_counted_is_never_below_0(a: Figures, b: Figures) -> None:
    assert all(value > 0 for value in (a - b).values())


def test_gauges_are_not_counted() -> None:
    figures = Figures({"streams": 3, "events": 4, "newer": 5})
    assert figures.counted == {"events": 4, "newer": 5}
    assert figures.gauges == {"streams": 3}


def test_the_newest_hub_says_when_the_last_one_started() -> None:
    both = Figures({START.name: 7_000_000}) + Figures({START.name: 9_500_000})
    assert both.value(START) == 9.5


def test_a_value_is_shown_in_its_unit() -> None:
    figures = Figures({"gaps:trimmed": 2, "hub_cpu_seconds": 1_500_000, "sent_bytes": 7})
    assert figures.value(GAPS, "trimmed") == 2
    assert figures.value(GAPS, "restarted") == 0
    assert figures.value(BY_NAME["hub_cpu_seconds"]) == 1.5
    assert figures.value(BY_NAME["sent_bytes"]) == 7


@given(st.lists(st.integers(-5, 2**30), max_size=30))
def test_times_are_counted_in_the_bucket_that_they_fit(micros: list[int]) -> None:
    times = Times(LAG)
    for each in micros:
        times.add(each)
    counts, total = Figures(times.to_json()).histogram(LAG)
    bounds = [*LAG.buckets, 2**63]
    assert counts == [sum(each <= bound for each in micros) for bound in bounds]
    assert total == sum(max(0, each) for each in micros) / 1_000_000


def test_buckets_of_another_version_are_parts_of_larger_ones() -> None:
    first, second, *_ = LAG.buckets
    name = LAG.name
    values = {f"{name}:{first + 1}": 3, f"{name}:{second}": 1, f"{name}:{10**12}": 2}
    counts, _ = Figures(values).histogram(LAG)
    assert counts[0] == 0
    assert counts[1] == 4
    assert counts[-1] == 6


@pytest.mark.parametrize(
    "values",
    [
        *(None, [], 7, "x"),
        {"Streams": 1},
        {"streams:": 1},
        {"streams:a b": 1},
        {"streams:x:y": 1},
        {"streams": -1},
        {"streams": 1.5},
        {"streams": True},
        {"streams": "1"},
        {"streams": 2**63},
        {"a" * 65: 1},
    ],
)
def test_what_can_be_no_value_is_left_out(values: t.Any) -> None:
    assert Figures.from_json(values) == {}


def test_a_row_has_a_bounded_number_of_values() -> None:
    many = {f"family:{number}": 1 for number in range(2 * MAX_VALUES)}
    assert len(Figures.from_json(many)) == MAX_VALUES


def test_figures_say_what_they_are() -> None:
    assert repr(Figures({"streams": 3})) == "<Figures {'streams': 3}>"
    times = Times(LAG)
    times.add(5)
    assert repr(times) == "<Times feed_lag_seconds: 1>"
