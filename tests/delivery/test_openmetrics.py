"""The text of the metrics: what two parsers of others read in it, and promtool."""

from __future__ import annotations

import collections.abc as cabc
import subprocess
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as of_older

from flask_push._delivery.figures import FAMILIES
from flask_push._delivery.figures import Figures
from flask_push._delivery.figures import Times
from flask_push._delivery.openmetrics import bounds
from flask_push._delivery.openmetrics import READ
from flask_push._delivery.openmetrics import SHOWN
from flask_push._delivery.openmetrics import to_text

#: Of each sample: its name, and its labels.
Key = tuple[str, tuple[tuple[str, str], ...]]


def keys() -> list[str]:
    found = []
    for family in FAMILIES:
        if family.kind == "histogram":
            found += [f"{family.name}:{most}" for most in (*family.buckets, "inf", "sum")]
        else:
            found += [f"{family.name}:{v}" if v else family.name for v in family.values]
            found += [] if family.values else [family.name]
    return found


#: Sums that are exact as a float, which the parsers return.
FIGURES = st.dictionaries(
    st.sampled_from([*keys(), "of_a_newer_version", "gaps:of_a_newer_version"]),
    st.integers(0, 2**40),
).map(Figures)


def samples(text: str, openmetrics: bool) -> dict[Key, float]:
    parse: t.Any = text_string_to_metric_families if openmetrics else of_older
    read = [sample for family in parse(text) for sample in family.samples]
    found = {(each.name, tuple(each.labels.items())): each.value for each in read}
    assert len(found) == len(read), "a sample is there twice"
    return found


def expected(figures: Figures) -> cabc.Iterator[tuple[Key, float]]:
    for family in SHOWN:
        name = f"flask_push_{family.name}"
        if family.kind == "histogram":
            counts, total = figures.histogram(family)
            for most, count in zip(bounds(family), counts, strict=True):
                yield (f"{name}_bucket", (("le", most),)), count
            yield (f"{name}_count", ()), counts[-1]
            yield (f"{name}_sum", ()), total
            continue
        name += "_total" if family.kind == "counter" else ""
        for label in family.values or ("",):
            value = figures.value(family, label)
            yield (name, ((family.label, label),) if label else ()), value


@pytest.mark.parametrize("openmetrics", [True, False])
@given(figures=FIGURES)
def test_a_parser_reads_all_values_and_no_others(
    openmetrics: bool, figures: Figures
) -> None:
    text = to_text(figures, openmetrics=openmetrics)
    assert samples(text, openmetrics) == dict(expected(figures))


@pytest.mark.parametrize("openmetrics", [True, False])
def test_families_have_the_kind_the_help_and_the_unit_of_the_list(
    openmetrics: bool,
) -> None:
    parse: t.Any = text_string_to_metric_families if openmetrics else of_older
    read = {each.name: each for each in parse(to_text(READ, openmetrics=openmetrics))}
    assert list(read) == [f"flask_push_{family.name}" for family in SHOWN]
    for family in SHOWN:
        found = read[f"flask_push_{family.name}"]
        assert (found.type, found.documentation) == (family.kind, family.help)
        assert found.unit == (family.unit if openmetrics else "")


def test_both_formats_have_the_same_series() -> None:
    """A reader that begins to ask for the other one gets no new series."""
    lines = [
        [line for line in to_text(READ, openmetrics=kind).splitlines() if line[0] != "#"]
        for kind in (True, False)
    ]
    assert lines[0] == lines[1]


def test_an_openmetrics_text_that_was_cut_off_is_noticed() -> None:
    text = to_text(READ, openmetrics=True)
    assert text.endswith("\n# EOF\n")
    with pytest.raises(ValueError, match="EOF"):
        samples(text.removesuffix("# EOF\n"), True)
    assert "EOF" not in to_text(READ, openmetrics=False)


@pytest.mark.parametrize("family", SHOWN, ids=lambda family: family.name)
def test_names_and_texts_need_no_escapes(family: t.Any) -> None:
    assert family.unit == "" or family.name.endswith(f"_{family.unit}")
    assert not set(family.help) & set('\n\\"')
    assert not set("".join(family.values)) & set('\n\\"')


def some_figures() -> Figures:
    counted: dict[str, int] = {}
    for family in FAMILIES:
        if family.kind == "histogram":
            times = Times(family)
            for micros in 100, 7_000, 3_000_000, 20_000_000:
                times.add(micros)
            counted |= times.to_json()
        else:
            for value in family.values or ("",):
                counted[f"{family.name}:{value}" if value else family.name] = 10**7
    return READ + Figures(counted)


@pytest.mark.parametrize("figures", [READ, some_figures()], ids=["none", "some"])
def test_promtool_accepts_the_older_format(figures: Figures) -> None:
    """It reads no other. It also knows the rules for names, units and suffixes."""
    text = to_text(figures, openmetrics=False)
    command = ["promtool", "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
