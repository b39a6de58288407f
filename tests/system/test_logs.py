"""Log lines that others can cause, and what is left of them."""

from __future__ import annotations

import logging
import time
import typing as t

import pytest

from flask_push._system.logs import PAUSE
from flask_push._system.logs import QuietLogger


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return found


def test_a_line_is_repeated_after_a_minute_with_the_number_of_those_left_out(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    quiet = QuietLogger()
    for n in range(1000):
        quiet.error("Could not open %s: %s", "a door", n)
    assert lines(caplog) == ["Could not open a door: 0"]
    clock.now += PAUSE - 1
    quiet.error("Could not open %s: %s", "a door", 1000)
    assert lines(caplog) == []
    clock.now += 2
    quiet.error("Could not open %s: %s", "a door", 1001)
    more = "(left out 1000 more lines like this in the last 61 seconds)"
    assert lines(caplog) == [f"Could not open a door: 1001 {more}"]
    clock.now += PAUSE
    quiet.error("Could not open %s: %s", "a door", 1002)
    assert lines(caplog) == ["Could not open a door: 1002"]


def test_lines_of_two_kinds_do_not_silence_each_other(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    quiet, another = QuietLogger(), QuietLogger()
    quiet.error("One kind")
    quiet.warning("Another kind")
    another.error("One kind")
    assert lines(caplog) == ["One kind", "Another kind", "One kind"]


def test_a_line_can_be_of_a_kind_of_its_own_and_says_whether_it_was_logged(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    quiet = QuietLogger()
    assert quiet.error("Lost: %s", "no answer", kind="ERR")
    assert quiet.error("Lost: %s", "no password", kind="NOAUTH")
    assert not quiet.error("Lost: %s", "no answer", kind="ERR")
    clock.now += PAUSE
    assert quiet.error("Lost: %s", "no password", kind="NOAUTH")
    assert lines(caplog) == ["Lost: no answer", "Lost: no password", "Lost: no password"]


def test_a_line_keeps_its_level_and_its_traceback(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    quiet = QuietLogger()
    quiet.warning("A warning")
    try:
        raise OSError("the reason")
    except OSError:
        quiet.exception("An error")
    warning, error = caplog.records
    assert (warning.levelno, warning.exc_info) == (logging.WARNING, None)
    assert error.levelno == logging.ERROR
    info: t.Any = error.exc_info
    assert str(info[1]) == "the reason"
