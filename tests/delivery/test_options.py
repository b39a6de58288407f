"""How a hub treats its streams, as another version may have sent it."""

from __future__ import annotations

import typing as t
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_push._delivery.options import Options


def test_options_are_read_as_they_were_sent() -> None:
    options = Options(
        heartbeat=0.5, retry=1, max_per_user=0, log_bytes=0, disconnect=False, grace=0
    )
    assert Options.from_json(asdict(options)) == options


def test_options_that_another_version_lacks_or_adds_do_no_harm() -> None:
    assert Options.from_json({}) == Options()
    assert Options.from_json({"retry": 5, "new": "x"}) == Options(retry=5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("retry", value) for value in (0, -1, "3", None, True, [3], float("nan"))),
        ("heartbeat", 0),
        *(("max_streams", value) for value in (-1, "9", False)),
        *(("disconnect", value) for value in (0, 1, "yes", None)),
    ],
)
def test_an_option_of_another_type_or_too_small_is_named(name: str, value: t.Any) -> None:
    with pytest.raises(ValueError, match=f"'{name}' is "):
        Options.from_json({name: value})


@given(st.floats(0.001, 100), st.floats(0, 1000), st.integers(0, 10**6))
def test_a_browser_reconnects_within_bounds(retry: float, rate: float, others: int) -> None:
    options = Options(retry=retry, return_rate=rate)
    spread = min(others / rate, 300) if rate else 0
    longest = max(0.5, retry * 1.333 + spread)
    for _ in range(5):
        wait = options.jittered_retry(others)
        assert max(500, int(667 * retry)) <= wait <= round(1000 * longest)
