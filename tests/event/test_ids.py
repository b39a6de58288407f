from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_push import _event


@pytest.mark.parametrize(
    ("channel", "tag"),
    [
        ("chat", "chat"),
        ("user:42", "user~3a42"),
        ("a.b", "a~2eb"),
        ("~", "~7e"),
        ("غرفة", "~d8~ba~d8~b1~d9~81~d8~a9"),
        ("a\nb", "a~0ab"),
        ("\0", "~00"),
    ],
)
def test_channels_are_escaped_for_ids(channel: str, tag: str) -> None:
    assert _event.escape(channel) == tag
    assert _event.unescape(tag) == channel
    assert _event.channel_of(f"epoch-1.{tag}") == channel


@given(st.text())
def test_any_channel_comes_back_from_its_id_or_is_refused(channel: str) -> None:
    try:
        tag = _event.escape(channel)
    except ValueError:
        return
    assert len(tag) <= 64
    assert tag.isascii()
    assert _event.channel_of(f"epoch-1.{tag}") == channel


@pytest.mark.parametrize("channel", ["", "a" * 65, ":" * 22, "\ud800", None, 5, b"chat"])
def test_a_channel_that_has_no_place_in_an_id_is_refused(channel: t.Any) -> None:
    with pytest.raises(ValueError, match="channel"):
        _event.escape(channel)


def test_a_channel_of_any_length_is_refused_in_few_words() -> None:
    with pytest.raises(ValueError, match="takes 10,000,000 bytes.* or more") as refused:
        _event.escape(":" * 10_000_000)
    assert len(str(refused.value)) < 400


def test_items_are_escaped_for_ids() -> None:
    assert _event.escape_item("AAPL_1-x") == "AAPL_1-x"
    assert _event.escape_item("a.b~") == "a~2eb~7e"
    assert _event.unescape(_event.escape_item("Анна")) == "Анна"
    assert _event.escape_item("x" * 64) == "x" * 64


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("", "An item's name is a non-empty string, not ''"),
        (None, "An item's name is a non-empty string, not None"),
        (7, "An item's name is a non-empty string, not 7"),
        ("x" * 65, "The item 'x+' takes 65 bytes of an event's id or more, 64 at most"),
        (":" * 22, "The item ':+' takes 66 bytes of an event's id or more, 64 at most"),
        ("\ud800", "The item .* holds a lone surrogate"),
    ],
)
def test_an_item_whose_name_no_id_can_have_is_refused(item: t.Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _event.escape_item(item)
