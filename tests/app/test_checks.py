"""Checks of what an app passes to several functions."""

from __future__ import annotations

import typing as t

import pytest

from flask_push._checks import check_every
from flask_push._checks import check_seconds


@pytest.mark.parametrize("seconds", [0, 0.5, 1, 60, 60.0])
def test_a_pause_between_two_writes_has_up_to_a_minute(seconds: float) -> None:
    assert check_every(seconds) == seconds


@pytest.mark.parametrize(
    "seconds", [-0.1, -1, 60.1, 10**400, float("inf"), -float("inf"), float("nan")]
)
def test_a_pause_that_no_stream_may_have_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 60 seconds"):
        check_every(seconds)


@pytest.mark.parametrize("seconds", ["0.5", None, True, [1], 1j])
def test_a_pause_that_is_not_a_number_is_refused(seconds: t.Any) -> None:
    with pytest.raises(TypeError, match=r"every=0\.5"):
        check_every(seconds)


@pytest.mark.parametrize("seconds", [0.001, 1, 86400.0, 10**400])
def test_seconds_are_any_number_above_0(seconds: float) -> None:
    assert check_seconds("wait", seconds) == seconds


@pytest.mark.parametrize(
    "seconds", [0, -0.1, -(10**400), float("inf"), -float("inf"), float("nan")]
)
def test_seconds_that_never_pass_are_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="^wait is a number of seconds above 0, not") as e:
        check_seconds("wait", seconds, cure=" Use None.")
    assert str(e.value).endswith(". Use None.") and len(str(e.value)) < 150


@pytest.mark.parametrize("seconds", ["1", True, None, [1], 1j])
def test_seconds_that_are_not_a_number_are_refused(seconds: t.Any) -> None:
    with pytest.raises(TypeError, match="^wait is a number of seconds or None, not"):
        check_seconds("wait", seconds, " or None")
