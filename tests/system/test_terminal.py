"""What others wrote can neither control a terminal nor look like a line of ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_push._system.terminal import cut
from flask_push._system.terminal import padded
from flask_push._system.terminal import shown
from flask_push._system.terminal import width_of
from flask_push._system.terminal import without_signed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain ~ text", "plain ~ text"),
        ("\x1b]0;x\x07", r"\x1b]0;x\x07"),
        ("\x9b2J\x7f\x80", r"\x9b2J\x7f\x80"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\u202ea\u200b\u2028\x85", r"\u202ea\u200b\u2028\x85"),
        ("\ud800\U000e0001", r"\ud800\U000e0001"),
        ("\xfc \u3042\u3000\xa0 \U0001f468\u200d\U0001f469", None),
        ('{"a": "b\\nc"}', None),
    ],
)
def test_control_characters_are_escaped_and_text_is_not(
    text: str, expected: str | None
) -> None:
    assert shown(text) == (text if expected is None else expected)


def test_a_long_text_is_cut() -> None:
    assert shown("x" * 9, 5) == "xxxxx\u2026"
    assert shown("x" * 5, 5) == "xxxxx"
    assert shown(1.5) == "1.5"


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    left = shown(text)
    assert not any(ord(c) < 32 or 126 < ord(c) < 160 for c in left)
    left.encode()


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("http://h/s?signed=eyJ.x-Y_z", "http://h/s?signed=…"),
        ("/s?a=1&signed=eyJ&b=2 and more", "/s?a=1&signed=…&b=2 and more"),
        ("/login?next=%2Fs%3Fsigned%3DeyJ", "/login?next=%2Fs%3Fsigned%3D…"),
        ("/s?designed=x&signed_by=me", "/s?designed=x&signed_by=me"),
        ("a?signed=x b?signed=y", "a?signed=… b?signed=…"),
    ],
)
def test_what_is_signed_in_an_address_is_left_out(text: str, left: str) -> None:
    assert without_signed(text) == left


@pytest.mark.parametrize(
    ("text", "width"),
    [("", 0), ("abc", 3), ("日本", 4), ("e\u0301", 1), ("\u200d", 0), ("ｱ", 1), ("👍", 2)],
)
def test_a_text_takes_the_columns_that_a_terminal_gives_it(text: str, width: int) -> None:
    assert width_of(text) == width
    assert padded(text, width + 2) == text + "  "


def test_no_text_is_wider_than_what_it_is_cut_to() -> None:
    assert cut("日本語", 6) == "日本語"
    assert cut("日本語", 5) == "日本…"
    assert cut("日本語", 4) == "日…"
    assert cut("abc", 2) == "a…"
    assert [cut("日本語", width) for width in (3, 2, 1, 0)] == ["日…", "…", "…", ""]
