"""The tokens with which nginx asks the hub for streams."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest

from flask_push._delivery.stream import Stream
from flask_push._hub import tokens
from flask_push._hub.tokens import Tokens

STREAM = Stream(("a",), "x")


def test_old_tokens_expire_and_too_many_are_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tokens, "MOST", 3)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    expected = Tokens(Path("accel.sock"))
    for number in range(3):
        expected.expect(f"old {number}", STREAM)
    with pytest.raises(RuntimeError, match="nginx has not connected for 3 streams"):
        expected.expect("one more", STREAM)
    now += tokens.TOKEN_SECONDS + 1
    assert expected.redeem("old 0") is None
    expected.expect("new", STREAM)
    assert len(expected) == 1
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "did not connect for 2 streams" in record.getMessage()
    caplog.clear()


def test_old_tokens_are_dropped_where_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tokens, "MOST", 3)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    expected = Tokens(Path("accel.sock"))
    for number in range(3):
        expected.expect(f"old {number}", STREAM)
    now += 1.5
    expected.expect("new", STREAM)
    assert expected.redeem("new") == STREAM
    assert expected.redeem("old 0") is None
